"""What is wrong with a configuration as a whole: parts that take each other's ports and files, and folders that are none."""

from __future__ import annotations

import fnmatch
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from streamcls.config.problems import did_you_mean
from streamcls.config.schema import host_and_port
from streamcls.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streamcls.config.resolve import Resolved, ResolvedComponent

__all__ = ["KINDS", "Bound", "conflicts", "endpoints_of", "remarks"]

_LONGEST_SOCKET: Final = 107
"""Bytes of a Unix socket's path (unix(7))."""
_ANY: Final = frozenset({"*", "0.0.0.0", "::"})  # noqa: S104 - told apart, not bound
_CHOSEN: Final = frozenset({"*", "0"})
"""Ports that the system chooses."""
KINDS: Final = (
    "genre.window", "genre.segment", "moderation.window", "moderation.alert", "moderation.ack", "moderation.mute",
    "moderation.evidence", "signal.alert", "stream.status", "daemon.clock", "daemon.evidence", "daemon.journal",
    "daemon.subscriber", "daemon.reload", "daemon.heartbeat",
)  # fmt: skip


class Bound(NamedTuple):
    """An endpoint that the daemon binds, and the key that says so."""

    where: str
    endpoint: str


def endpoints_of(resolved: Resolved) -> list[Bound]:
    """Return every endpoint that a configuration binds: the bus's, and those that components tell of (``binds``)."""
    bus = resolved.settings.bus
    replay = "bus.replay" if bus.replay is not None else "bus.replay (beside bus.publish[0], as none is given)"
    found = [Bound(f"bus.publish[{index}]", endpoint) for index, endpoint in enumerate(bus.publish)]
    found += [Bound(replay, endpoint) for endpoint in bus.replay_endpoints]
    parts = [("source", component) for component in resolved.sources]
    parts += [("subscriber", component) for _, component in resolved.subscribers]
    for kind, component in parts:
        where = f'{kind} "{component.name}"'
        found += [Bound(where, endpoint) for endpoint in _told(resolved, where, component, "binds")]
    return found


def conflicts(resolved: Resolved, folders: dict[str, Path]) -> list[Problem]:
    """Return what cannot work, whoever runs it and whenever.

    Parameters
    ----------
    folders
        Folders that the daemon makes where they are missing, by the key that names them.
    """
    return [*_endpoints(resolved), *_folders(resolved, folders), *_files(resolved)]


def remarks(resolved: Resolved) -> list[Problem]:
    """Return what works, and is hardly meant so."""
    return [
        *_model_folders(resolved),
        *_dead_entries(resolved),
        *_unheard_policies(resolved),
        *_unknown_kinds(resolved),
    ]


def _endpoints(resolved: Resolved) -> Iterator[Problem]:
    if not resolved.settings.bus.publish:
        yield Problem(
            "bus.publish", "the list is empty, so nobody can subscribe", 'name an endpoint, e.g. "tcp://127.0.0.1:5757"'
        )
    seen: list[Bound] = []
    for bound in endpoints_of(resolved):
        path = bound.endpoint.removeprefix("ipc://")
        if bound.endpoint.startswith("ipc://") and len(path.encode()) > _LONGEST_SOCKET:
            what = f"{path!r} has {len(path.encode())} bytes; a socket's path has at most {_LONGEST_SOCKET}"
            yield Problem(bound.where, what, "name a shorter one, e.g. under /run/streamcls")
        other = next((one for one in seen if _same_place(one.endpoint, bound.endpoint)), None)
        if other is not None:
            twice = other.endpoint == bound.endpoint and other.where.partition("[")[0] == bound.where.partition("[")[0]
            what = f"{bound.endpoint} is listed twice" if twice else f"{bound.endpoint} is taken by {other.where}"
            yield Problem(bound.where, what, "leave one out" if twice else "give each a port or path of its own")
        seen.append(bound)


def _same_place(one: str, other: str) -> bool:
    if not (one.startswith("tcp://") and other.startswith("tcp://")):
        return one == other
    (host, port), (other_host, other_port) = host_and_port(one), host_and_port(other)
    return port == other_port and port not in _CHOSEN and (host == other_host or bool({host, other_host} & _ANY))


