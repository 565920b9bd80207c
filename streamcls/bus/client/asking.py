"""Asking a daemon for the past, one request at a time, with patience. Without sockets."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from streamcls.bus.client.actions import Action, Ask, Hush
from streamcls.bus.wire import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Asking", "Page", "Refused"]

_log = logging.getLogger("streamcls.bus.client")

_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0
_PASSING: Final = frozenset({"busy", "journal_failed", "failed"})
_ATTEMPTS: Final = 4


@dataclass(frozen=True, slots=True)
class Page:
    """An answer.

    Attributes
    ----------
    next
        What to ask on from.
    more
        Whether there is more now.
    lost
        Positions after the one asked from that are no longer there.
    first
        First position that the journal keeps.
    bodies
        The events' JSON.
    """

    next: int
    more: bool
    lost: int
    first: int
    bodies: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """No answer is to be had.

    Attributes
    ----------
    code
        The daemon's word for it, or ``no answer``.
    """

    code: str
    message: str = ""


class Asking:
    """The request that is under way.

    What goes unanswered is asked again, of the next endpoint where there are several. A silence counts only while the publisher is heard:
    a daemon that is down will answer when it is back.

    Parameters
    ----------
    act
        Takes what is to be done.
    patient
        Ask for ever where the daemon does not answer or cannot at the moment.
    """

    def __init__(self, act: Callable[[Action], object], *, timeout_s: float, patient: bool) -> None:
        self._act = act
        self._timeout_s = timeout_s
        self._patient = patient
        self.endpoints: tuple[str, ...] = ()
        self._number = 0
        self._request: dict[str, Any] | None = None
        self._sent = False
        self._failures = 0
        self._failing_since: float | None = None
        self._deadline = 0.0

    @property
    def deadline(self) -> float | None:
        """When ``tick`` has something to do."""
        return self._deadline if self._request is not None else None

    def failing_s(self, now: float) -> float:
        """Return for how many seconds nobody could be asked."""
        return 0.0 if self._failing_since is None else now - self._failing_since

    def ask(self, request: Mapping[str, Any], now: float) -> None:
        """Ask, and forget whatever was asked before."""
        self._request = dict(request)
        self._failures = 0
        self._send(now)

    def forget(self) -> None:
        """Ask no longer."""
        self._request = None

    def take(self, frames: Sequence[bytes], now: float) -> Page | Refused | None:
        """Take an answer; None where it answers nothing that is asked now, or where the question will be repeated."""
        try:
            header: Any = json.loads(frames[0])
        except (ValueError, RecursionError, IndexError):
            return None
        if self._request is None or not isinstance(header, dict) or header.get("request") != str(self._number):
            return None
        if header.get("ok") is not True:
            code, message = str(header.get("error")), str(header.get("message", ""))
            return self._failed(code, message, now) if code in _PASSING else self._give_up(code, message)
        self._request = self._failing_since = None
        numbers = [header.get(name) for name in ("next", "lost", "first")]
        following, lost, first = (number if isinstance(number, int) and number >= 0 else 0 for number in numbers)
        return Page(following, header.get("more") is True, lost, first, tuple(frames[1:]))

    def tick(self, now: float, *, heard_at: float) -> Refused | None:
        """Ask again where no answer came in time.

        Parameters
        ----------
        heard_at
            When the publisher was heard last.
        """
        if self._request is None or now < self._deadline:
            return None
        if not self._sent:
            self._send(now)
            return None
        self._act(Hush())
        self.endpoints = (*self.endpoints[1:], *self.endpoints[:1])
        if heard_at > self._deadline - self._timeout_s:
            return self._failed("no answer", f"from {self.endpoints[-1]}", now)
        self._send(now)
        return None

    def _failed(self, code: str, message: str, now: float) -> Refused | None:
        """Count a failure that may pass, and ask again after a while unless there were enough of them."""
        self._failures += 1
        self._failing_since = now if self._failing_since is None else self._failing_since
        if self._failures & (self._failures - 1) == 0:
            _log.warning("the daemon does not answer for the past: %s %s; asked again", code, message)
        if self._failures >= _ATTEMPTS and not self._patient:
            return self._give_up(code, message)
        self._sent = False
        self._deadline = now + min(_FIRST_PAUSE_S * 2**self._failures, _LONGEST_PAUSE_S)
        return None

    def _give_up(self, code: str, message: str) -> Refused:
        self._request = None
        return Refused(code, message)

    def _send(self, now: float) -> None:
        if self._request is None:
            return
        self._number += 1
        self._sent, self._deadline = True, now + self._timeout_s
        self._act(Ask(self.endpoints[0], to_json({"request": str(self._number), **self._request})))
