"""What whoever waits at a terminal is told: how far a loop is, and what was decided on the way."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["note", "progress"]

T = TypeVar("T")


def progress(items: Iterable[T], desc: str, unit: str) -> Iterable[T]:
    """Return the items with a bar on a terminal's stderr; as they are elsewhere, and where tqdm is not installed.

    Parameters
    ----------
    desc
        Stands before the bar.
    unit
        What an item is.
    """
    if not sys.stderr.isatty() or importlib.util.find_spec("tqdm") is None:
        return items
    from tqdm import tqdm

    bar: Iterable[T] = tqdm(items, desc=desc, unit=unit)
    return bar


def note(text: str) -> None:
    """Write a line to stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - what it is for
