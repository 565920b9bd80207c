"""Whether the endpoints of a configuration are free, and who has those that are not."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from streamcls.config.schema import host_and_port
from streamcls.service.doctor.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streamcls.config.conflicts import Bound

__all__ = ["holder_of", "port_findings"]

_LISTENING: Final = "0A"
"""State of a socket in /proc/net/tcp."""
_PROC: Final = Path("/proc")
_CHOSEN: Final = frozenset({"*", "0"})


def port_findings(bounds: Sequence[Bound], daemon_pid: int | None = None) -> Iterator[Finding]:
    """Try to bind each endpoint for a moment.

    Parameters
    ----------
    bounds
        What the configuration binds.
    daemon_pid
        Process of the daemon that runs on this configuration: what it has is in order.
    """
    for where, endpoint in bounds:
        try:
            if endpoint.startswith("tcp://"):
                yield _tcp(where, endpoint, daemon_pid)
            elif endpoint.startswith("ipc://"):
                yield _ipc(where, Path(endpoint.removeprefix("ipc://")), daemon_pid)
        except (OSError, ValueError, OverflowError) as error:  # what is none at all, of which ``check`` has more to say
            yield Finding("ports", "problem", f"{where}: {endpoint}: {error}", "correct the endpoint")


def _tcp(where: str, endpoint: str, daemon_pid: int | None) -> Finding:
    host, port = host_and_port(endpoint)
    if port in _CHOSEN:
        return Finding("ports", "ok", f"{where}: {endpoint}: the system chooses one")
    try:
        _try(host, int(port))
    except OSError as error:
        return _refused(where, endpoint, error, daemon_pid)
    return Finding("ports", "ok", f"{where}: {endpoint} is free")


def _refused(where: str, endpoint: str, error: OSError, daemon_pid: int | None) -> Finding:
    port = int(host_and_port(endpoint)[1])
    if error.errno == errno.EADDRINUSE:
        holder = holder_of(port)
        if holder is not None and holder[0] == daemon_pid:
            return Finding("ports", "ok", f"{where}: {endpoint} is the running daemon's")
        who = f"process {holder[0]} ({holder[1]})" if holder else "a process that this user may not see"
        return Finding("ports", "problem", f"{where}: {endpoint} is taken by {who}", "stop it, or choose another port")
    if error.errno == errno.EADDRNOTAVAIL:
        hint = "name an address of this machine, or 0.0.0.0 for all of them; ip address lists them"
        return Finding("ports", "problem", f"{where}: {endpoint}: this machine has no such address", hint)
    if error.errno in {errno.EACCES, errno.EPERM}:
        hint = "choose a port from 1024 on, or give the unit AmbientCapabilities=CAP_NET_BIND_SERVICE"
        return Finding("ports", "problem", f"{where}: {endpoint}: no permission to listen there", hint)
    hint = "correct the address"
    return Finding("ports", "problem", f"{where}: {endpoint}: {error.strerror or error}", hint)


def _try(host: str, port: int) -> None:
    any_host = host == "*"
    found = socket.getaddrinfo(
        None if any_host else host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE if any_host else 0
    )
    family, _, _, _, address = found[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as ZeroMQ does: connections that end do not count
        probe.bind(address)
        probe.listen(1)


def _ipc(where: str, path: Path, daemon_pid: int | None) -> Finding:  # noqa: PLR0911 - one for each state of things
    label = f"{where}: ipc://{path}"
    folder = path.parent
    if not os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises where it may not look
        hint = "create it; under /run a unit's RuntimeDirectory= does at each start"
        return Finding("ports", "problem", f"{label}: the folder {folder} does not exist", hint)
    if not os.access(folder, os.W_OK | os.X_OK):
        hint = "chown it to the daemon's user, or name another path"
        return Finding("ports", "problem", f"{label}: user {os.geteuid()} may not write in {folder}", hint)
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return Finding("ports", "ok", f"{label} is free")
    if not is_socket:
        return Finding("ports", "problem", f"{label}: a file stands there that is no socket", "move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return Finding("ports", "ok", f"{label}: left behind by a daemon that has gone; it is replaced")
    if daemon_pid is not None:
        return Finding("ports", "ok", f"{label}: a daemon has it, and one runs on this configuration")
    return Finding("ports", "problem", f"{label} is taken by another process", "stop it, or choose another path")


def holder_of(port: int) -> tuple[int, str] | None:
    """Return number and name of the process that listens at a TCP port; None where that cannot be seen."""
    inodes = {f"socket:[{inode}]" for name in ("tcp", "tcp6") for inode in _listening(name, port)}
    for folder in _PROC.iterdir() if inodes else ():
        if not folder.name.isdigit():
            continue
        try:
            if any(str(link.readlink()) in inodes for link in (folder / "fd").iterdir()):
                return int(folder.name), (folder / "comm").read_text(encoding="utf-8", errors="replace").strip()
        except OSError:  # another user's, or gone
            continue
    return None


def _listening(name: str, port: int) -> Iterator[str]:
    try:
        lines = (_PROC / "net" / name).read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return
    for line in lines:
        _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
        if state == _LISTENING and int(local.rpartition(":")[2], 16) == port:
            yield inode
