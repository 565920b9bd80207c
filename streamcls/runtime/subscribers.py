"""Running a subscriber plugin: its own thread and its own socket, so that nobody waits for it."""

from __future__ import annotations

import logging
import select
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from streamcls.bus import EventClient
from streamcls.errors import BusError
from streamcls.runtime.complaints import Complaints

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamcls.interfaces import Subscriber

__all__ = ["SubscriberThread", "handle_guarded"]

_log = logging.getLogger("streamcls.subscriber")

_ATTEMPTS: Final = 3
_FIRST_PAUSE_S: Final = 0.1
_POLL_S: Final = 0.2


def handle_guarded(
    name: str,
    subscriber: Subscriber,
    event: dict[str, Any],
    pause: Callable[[float], object] = time.sleep,
    complain: Callable[[str], None] = _log.error,
) -> bool:
    """Give an event to a subscriber, again where it raises, at most three times; return whether it took it.

    What it did not take goes to ``complain``, by default the log.

    Raises
    ------
    BrokenPipeError
        It writes to standard output, which nobody reads any more.
    """
    for attempt in range(_ATTEMPTS):
        try:
            subscriber.handle(event)
        except Exception as error:
            if isinstance(error, BrokenPipeError) and _output_is_gone():
                raise
            if attempt + 1 < _ATTEMPTS:
                pause(_FIRST_PAUSE_S * 2**attempt)
                continue
            complain(f"subscriber {name} did not take the event {event['id']}: {type(error).__name__}: {error}")
            _log.debug("subscriber %s", name, exc_info=True)
            return False
        return True
    return False


class SubscriberThread(threading.Thread):
    """Feeds one subscriber from the bus of this process.

    ``ready`` is set once no event can be missed any more. ``finish`` lets it take everything published so far and ends it.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Subscriber],
        endpoint: str,
        context: Any,
        *,
        kinds: Sequence[str] = (),
        streams: Sequence[str] = (),
    ) -> None:
        super().__init__(name=f"subscriber-{name}", daemon=True)
        self.subscriber_name = name
        self.ready = threading.Event()
        self.handled = 0
        self.failed = 0
        self.reason = ""
        self._make = make
        self._client = EventClient(endpoint, kinds=kinds, streams=streams, context=context)
        self._finishing = threading.Event()
        self._drain_s = 1.0
        self._complaints = Complaints(_log.error)

    @property
    def missed(self) -> int:
        """Events that it lost because it did not keep up."""
        return self._client.missed

    def finish(self, drain_s: float) -> None:
        """Ask it to take what was published so far, for at most ``drain_s`` seconds, and to end."""
        self._drain_s = drain_s
        self._finishing.set()

    def run(self) -> None:
        """Receive and hand over until finished."""
        try:
            subscriber = self._make()
        except Exception as error:  # noqa: BLE001 - as above
            self.reason = f"{type(error).__name__}: {error}"
            _log.exception("subscriber %s cannot be made", self.subscriber_name)
            self.ready.set()
            return
        try:
            with self._client as client:
                for event in client.synchronise(5.0):
                    self._hand_over(subscriber, event)
                self.ready.set()
                while not self._finishing.is_set():
                    received = client.receive(_POLL_S)
                    if received is not None:
                        self._hand_over(subscriber, received)
                self._drain(client, subscriber)
        except BusError as error:
            self.reason = str(error)
            _log.error("subscriber %s: %s", self.subscriber_name, error)
        except BrokenPipeError:
            self.reason = "nobody reads standard output any more"
            _log.warning("subscriber %s: %s; it has ended", self.subscriber_name, self.reason)
        finally:
            self.ready.set()
            if self.failed:
                _log.error("subscriber %s did not take %d events in all", self.subscriber_name, self.failed)
            try:
                subscriber.close()
            except Exception:  # noqa: BLE001 - as above
                _log.exception("subscriber %s: close raised", self.subscriber_name)

    def _drain(self, client: EventClient, subscriber: Subscriber) -> None:
        try:
            for event in client.synchronise(self._drain_s):
                self._hand_over(subscriber, event)
        except BusError:
            self.reason = f"it did not take all that was published within {self._drain_s:g} s of the stop"
            _log.warning("subscriber %s: %s", self.subscriber_name, self.reason)

    def _hand_over(self, subscriber: Subscriber, event: dict[str, Any]) -> None:
        name, complaints = self.subscriber_name, self._complaints
        if handle_guarded(name, subscriber, event, self._finishing.wait, complaints.complain):
            self.handled += 1
            complaints.recovered(f"subscriber {name} takes events again")
        else:
            self.failed += 1


def _output_is_gone() -> bool:
    """Whether standard output is a pipe whose reader has gone: no attempt will ever succeed again."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(happened & select.POLLERR for _, happened in poll.poll(0))
    except (OSError, ValueError):  # no real file, or closed
        return False