def _folders(resolved: Resolved, folders: dict[str, Path]) -> Iterator[Problem]:
    for where, folder in folders.items():
        there = next((place for place in (folder, *folder.parents) if os.path.exists(place)), None)  # noqa: PTH110 - below
        if there is not None and not there.is_dir():  # Path.exists raises where a folder may not be entered
            yield Problem(where, f"{there} is a file, expected a folder", "name another folder, or move the file away")
    wanted = {name for entry in resolved.settings.stream for name in entry.models} | set(resolved.settings.model)
    if not wanted <= set(resolved.bundle_paths):  # that is said elsewhere, and this may be why
        yield from _model_folders(resolved)


def _model_folders(resolved: Resolved) -> Iterator[Problem]:
    for index, path in enumerate(resolved.settings.models.path):
        if not os.path.isdir(os.path.expanduser(path)):  # noqa: PTH111, PTH112 - they raise where they cannot tell
            hint = "create it, or correct the path; it holds one folder for each bundle"
            yield Problem(f"models.path[{index}]", f"{path!r} is no folder", hint)


def _files(resolved: Resolved) -> Iterator[Problem]:
    """Look for files that two parts would write."""
    written: dict[str, str] = {}
    audit = resolved.settings.audit
    if audit.enabled and audit.path:
        written[_real(audit.path)] = "audit.path"
    for index, (_, component) in enumerate(resolved.subscribers):
        where = f'subscriber[{index}] "{component.name}"'
        for path in _told(resolved, where, component, "writes"):
            file = _real(path)
            if file in written:
                yield Problem(where, f"{file} is written by {written[file]} already", "give each a file of its own")
            written.setdefault(file, where)


def _real(path: str) -> str:
    return os.path.realpath(os.path.expanduser(path))  # noqa: PTH111 - a user that nobody knows raises there


def _told(resolved: Resolved, where: str, component: ResolvedComponent, method: str) -> list[str]:
    """Ask a component's class for what it binds or writes, where it tells that."""
    tell = getattr(component.component, method, None)
    if tell is None:
        return []
    try:
        return [str(item) for item in tell(component.config)]
    except Exception as error:  # noqa: BLE001 - a stranger's code: the other problems are reported as well
        problem = Problem(where, f"its {method} raised {type(error).__name__}: {error}")
        if problem not in resolved.problems:
            resolved.problems.append(problem)
        return []


def _dead_entries(resolved: Resolved) -> Iterator[Problem]:
    entries = resolved.settings.stream
    for index, entry in enumerate(entries):
        earlier = next((n for n in range(index) if entries[n].match in {"*", entry.match}), None)
        if earlier is not None:
            what = f"{entry.match!r} never applies: stream[{earlier}] ({entries[earlier].match!r}) comes first"
            yield Problem(f"stream[{index}].match", what, "the first match wins; put the general one last")
    for component in resolved.sources:
        if component.kind != "zmq" and not any(fnmatch.fnmatchcase(component.name, e.match) for e in entries):
            what = "no [[stream]] matches a stream of its name, so nothing would be done with it"
            yield Problem(f'source "{component.name}"', what, 'add an entry, e.g. with match = "*" as the last')


def _unheard_policies(resolved: Resolved) -> Iterator[Problem]:
    used = {name for entry in resolved.settings.stream for name in entry.policies}
    for name in resolved.settings.policy:
        if name not in used:
            hint = "name it in policies of a [[stream]], or leave it out"
            yield Problem(f"policy.{name}", "no stream uses it", hint)


def _unknown_kinds(resolved: Resolved) -> Iterator[Problem]:
    for index, (entry, _) in enumerate(resolved.subscribers):
        for kind in entry.kinds:
            if not any(known.startswith(kind) for known in KINDS):
                what = f"no event of ours begins with {kind!r}"
                yield Problem(f"subscriber[{index}].kinds", what, did_you_mean(kind, KINDS))
