"""What systemd wants to hear of a service, as sd_notify(3) and sd_watchdog_enabled(3) describe it. Without systemd: nothing."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Notifier"]

_log = logging.getLogger("streamcls.notify")

_SOCKET: Final = "NOTIFY_SOCKET"
_INTERVAL: Final = "WATCHDOG_USEC"
_WATCHED: Final = "WATCHDOG_PID"
_SEND_S: Final = 0.2
"""How long a message waits for room in systemd's queue; it is then left out, and the next one tries again."""
_LONGEST_STATUS: Final = 400
"""Characters."""
_USEC: Final = 1_000_000
_NSEC_PER_USEC: Final = 1_000


class Notifier:
    """Tells the service manager how the daemon fares; does nothing where nobody wants to know. From any thread.

    A message that cannot be sent is left out, with one line in the log: to tell of the work never hinders the work.

    Parameters
    ----------
    address
        Of a datagram socket: an absolute path, or ``@`` and an abstract name; empty: nobody listens.
    watchdog_s
        Seconds within which the manager expects a sign of life; None: it expects none.
    clock_ns
        CLOCK_MONOTONIC in nanoseconds, by which the manager tells an old reload from a new one.
    """

    def __init__(
        self, address: str = "", watchdog_s: float | None = None, *, clock_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.watchdog_s = watchdog_s if address else None
        self._address = address
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._deaf = False
        self._status = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Notifier:
        """Return one for this process, as the manager has set its environment; the watchdog may be meant for another process."""
        environment = os.environ if environment is None else environment
        address = environment.get(_SOCKET, "")
        if not address.startswith(("/", "@")):
            if address:
                _log.warning("%s is %r, expected a path or @NAME; nothing is told", _SOCKET, address[:100])
            return cls()
        return cls(address, _watchdog_s(environment))

    @property
    def active(self) -> bool:
        """Whether somebody wants to know."""
        return bool(self._address)

    def ready(self, status: str = "") -> None:
        """Say that the start, or a reload, is over."""
        self._tell("READY=1", *self._stated(status))

    def reloading(self) -> None:
        """Say that a reload begins; :meth:`ready` ends it."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={self._clock_ns() // _NSEC_PER_USEC}")

    def status(self, text: str) -> None:
        """Show a line for people; one that is shown already is not sent again."""
        if text != self._status:
            self._tell(*self._stated(text))

    def stopping(self, status: str = "") -> None:
        """Say that the end has begun; no sign of life is expected any more."""
        self._tell("STOPPING=1", *self._stated(status))

    def watchdog(self) -> None:
        """Give a sign of life, where one is expected."""
        if self.watchdog_s is not None:
            self._tell("WATCHDOG=1")

    def close(self) -> None:
        """Close the socket."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _stated(self, status: str) -> tuple[str, ...]:
        self._status = status
        line = " ".join(status.split())[:_LONGEST_STATUS]
        return (f"STATUS={line}",) if line else ()

    def _tell(self, *lines: str) -> None:
        if not self._address or not lines:
            return
        with self._lock:
            try:
                if self._socket is None:
                    self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                    self._socket.settimeout(_SEND_S)
                self._socket.sendto("\n".join(lines).encode(), self._target())
            except (OSError, ValueError) as error:  # of ValueError: a name that cannot be one
                complaint, self._deaf = "" if self._deaf else str(error), True
                self._status = ""  # whatever is shown there, it is not this
            else:
                self._deaf = False
                return
        if complaint:
            _log.warning("the service manager cannot be told (%s=%s): %s", _SOCKET, self._address, complaint)

    def _target(self) -> str | bytes:
        return b"\0" + os.fsencode(self._address[1:]) if self._address.startswith("@") else self._address


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    text, pid = environment.get(_INTERVAL, ""), environment.get(_WATCHED, "")
    if not text or (pid and pid != str(os.getpid())):
        return None
    if not (text.isascii() and text.isdigit() and int(text)):
        _log.warning("%s is %r, expected microseconds; the watchdog is not fed", _INTERVAL, text[:100])
        return None
    return int(text) / _USEC
