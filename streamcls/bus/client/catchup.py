"""Fetching the past: what was open, and everything after what is complete, page by page. Without sockets."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from streamcls.bus.client.items import Received
from streamcls.bus.wire import Envelope, decode_body, position_of
from streamcls.errors import BusError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from streamcls.bus.client.asking import Asking, Page
    from streamcls.bus.client.meanwhile import Meanwhile
    from streamcls.bus.client.progress import Progress
    from streamcls.bus.client.settings import Wish
    from streamcls.bus.ledger import Hole, Ledger

__all__ = ["CatchUp"]

_MOST_REPORTED: Final = 1000
_MOST_FILTERS: Final = 100


class CatchUp:
    """Asks, and delivers what comes.

    Parameters
    ----------
    complain
        Called for what came and is no event.
    meanwhile
        Knows what was delivered already, while nobody could be asked.

    Attributes
    ----------
    epoch
        The publisher's present start: events of it are entered into the ledger.
    lost
        Positions that the journal turned out not to have, and that were reported, since ``everything`` was called.
    """

    def __init__(  # noqa: PLR0917 - called from one place
        self,
        wish: Wish,
        progress: Progress,
        ledger: Ledger,
        asking: Asking,
        complain: Callable[[BusError], object],
        meanwhile: Meanwhile,
    ) -> None:
        self.epoch = ""
        self.lost = 0
        self._wish = wish
        self._progress = progress
        self._ledger = ledger
        self._asking = asking
        self._complain = complain
        self._meanwhile = meanwhile
        self._journal = ""
        self._asked_from = 0
        self._after: int | None = None
        self._from_first = False
        self._reported: Counter[str] = Counter()

    @property
    def looking_around(self) -> bool:
        """Whether it is asking for what is open."""
        return self._after is not None

    def report(self, holes: Iterable[Hole]) -> None:
        """Have the daemon told, with the next question, what did not reach this subscriber."""
        for hole in holes:
            if hole.certain:
                self._reported[hole.topic] += hole.count

    def look_around(self, now: float) -> None:
        """Ask what was open at what is complete; ``take`` goes on with everything after it."""
        self._after = self._after or 0
        self._ask({"op": "snapshot", "after": self._after}, now)

    def everything(self, journal: str, now: float, *, from_first: bool = False) -> None:
        """Ask for everything after what is complete.

        Parameters
        ----------
        from_first
            Begin with whatever the journal still has: what it dropped before is no loss.
        """
        self._journal, self._from_first, self._after, self.lost = journal, from_first, None, 0
        self._on(now)

    def stop(self) -> None:
        """Ask no longer."""
        self._after = None
        self._asking.forget()

    def take(self, page: Page, journal: str, now: float) -> bool:
        """Deliver what came; return whether that was all."""
        if self._after is not None:
            self._take_open(page)
            if page.more and page.next > self._after:
                self._after = page.next
                self.look_around(now)
            else:
                self.everything(journal, now)
            return False
        self._take_since(page)
        if page.more and page.next > self._asked_from:
            self._on(now)
            return False
        return True

    def _take_open(self, page: Page) -> None:
        """Deliver what was open at the beginning; what happened since then comes as it happened."""
        for topic, envelope in self._decoded(page):
            position = position_of(envelope)
            if position is not None and position <= (self._progress.complete or 0) and self._wish.wants(topic):
                self._progress.deliver_snapshot(topic, envelope)

    def _take_since(self, page: Page) -> None:
        trimmed = min(page.lost, max(0, page.first - 1 - self._asked_from))
        gone = page.lost - trimmed
        if self._from_first:
            self._from_first, trimmed = False, 0
        self._progress.lose_positions(self._asked_from + 1, trimmed, trimmed=True)
        self._progress.lose_positions(self._asked_from + 1, gone, trimmed=False)
        self.lost += trimmed + gone
        for topic, envelope in self._decoded(page):
            position = position_of(envelope)
            if position is None:
                continue
            if envelope["epoch"] == self.epoch:
                self._ledger.enter(topic, envelope)
            else:
                self._ledger.enter_other(topic, envelope)
            if self._progress.is_new(position):
                wanted = self._wish.wants(topic) and not self._meanwhile.knows(envelope)
                received = Received(topic, envelope, replayed=True) if wanted else None
                self._progress.deliver(received, position, complete=True)
        self._progress.confirm(page.next)

    def _on(self, now: float) -> None:
        self._asked_from = self._progress.complete or 0
        self._ask({"op": "since", "position": self._asked_from, "journal": self._journal}, now)

    def _ask(self, request: dict[str, Any], now: float) -> None:
        wish = self._wish
        request["limit"] = wish.page
        if wish.kinds and len(wish.kinds) <= _MOST_FILTERS:
            request["kinds"] = [kind.partition("/")[0] for kind in wish.kinds]
        if wish.streams and len(wish.streams) <= _MOST_FILTERS:
            request["streams"] = list(wish.streams)
        if wish.name:
            request["client"] = wish.name
        if self._reported:
            request["missed"] = dict(self._reported.most_common(_MOST_REPORTED))
            self._reported.clear()
        self._asking.ask(request, now)

    def _decoded(self, page: Page) -> Iterator[tuple[str, Envelope]]:
        for body in page.bodies:
            try:
                yield decode_body(body)
            except BusError as error:
                self._complain(error)
