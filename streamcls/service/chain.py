"""A chain of records in lines of JSON: each bears its own hash and that of the record before it."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["BEGINNING", "LONGEST_LINE", "Entry", "predecessor_of", "read_entries", "seal", "unseal"]

BEGINNING: Final = "0" * 64
"""What the very first record bears as the hash of the one before it."""
LONGEST_LINE: Final = 16 << 20
"""Bytes beyond which a line is not read."""
_TAIL: Final = re.compile(rb',"hash":"([0-9a-f]{64})"\}$')


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a chain.

    Attributes
    ----------
    line
        Its number in the file, from 1.
    record
        What it says; None where it is no record.
    stated, computed
        The hash that it bears, and that of its content; empty where it is no record.
    whole
        Whether it ends with a line feed.
    """

    line: int
    record: Mapping[str, Any] | None
    stated: str
    computed: str
    whole: bool = True


def seal(record: Mapping[str, Any]) -> tuple[bytes, str]:
    """Return a record as a line, and its hash.

    The line is JSON in UTF-8 without spaces, keys in order; the member ``hash`` comes last, and is the SHA-256 of the line's bytes
    without it: of everything before ``,"hash":`` and a closing brace.
    """
    body = json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    digest = hashlib.sha256(body).hexdigest()
    return body[:-1] + f',"hash":"{digest}"}}\n'.encode(), digest


def unseal(line: bytes, number: int = 1) -> Entry:
    """Read a line, with or without its line feed."""
    whole = line.endswith(b"\n")
    content = line.removesuffix(b"\n")
    tail = _TAIL.search(content)
    if tail is None:
        return Entry(number, None, "", "", whole)
    body = content[: tail.start()] + b"}"
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        return Entry(number, None, "", "", whole)
    return Entry(number, record, tail[1].decode(), hashlib.sha256(body).hexdigest(), whole)


def read_entries(path: Path) -> Iterator[Entry]:
    """Read a file line by line."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST_LINE):
            number += 1
            yield unseal(line, number)


def predecessor_of(path: Path) -> str | None:
    """Return the name of the file before this one, which its first record states; None where it is the first or says nothing."""
    first = next(iter(read_entries(path)), None)
    named = (first.record or {}).get("predecessor") if first is not None else None
    name = named.get("file") if isinstance(named, dict) else None
    return name if isinstance(name, str) and name else None
