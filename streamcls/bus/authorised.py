"""The folder of clients that may connect: one file for each, with its public key and what it may do."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field

from streamcls.bus.keyfiles import (
    WRITTEN_BY_OTHERS,
    Key,
    KeyFile,
    checked,
    folder_problem,
    parse,
    quote,
    read,
    write_new,
)
from streamcls.bus.permissions import Principal, kind_problem, stream_problem
from streamcls.config.schema import NAME_PATTERN
from streamcls.errors import BusError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["AUTHORISED", "add_client", "folder_state", "load_authorised", "remove_client"]

AUTHORISED: Final = "authorised"
"""Name of the folder in the daemon's folder of keys."""


class _Authorised(KeyFile):
    key: Key
    domains: tuple[Literal["publish", "replay", "ingest", "control"], ...] = Field(min_length=1)
    kinds: tuple[Annotated[str, checked(kind_problem)], ...] = ()
    streams: tuple[Annotated[str, checked(stream_problem)], ...] = ()


def load_authorised(folder: Path) -> tuple[dict[str, Principal], dict[str, str]]:
    """Read every client's file.

    Returns
    -------
    tuple
        Clients by public key, and what is wrong with a file by the client's name; such a client is not among the first.
    """
    clients: dict[str, Principal] = {}
    problems: dict[str, str] = {}
    place = folder / AUTHORISED
    try:
        paths = sorted(path for path in place.iterdir() if path.suffix == ".toml")
        problem = folder_problem(folder) or folder_problem(place)
    except OSError as error:
        problem = f"{place} cannot be read: {error.strerror}"
    if problem:
        return {}, {"*": problem}
    for path in paths:
        name = path.stem
        if name.startswith("."):
            continue
        try:
            client = _load_client(path, name)
        except BusError as error:
            problems[name] = str(error)
            continue
        if client.key in clients:
            problems[name] = f"{path}: its key is that of {clients[client.key].name}; each client needs its own"
        else:
            clients[client.key] = client
    return clients, problems


def _load_client(path: Path, name: str) -> Principal:
    if not re.fullmatch(NAME_PATTERN, name):
        raise BusError(f"{path}: {name[:60]!r} is no name of a client, expected letters, digits and . _ : @ + -")
    entry = parse(_Authorised, path, read(path, WRITTEN_BY_OTHERS))
    return Principal(name, entry.key, frozenset(entry.domains), entry.kinds, entry.streams)


def folder_state(folder: Path) -> frozenset[tuple[str, int, int, int]]:
    """Return something that differs once any client's file, or its permissions, have changed."""
    found = set()
    with contextlib.suppress(OSError):
        for place in (folder, folder / AUTHORISED, *(folder / AUTHORISED).glob("*.toml")):
            with contextlib.suppress(OSError):  # removed meanwhile
                facts = place.stat()
                # A folder's time changes with every file beside the clients', such as an editor's.
                at = facts.st_mode if stat.S_ISDIR(facts.st_mode) else facts.st_ctime_ns
                found.add((str(place), at, facts.st_ino, 0 if stat.S_ISDIR(facts.st_mode) else facts.st_size))
    return frozenset(found)


def add_client(folder: Path, client: Principal) -> Path:
    """Admit a client: write its file, which holds no secret; return its path. Written by root, it belongs to the folder's owner.

    Raises
    ------
    BusError
        There is a client of this name or key, a pattern is malformed, or the file cannot be written.
    """
    path = folder / AUTHORISED / f"{client.name}.toml"
    lines = [f'key = "{client.key}"\n']
    for member in ("domains", "kinds", "streams"):
        values = sorted(getattr(client, member)) if member == "domains" else getattr(client, member)
        lines.append(f"{member} = [{', '.join(quote(value) for value in values)}]\n")
    text = "".join(lines)
    if not re.fullmatch(NAME_PATTERN, client.name):
        raise BusError(f"{client.name[:60]!r} is no name of a client, expected letters, digits and . _ : @ + -")
    parse(_Authorised, path, text)
    known, _ = load_authorised(folder)
    if client.key in known:
        raise BusError(f"this key is that of {known[client.key].name} already; each client needs its own")
    try:
        write_new(path, text)
        if os.geteuid() == 0:
            owner = path.parent.stat()
            os.chown(path, owner.st_uid, owner.st_gid)
    except FileExistsError:
        raise BusError(
            f"there is a client {client.name} already; remove it first: streamcls keys remove {client.name}"
        ) from None
    except OSError as error:
        raise BusError(f"{path} cannot be written: {error.strerror}") from error
    return path


def remove_client(folder: Path, name: str) -> None:
    """Admit a client no more; a running daemon notices within seconds. Raises BusError where there is none of this name."""
    try:
        (folder / AUTHORISED / f"{name}.toml").unlink()
    except FileNotFoundError:
        raise BusError(f"there is no client {name!r} in {folder / AUTHORISED}") from None
    except OSError as error:
        raise BusError(f"client {name} cannot be removed: {error.strerror}") from error
