"""The publishing end: one thread owns the XPUB sockets; any thread may hand it events."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import zmq

from streamcls.bus.binding import bind_all, give_up_on_the_dead
from streamcls.bus.numbering import Numbering
from streamcls.bus.outgoing import Delivery, Outgoing
from streamcls.bus.subscriptions import Subscriptions
from streamcls.bus.wire import SYNC_PREFIX, to_json
from streamcls.errors import BusError
from streamcls.types import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamcls.bus.auth import Security
    from streamcls.bus.journal import Journal
    from streamcls.types import Checkpoint

__all__ = ["IN_PROCESS", "Publisher"]

_log = logging.getLogger("streamcls.bus")

IN_PROCESS: Final = "inproc://streamcls-events"
_TERM_S: Final = 1.0
_LONGEST_SUBSCRIPTION: Final = 512
"""Bytes; a peer that sends a longer frame is disconnected."""
_LARGEST_BATCH: Final = 256
"""Deliveries that are committed to the journal together."""
_REBIND_S: Final = 5.0
_REBIND_PAUSE_S: Final = 0.05
_BEAT_MS: Final = 500


class Publisher:
    """Numbers events per topic, has the journal keep them, and publishes them.

    ``publish`` may be called from any thread and blocks while ``queue_size`` deliveries wait, so that a burst slows the workers instead
    of growing the daemon. Subscribers never slow it: for one that does not keep up ZeroMQ drops at ``high_water_mark``, which the
    subscriber sees as a hole in the sequence. After ``most_topics`` topics (streams that come and go under ever new names) the numbering
    begins anew in a new epoch, so that memory and heartbeats stay bounded.

    Parameters
    ----------
    private
        Endpoints for processes of the daemon's own, without a key: sockets in a folder that nobody else enters.

    Attributes
    ----------
    endpoints
        Where events are published, with the ports that were chosen.
    replay_endpoints
        Where the past is asked for, as echoes tell it; set by who made the replay server.
    annotate
        Called in the bus thread for each event before it is numbered; what it returns is published.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        source: str,
        high_water_mark: int = 10_000,
        queue_size: int = 10_000,
        most_topics: int = 20_000,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        clock: Callable[[], float] = time.time,
        journal: Journal | None = None,
        security: Security | None = None,
        private: Sequence[str] = (),
    ) -> None:
        self.source = source
        self.context = context or zmq.Context()
        self.journal = journal
        self.annotate: Callable[[Event], Event] | None = None
        self.endpoints: list[str] = []
        self.replay_endpoints: Callable[[], Sequence[str]] = list
        self.private_replay_endpoints: Sequence[str] = ()
        self.beat: Callable[[], None] = lambda: None  # twice a second at the least, in the bus thread
        self._owns_context = context is None
        self._requested = list(endpoints)
        self._private = [IN_PROCESS, *private]
        self._high_water_mark = high_water_mark
        self._outgoing = Outgoing(queue_size)
        self._numbering = Numbering(source, most_topics=most_topics, journal=journal, clock=clock)
        self._security = security
        self._told_of_journal = ("ok", 0)
        self._renew = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bus", daemon=True)
        self._public: zmq.Socket[bytes] | None = None
        self._local: zmq.Socket[bytes] | None = None
        self._subscriptions: dict[zmq.Socket[bytes], Subscriptions] = {}

    def start(self) -> None:
        """Bind every endpoint, open the journal, and begin.

        Raises
        ------
        BusError
            An endpoint cannot be bound, or another daemon keeps this journal; the message names it and says what to do.
        """
        try:
            self._local = self._socket()
            self._subscriptions[self._local] = Subscriptions(self._local, None, self._echo_local)
            bind_all(self._local, self._private, "publish")
            self._bind_public(self._requested)
            if self.journal is not None:
                self.journal.open()
                self._numbering.follow(self.journal.last_epoch)
        except BusError:
            for socket in (self._public, self._local):
                if socket is not None:
                    socket.close()
            self._release()
            raise
        self._thread.start()

    def publish(self, event: Event) -> None:
        """Hand over an event; blocks while too many wait. Raises BusError once the bus has stopped."""
        self.publish_all((event,))

    def offer(self, event: Event, timeout_s: float) -> bool:
        """Hand over an event, unless too many wait for so long; return whether it was taken. Raises as ``publish`` does."""
        return self._outgoing.put(Delivery((event,)), timeout_s)

    def publish_all(self, events: Sequence[Event], checkpoint: Checkpoint | None = None) -> None:
        """Hand over events and the checkpoint behind them: the journal keeps all of it, or a crash leaves nothing of it.

        Blocks while too many deliveries wait. Raises BusError once the bus has stopped.
        """
        if not events and checkpoint is None:
            return
        self._outgoing.put(Delivery(tuple(events), checkpoint))

    def renew(self) -> None:
        """Close the public endpoints and bind them again, so that connections of revoked keys end; from any thread."""
        self._renew.set()
        self._outgoing.wake()

    @property
    def alive(self) -> bool:
        """Whether the bus thread runs."""
        return self._thread.is_alive()

    def positions(self) -> dict[str, int]:
        """Return the sequence of each topic's last event."""
        return self._numbering.positions()

    @property
    def epoch(self) -> str:
        """Names this start of the publisher."""
        return self._numbering.epoch

    @property
    def published(self) -> int:
        """Events published since the start."""
        return self._numbering.published

    @property
    def waiting(self) -> int:
        """Deliveries handed over and not yet published."""
        return len(self._outgoing)

    def close(self, timeout_s: float = 2.0) -> bool:
        """Publish what waits, then stop; return False where that took longer than ``timeout_s``."""
        self._outgoing.close()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        finished = not self._thread.is_alive()
        if finished:
            self._release()
        return finished

    def _release(self) -> None:
        if not self._outgoing.release():
            return
        if self._owns_context:
            # Not destroy(), which closes sockets under the threads that use them. Those learn of the end and close their own; one
            # that hangs in its subscriber is left behind.
            ending = threading.Thread(target=self.context.term, name="bus-end", daemon=True)
            ending.start()
            ending.join(_TERM_S)

    def _socket(self) -> zmq.Socket[bytes]:
        socket = self.context.socket(zmq.XPUB)
        socket.linger = 0
        socket.sndhwm = self._high_water_mark
        socket.setsockopt(zmq.MAXMSGSIZE, _LONGEST_SUBSCRIPTION)
        return socket

    def _bind_public(self, endpoints: Sequence[str]) -> None:
        if self._public is not None:
            del self._subscriptions[self._public]
            self._public.close(linger=0)
            self._public = None
        if not endpoints:
            return
        socket = self._socket()
        give_up_on_the_dead(socket)
        if self._security is not None:
            self._security.secure_server(socket, "publish")
        subscriptions = Subscriptions(socket, self._security, self._echo_public)
        try:
            self.endpoints = bind_all(socket, endpoints, "publish")
        except BusError:
            socket.close()
            raise
        self._public = socket
        self._subscriptions[socket] = subscriptions

    def _run(self) -> None:
        try:
            while not self._outgoing.closing or self._outgoing:
                self.beat()
                self._turn(self._ready())
        except BaseException as error:
            _log.critical("the bus stopped", exc_info=True)
            self._outgoing.fail(error)
            raise
        finally:
            self._outgoing.close()
            if self.journal is not None:
                self.journal.close()
            for socket in self._sockets():
                socket.close(linger=500)

    def _ready(self) -> set[Any]:
        """Wait until there is something to do, and return the sockets that have something."""
        poller = zmq.Poller()
        poller.register(self._outgoing.descriptor, zmq.POLLIN)
        for socket in self._sockets():
            poller.register(socket, zmq.POLLIN)
        wait_ms = _BEAT_MS if self.journal is None else min(_BEAT_MS, round(1000 * self.journal.due_s) + 1)
        ready = {who for who, _ in poller.poll(0 if self._outgoing else wait_ms)}
        if self._outgoing.descriptor in ready:
            self._outgoing.heard()
        return ready

    def _turn(self, ready: set[Any]) -> None:
        if self._renew.is_set():
            self._renew.clear()
            self._rebind()
        self._send_waiting()
        if self.journal is not None:
            self.journal.tick()
            self._tell_of_journal(self.journal)
        for socket, subscriptions in list(self._subscriptions.items()):
            if socket in ready and not subscriptions.answer():
                self._rebind()

    def _rebind(self) -> None:
        """Bind the public endpoints again; the system may take a moment to let go of a port."""
        self._renew.clear()
        deadline = time.monotonic() + _REBIND_S
        while True:
            try:
                self._bind_public(self.endpoints)
            except BusError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_REBIND_PAUSE_S)
            else:
                return

    def _sockets(self) -> list[zmq.Socket[bytes]]:
        return [socket for socket in (self._public, self._local) if socket is not None]

    def _send_waiting(self) -> None:
        """Send what waits now; what is added meanwhile has to wait for the subscriptions to have their turn."""
        left = len(self._outgoing)
        while left > 0:
            self.beat()
            batch = self._outgoing.take(min(left, _LARGEST_BATCH))
            left -= len(batch)
            self._send([event for delivery in batch for event in delivery.events], batch)

    def _send(self, events: Sequence[Event], batch: Sequence[Delivery] = ()) -> None:
        numbered = [one for event in events if (one := self._numbering.number(self._annotated(event))) is not None]
        checkpoints = [delivery.checkpoint for delivery in batch if delivery.checkpoint is not None]
        journal = self.journal
        records = [one.record for one in numbered if one.record is not None]
        if journal is not None and (records or checkpoints) and not journal.write(records, checkpoints):
            # A position is given once and for all; without a disk to keep it on, none is.
            numbered = [
                one if one.record is None else self._numbering.without_position(one, journal) for one in numbered
            ]
            journal.set_back([one.record for one in numbered if one.record is not None], checkpoints)
        for socket, subscriptions in self._subscriptions.items():
            for one in numbered:
                topic, body = one.frames
                socket.send_multipart([subscriptions.address(topic), body])

    def _annotated(self, event: Event) -> Event:
        if self.annotate is None:
            return event
        try:
            return self.annotate(event)
        except Exception:  # noqa: BLE001 - an event without a note is better than none
            _log.exception("event %s of %s could not be annotated", event.kind, event.stream)
            return event

    def _tell_of_journal(self, journal: Journal) -> None:
        """Publish that the journal has failed, is well again, or was begun anew."""
        now = (journal.state, journal.set_aside)
        if now == self._told_of_journal:
            return
        anew = now[1] > self._told_of_journal[1]
        self._told_of_journal = now
        reason = "the former journal was damaged; it was set aside and a new one begun" if anew else ""
        data = {
            "state": journal.state,
            "reason": journal.reason or reason,
            "journal": journal.id,
            "unwritten": journal.facts()["unwritten"],
        }
        self._send([Event("daemon.journal", self.source.rpartition("/")[2], data)])

    def _echo_public(self, topic: bytes) -> None:
        self._echo(self._public, topic, self.replay_endpoints())

    def _echo_local(self, topic: bytes) -> None:
        self._echo(self._local, topic, self.private_replay_endpoints)

    def _echo(self, socket: zmq.Socket[bytes] | None, topic: bytes, replay: Sequence[str]) -> None:
        """Answer a subscription to ``_sync/…``: what was handed over before has been sent to that subscriber."""
        if socket is None or not topic.startswith(SYNC_PREFIX.encode()):
            return
        self._send_waiting()
        body: dict[str, Any] = {
            "epoch": self.epoch,
            "source": self.source,
            "published": self.published,
            "journal": self.journal.id if self.journal is not None else "",
            "position": self.journal.position if self.journal is not None else 0,
            "replay": list(replay) if self.journal is not None else [],
        }
        socket.send_multipart([self._subscriptions[socket].address(topic), to_json(body)])
