"""The mind of a client: what to deliver, to hold back, to ask for and to give up. It has no socket and no clock.

Who drives it hands over what arrives (``take_live``, ``take_reply``) and the time (``tick``), does what stands in ``actions``, and takes
what there is to deliver from ``progress``. All times are seconds of one monotonic clock.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from streamcls.bus.client.actions import Action, Hush, Reconnect
from streamcls.bus.client.asking import Asking, Page, Refused
from streamcls.bus.client.catchup import CatchUp
from streamcls.bus.client.echo import Echo, EchoExchange, resolve
from streamcls.bus.client.items import Loss, LossReason, Received
from streamcls.bus.client.losses import Losses
from streamcls.bus.client.meanwhile import Meanwhile
from streamcls.bus.client.progress import Place, Progress
from streamcls.bus.client.silence import Silence
from streamcls.bus.ledger import Hole, Ledger, is_heartbeat, journal_stated
from streamcls.bus.wire import SYNC_PREFIX, Envelope, decode, position_of
from streamcls.errors import BusError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streamcls.bus.client.settings import Wish

__all__ = ["Core"]

_log = logging.getLogger("streamcls.bus.client")

_SYNC: Final = SYNC_PREFIX.encode()
_MOST_STRANGERS: Final = 100
_PAUSE_S: Final = 0.2
"""Before a publisher is asked about a journal that it does not know yet itself."""


class Core:
    """One subscriber's state.

    Parameters
    ----------
    wish
        What is wanted.
    place
        Where a cursor stands; None where there is none, or it is new.
    """

    def __init__(self, wish: Wish, place: Place | None = None) -> None:
        self.actions: deque[Action] = deque()
        self.progress = Progress()
        self.malformed = 0
        self._wish = wish
        self._place = place
        self._ledger = Ledger(wish.wants, restricted=wish.restricted)
        self._echo = EchoExchange(self.actions.append, wish.patience.echo_s)
        self._asking = Asking(self.actions.append, timeout_s=wish.patience.reply_s, patient=wish.durable)
        self._meanwhile = Meanwhile(wish, self.progress)
        self._past = CatchUp(wish, self.progress, self._ledger, self._asking, self._complain, self._meanwhile)
        self._losses = Losses(self.progress, self._past)
        self._silence = Silence(wish.patience.silence_s)
        self._held: deque[tuple[str, Envelope]] = deque()
        self._holding = wish.replay and (place is not None or wish.begin != "now")
        self._source = self._epoch = self._journal = ""
        self._echoed_position = 0
        self._early: deque[tuple[str, int]] = deque(maxlen=wish.beyond)
        self._strangers: set[str] = set()
        self._awaited = self._overflowed = self._head_waited = self._head_tells = False
        self._unverified = True
        self._stated: int | None = None
        self._deaf_until = self._now = 0.0

    @property
    def echoes(self) -> int:
        """Exchanges of echoes that were completed; see :meth:`sync`."""
        return self._echo.completed

    @property
    def settled(self) -> bool:
        """Whether everything that has arrived can be taken, and nothing is asked for."""
        return not self._holding

    @property
    def wake_at(self) -> float | None:
        """When ``tick`` has something to do; None where only a message changes anything."""
        times = (self._echo.deadline, self._asking.deadline, self._silence.deadline)
        return min((time for time in times if time is not None), default=None)

    def start(self, now: float) -> None:
        """Begin, once the subscriptions were made."""
        self._now = now
        self._silence.heard(now)
        if self._wish.replay:
            self._echo.start(now)

    def sync(self, now: float) -> int:
        """Ask for an echo; return what ``echoes`` will be at least once it has come."""
        self._echo.start(now)
        return self._echo.completed + 1

    def take_live(self, frames: Sequence[bytes], now: float) -> None:
        """Take a message of the publisher."""
        self._now = now
        self._silence.heard(now)
        if frames[0].startswith(_SYNC):
            echo = self._echo.take(frames, now)
            if echo is not None:
                self._learn(echo)
            return
        try:
            topic, envelope = decode(frames)
        except BusError as error:
            self._complain(error)
            return
        if is_heartbeat(envelope):
            self._silence.observe(envelope)
            if self._awaited and journal_stated(envelope)[0]:  # its disk can be written at last
                self._awaited = False
                self._resync()
        if not self._holding:
            if not self._examine(topic, envelope):
                self._held.appendleft((topic, envelope))
            return
        if self._meanwhile.active:
            self._meanwhile.take(topic, envelope)
        if len(self._held) < self._wish.held:
            self._held.append((topic, envelope))
        else:
            self._overflowed = True

    def take_reply(self, frames: Sequence[bytes], now: float) -> None:
        """Take a message of a replay endpoint."""
        self._now = now
        self._follow(self._asking.take(frames, now))

    def tick(self, now: float, *, idle: bool) -> None:
        """Do what is due.

        Parameters
        ----------
        idle
            Whether every message that had arrived was taken.
        """
        self._now = now
        self._echo.tick(now)
        self._follow(self._asking.tick(now, heard_at=self._silence.heard_at))
        if self._holding and not self._meanwhile.active and self._asking.failing_s(now) >= self._wish.patience.hold_s:
            self._meanwhile.begin(self._held, self._asking.failing_s(now))
        if idle and self._silence.over(now):
            _log.warning("%s is silent; connecting anew", self._wish.endpoint)
            self._silence.heard(now)
            self._echo.forget()
            self.actions.append(Reconnect())
            if self._journal or self._holding:
                self._resync()
            elif self._wish.replay:
                self._echo.start(now)

    def _examine(self, topic: str, envelope: Envelope, *, settled: bool = False) -> bool:
        """Deliver an event; return False where it has to wait for what is missing before it.

        Parameters
        ----------
        settled
            What could be had of what it shows to be missing was delivered.
        """
        position = position_of(envelope)
        if not self._journal or envelope["source"] != self._source:
            self._losses.report(self._ledger.examine(topic, envelope), LossReason.NO_REPLAY)
            self._deliver(topic, envelope, None)
            if position is not None and self._wish.wants(topic):
                self._early.append((envelope["epoch"], position))
            return True
        if envelope["epoch"] != self._epoch:
            return self._examine_stranger(topic, envelope, position, settled=settled)
        if not self.progress.is_new(position) if position is not None else self._ledger.has(topic, envelope):
            return True
        if position is not None:
            self._losses.note(topic)
        holes = self._ledger.examine(topic, envelope)
        deaf = self._now < self._deaf_until
        if not settled and not deaf and self._has_to_wait(topic, envelope, holes, position):
            return False
        reason = LossReason.NO_REPLAY if deaf else LossReason.NOT_IN_JOURNAL
        rest = self._jump(position) - self._losses.report(holes, reason)
        if rest > 0:
            self.progress.lose(Loss(reason, None, rest))
        if is_heartbeat(envelope):
            self._heed(topic, envelope)
        self._deliver(topic, envelope, position)
        return True

    def _has_to_wait(self, topic: str, envelope: Envelope, holes: Iterable[Hole], position: int | None) -> bool:
        """Ask for what an event shows to be missing, if anything can be had of it."""
        heartbeat = is_heartbeat(envelope)
        if heartbeat and journal_stated(envelope)[0] not in {"", self._journal}:
            self._head_waited = True
            self._resync()
            return True
        missing = [hole for hole in holes if self._losses.is_kept(hole.topic)]
        unsure = heartbeat and self._unverified and self._ledger.sound(topic, envelope)
        if missing or unsure or self._jump(position) or self.progress.beyond >= self._wish.beyond:
            self._past.report(missing)
            self._head_waited = self._head_tells = True
            self._fetch()
            return True
        return False

    def _examine_stranger(self, topic: str, envelope: Envelope, position: int | None, *, settled: bool) -> bool:
        """Take an event of another start of the publisher: the next one, or an old one that was late."""
        if envelope["epoch"] not in self._strangers and not settled:
            self._head_waited = True
            self._resync()
            return False
        if len(self._strangers) >= _MOST_STRANGERS:
            self._strangers.clear()
        self._strangers.add(envelope["epoch"])
        if self._meanwhile.knows(envelope):
            return True
        if (position is None or self.progress.is_new(position)) and self._wish.wants(topic):
            self.progress.deliver(Received(topic, envelope), position, complete=False)
        return True

    def _deliver(self, topic: str, envelope: Envelope, position: int | None) -> None:
        self._ledger.enter(topic, envelope)
        wanted = self._wish.wants(topic) and not self._meanwhile.knows(envelope)
        if wanted and position is None and self._journal and self._losses.is_kept(topic):
            self._meanwhile.note(
                envelope
            )  # its disk fails; once it can be written, the event comes again with a position
        received = Received(topic, envelope) if wanted else None
        self.progress.deliver(received, position, complete=self._wish.everything)

    def _heed(self, topic: str, envelope: Envelope) -> None:
        """Learn from a heartbeat that found nothing missing how far everything has been delivered.

        What it says of topics was gathered after the heartbeat before it was sent, so that it covers what that one said of the journal.
        """
        if self._ledger.sound(topic, envelope) or self._ledger.whole(self._source):
            self._unverified = False
            if self._stated is not None:
                self.progress.confirm(self._stated)
        journal, position = journal_stated(envelope)
        self._stated = position if journal == self._journal else None

    def _jump(self, position: int | None) -> int:
        """Return how many positions of the journal lie between an event and what is complete, where all should have come."""
        complete = self.progress.complete
        if position is None or complete is None or not self._wish.everything:
            return 0
        return max(0, position - complete - 1)

    def _complain(self, error: BusError) -> None:
        self.malformed += 1
        if self.malformed & (self.malformed - 1) == 0:
            _log.warning("from %s: %s; dropped (%d so far)", self._wish.endpoint, error, self.malformed)

    def _resync(self, after_s: float = 0.0) -> None:
        """Hold everything back until the publisher has said where it is."""
        self._holding = True
        self._asking.forget()
        self._stated = None
        self._echo.start(self._now, after_s)

    def _learn(self, echo: Echo) -> None:
        changed = echo.epoch != self._epoch
        if changed and self._epoch:
            self._strangers.add(self._epoch)
        self._strangers.discard(echo.epoch)
        self._source, self._epoch, self._echoed_position = echo.source, echo.epoch, echo.position
        self._past.epoch = echo.epoch
        self._ledger.open(echo.source, echo.epoch)
        self._awaited = self._wish.replay and not echo.journal
        if not (self._wish.replay and echo.source and echo.journal and echo.replay):
            self._go_without()
            return
        self._asking.endpoints = tuple(resolve(where, self._wish.endpoint) for where in echo.replay)
        former, self._journal = self._journal, echo.journal
        if not former:
            self._begin(echo)
        elif former == echo.journal or not changed:
            if former != echo.journal:
                self.progress.adopt(echo.source, echo.journal)
            self._go_on(echo, changed=changed)
        else:
            self._change_journal()

    def _go_on(self, echo: Echo, *, changed: bool) -> None:
        complete = self.progress.complete or 0
        if changed and complete > echo.position:
            self._go_back(echo)
        if self._past.looking_around:
            self._holding = True
            self._past.look_around(self._now)
        elif self._holding or changed or (self._wish.everything and complete < echo.position):
            self._fetch()

    def _go_without(self) -> None:
        """There is nobody to ask: what is missing is lost."""
        if self._wish.replay and (self._journal or self._holding):
            self.progress.lose(Loss(LossReason.NO_REPLAY))
        self._journal = ""
        self._past.stop()
        self.progress.end()
        self._release()

    def _begin(self, echo: Echo) -> None:
        """Begin in a journal: at the cursor's place, or as was asked."""
        place, self._place = self._place, None
        if place is not None and place.journal != echo.journal:
            self._change_journal()
        elif place is not None:
            self.progress.begin(place)
            if place.position > echo.position:
                self._go_back(echo)
            self._fetch()
        elif self._wish.begin == "first":
            self._begin_at(0)
            self._fetch(from_first=True)
        elif self._wish.begin == "snapshot":
            self._held.clear()  # it came before the echo, and is part of what is asked for
            self._overflowed = False
            self._begin_at(echo.position)
            self._holding = True
            self._past.look_around(self._now)
        else:
            self._ledger.doubt(echo.source, self._losses.is_kept)
            # Delivered before the echo as it came, so that one before it may be missing:
            early = frozenset(position for epoch, position in self._early if epoch == echo.epoch)
            self._begin_at(min((echo.position, *(position - 1 for position in early))), early)
            if early:
                self._fetch()
            else:
                self._release()

    def _begin_at(self, position: int, beyond: frozenset[int] = frozenset()) -> None:
        self._unverified = not self._ledger.whole(self._source)
        self._early.clear()
        self.progress.begin(Place(self._source, self._journal, position, beyond))

    def _change_journal(self) -> None:
        self.progress.lose(Loss(LossReason.JOURNAL_CHANGED))
        self._begin_at(0)
        self._fetch(from_first=True)

    def _go_back(self, echo: Echo) -> None:
        """Go on in a journal that has less than was delivered of it, after a power cut or as somebody's older copy."""
        self.progress.lose(Loss(LossReason.WENT_BACK))
        self._begin_at(echo.position)

    def _fetch(self, *, from_first: bool = False) -> None:
        """Ask for everything after what is complete, and hold back what is newer."""
        self._holding = True
        self._past.everything(self._journal, self._now, from_first=from_first)

    def _follow(self, answer: Page | Refused | None) -> None:
        if isinstance(answer, Refused):
            self._do_without(answer)
        elif answer is not None and self._past.take(answer, self._journal, self._now):
            self._release()

    def _do_without(self, refused: Refused) -> None:
        """Go on without what was asked for."""
        if refused.code == "journal_changed":
            self._resync(_PAUSE_S)
            return
        _log.error("the past cannot be had: %s %s", refused.code, refused.message)
        self._deaf_until = self._now + self._wish.patience.deaf_s
        self.actions.append(Hush())
        self._past.stop()
        if not self._head_tells:
            self.progress.lose(Loss(LossReason.NO_REPLAY, first=(self.progress.complete or 0) + 1))
            self.progress.confirm(self._echoed_position)
        self._release()

    def _release(self) -> None:
        """Hand over what was held back, as far as nothing is missing."""
        self._holding = self._meanwhile.active = False
        settled, self._head_waited, self._head_tells = self._head_waited, False, False
        while self._held:
            topic, envelope = self._held.popleft()
            if not self._examine(topic, envelope, settled=settled):
                self._held.appendleft((topic, envelope))
                return
            settled = False
            self._past.lost = 0
        if self._overflowed:
            self._overflowed = False
            if self._journal:
                self._fetch()
