"""What a ZeroMQ endpoint may look like here, checked without opening it."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

__all__ = ["endpoint_problem", "is_loopback", "is_numeric_ipv6"]

_TCP: Final = re.compile(r"(?P<host>\[[^\[\]]+\]|[^\[\]:]+):(?P<port>[0-9]{1,5}|\*)")
_MAX_PORT: Final = 65_535
_MAX_IPC_BYTES: Final = 107
"""Longest path of a Unix socket on Linux, without its closing zero byte."""
_LOOPBACK_NAMES: Final = frozenset({"localhost", "lo"})


def endpoint_problem(endpoint: str, *, bind: bool) -> str:
    """Say in a clause what is wrong with an endpoint, or return an empty string.

    Parameters
    ----------
    endpoint
        ``tcp://HOST:PORT``, ``ipc://PATH`` or ``inproc://NAME``.
    bind
        True where it is to be bound: then ``*`` is a host (all interfaces) and a port (any free one).
    """
    transport, separator, address = endpoint.partition("://")
    if not separator or transport not in {"tcp", "ipc", "inproc"}:
        return "expected tcp://HOST:PORT, ipc://PATH or inproc://NAME"
    if not address or any(character.isspace() or not character.isprintable() for character in address):
        return f"expected an address without blanks after {transport}://"
    if transport == "ipc" and len(address.encode()) > _MAX_IPC_BYTES:
        return f"the path has {len(address.encode())} bytes, a Unix socket's has at most {_MAX_IPC_BYTES}"
    return _tcp_problem(endpoint, address, bind=bind) if transport == "tcp" else ""


def is_loopback(endpoint: str) -> bool:
    """Say whether a well-formed endpoint can be reached from this machine only."""
    if not endpoint.startswith("tcp://"):
        return True
    host = _host(endpoint)
    if host in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_numeric_ipv6(endpoint: str) -> bool:
    """Say whether the endpoint's host is written as an IPv6 address, for which a socket must be prepared."""
    if not endpoint.startswith("tcp://["):
        return False
    try:
        ipaddress.IPv6Address(_host(endpoint).partition("%")[0])
    except ValueError:
        return False
    return True


def _tcp_problem(endpoint: str, address: str, *, bind: bool) -> str:
    match = _TCP.fullmatch(address)
    if match is None:
        return "expected tcp://HOST:PORT, with an IPv6 address in square brackets"
    host, port = match["host"], match["port"]
    if not bind and (host == "*" or port == "*" or int(port) == 0):
        return "a host and a port to connect to must be given; * is for bind"
    if port != "*" and int(port) > _MAX_PORT:
        return f"the port is {port}, expected 1 to {_MAX_PORT}"
    if host.startswith("[") and not is_numeric_ipv6(endpoint):
        return f"{host} is no IPv6 address"
    return ""


def _host(endpoint: str) -> str:
    return endpoint.removeprefix("tcp://").rpartition(":")[0].strip("[]")
