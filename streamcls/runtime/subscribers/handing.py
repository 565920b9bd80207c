"""Handing one event to a subscriber, whatever it does with it."""

from __future__ import annotations

import logging
import select
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from streamcls.errors import SubscriberBusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamcls.interfaces import Subscriber

__all__ = ["ATTEMPTS", "BUSY_PAUSE_S", "FIRST_PAUSE_S", "handle_guarded", "offer"]

_log = logging.getLogger("streamcls.subscriber")

ATTEMPTS: Final = 3
"""How often one event is offered to a subscriber that raises."""
FIRST_PAUSE_S: Final = 0.1
"""Between the first two attempts; it doubles."""
BUSY_PAUSE_S: Final = 1.0
"""Before a subscriber that was busy is offered the event again."""


def offer(
    subscriber: Subscriber,
    event: Mapping[str, Any],
    pause: Callable[[float], object] = time.sleep,
    begin: Callable[[], object] = lambda: None,
) -> Exception | None:
    """Give an event to a subscriber, again where it raises, at most three times; return what it raised last, or None.

    One that is busy is not asked again at once: whoever offers decides when.

    Parameters
    ----------
    pause
        Waits for so many seconds between two attempts.
    begin
        Called before each attempt.

    Raises
    ------
    BrokenPipeError
        It writes to standard output, which nobody reads any more.
    """
    for attempt in range(ATTEMPTS):
        begin()
        try:
            subscriber.handle(event)
        except SubscriberBusyError as error:
            return error
        except Exception as error:
            if isinstance(error, BrokenPipeError) and _output_is_gone():
                raise
            if attempt + 1 == ATTEMPTS:
                return error
            pause(FIRST_PAUSE_S * 2**attempt)
        else:
            return None
    return None


def handle_guarded(
    name: str,
    subscriber: Subscriber,
    event: Mapping[str, Any],
    pause: Callable[[float], object] = time.sleep,
    complain: Callable[[str], None] = _log.error,
) -> bool:
    """Give an event to a subscriber, again where it raises, at most three times; return whether it took it.

    One that is busy is waited for. What it did not take goes to ``complain``, by default the log.

    Parameters
    ----------
    pause
        Waits for so many seconds; returns True where a subscriber that is busy is to be waited for no longer.

    Raises
    ------
    SubscriberBusyError
        It was still busy when the wait was ended: it may have the event again later.
    BrokenPipeError
        It writes to standard output, which nobody reads any more.
    """
    while isinstance(error := offer(subscriber, event, pause), SubscriberBusyError):
        complain(f"subscriber {name}: {error}")
        if pause(BUSY_PAUSE_S) is True:
            raise error
    if error is None:
        return True
    complain(f"subscriber {name} did not take the event {event['id']}: {type(error).__name__}: {error}")
    _log.debug("subscriber %s", name, exc_info=error)
    return False


def _output_is_gone() -> bool:
    """Whether standard output is a pipe whose reader has gone: no attempt will ever succeed again."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(happened & select.POLLERR for _, happened in poll.poll(0))
    except (OSError, ValueError):  # no real file, or closed
        return False
