"""The echo: when a subscription is in force, and where the journal was at that moment. Without sockets."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from streamcls.bus.client.actions import Action, Listen, Unlisten
from streamcls.bus.wire import SYNC_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Echo", "EchoExchange", "parse_echo", "resolve"]

_ROUNDS: Final = 2
"""While it connects, ZeroMQ may send subscriptions in another order than they were made. The first echo shows that it is connected; a
second token then follows everything else that was subscribed to."""
_ANYWHERE: Final = frozenset({"*", "0.0.0.0", "[::]"})  # noqa: S104 - recognised, not bound


@dataclass(frozen=True, slots=True)
class Echo:
    """What the publisher said of itself.

    Attributes
    ----------
    journal
        Its journal's identity; empty where it has none.
    position
        Last position of the journal whose event was sent before the echo.
    replay
        Where to ask for the past.
    """

    source: str
    epoch: str
    journal: str
    position: int
    replay: tuple[str, ...]


class EchoExchange:
    """Asks for an echo, and again where none comes.

    Parameters
    ----------
    act
        Takes what is to be done.
    timeout_s
        Time after which a token is given up and another one used. A queue that was full may have swallowed the echo.
    """

    def __init__(self, act: Callable[[Action], object], timeout_s: float) -> None:
        self._act = act
        self._timeout_s = timeout_s
        self._token: bytes | None = None
        self._wanted = False
        self._round = 0
        self._deadline = 0.0
        self.completed = 0
        """Exchanges that were completed."""

    @property
    def active(self) -> bool:
        """Whether an echo is waited for, or will be asked for."""
        return self._wanted

    @property
    def deadline(self) -> float | None:
        """When ``tick`` has something to do."""
        return self._deadline if self.active else None

    def start(self, now: float, after_s: float = 0.0) -> None:
        """Begin anew, now or after a while."""
        self._wanted = True
        if after_s > 0:
            self._deadline = now + after_s
        else:
            self._next(1, now)

    def forget(self) -> None:
        """Ask no longer; the connection is gone, and the token with it."""
        self._token, self._wanted = None, False

    def take(self, frames: Sequence[bytes], now: float) -> Echo | None:
        """Take a message whose topic is no event's; return what the last echo of the exchange says."""
        if self._token is None or frames[0] != self._token:
            return None
        if self._round < _ROUNDS:
            self._next(self._round + 1, now)
            return None
        self._act(Unlisten(self._token))
        self.forget()
        self.completed += 1
        return parse_echo(frames[1] if len(frames) > 1 else b"")

    def tick(self, now: float) -> None:
        """Use another token where the last one was not answered in time."""
        if self._wanted and now >= self._deadline:
            self._next(1, now)

    def _next(self, number: int, now: float) -> None:
        if self._token is not None:
            self._act(Unlisten(self._token))
        self._token = f"{SYNC_PREFIX}{uuid.uuid4()}".encode()
        self._round, self._deadline = number, now + self._timeout_s
        self._act(Listen(self._token))


def parse_echo(body: bytes) -> Echo:
    """Return what an echo says; what is missing or of another type is empty."""
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        value = {}
    value = value if isinstance(value, dict) else {}
    source, epoch, journal, position = (value.get(name) for name in ("source", "epoch", "journal", "position"))
    replay = value.get("replay")
    return Echo(
        source if isinstance(source, str) else "",
        epoch if isinstance(epoch, str) else "",
        journal if isinstance(journal, str) else "",
        position if isinstance(position, int) and position >= 0 else 0,
        tuple(where for where in replay if isinstance(where, str)) if isinstance(replay, list) else (),
    )


def resolve(endpoint: str, publish: str) -> str:
    """Return where to connect to for a replay endpoint as its daemon bound it.

    A host that stands for every address of the daemon's machine is replaced by the host of the publish endpoint, or where that is
    within this machine, by the loopback device.
    """
    if not endpoint.startswith("tcp://"):
        return endpoint
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    if host not in _ANYWHERE:
        return endpoint
    if not publish.startswith("tcp://"):
        return f"tcp://{'[::1]' if host == '[::]' else '127.0.0.1'}:{port}"
    name = urlsplit(publish).hostname or "127.0.0.1"
    return f"tcp://{f'[{name}]' if ':' in name else name}:{port}"
