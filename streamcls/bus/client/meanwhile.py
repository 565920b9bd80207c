"""Events that cannot wait: what is published while nobody can be asked for what came before it. Without sockets."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from streamcls.bus.client.items import Received

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamcls.bus.client.progress import Progress
    from streamcls.bus.client.settings import Wish
    from streamcls.bus.wire import Envelope

__all__ = ["Meanwhile"]

_log = logging.getLogger("streamcls.bus.client")

_MOST_KNOWN: Final = 20_000


class Meanwhile:
    """Hands on what is held back, without waiting for what is missing before it; a cursor does not move by it.

    When the past can be had again, everything takes its ordinary way; what was handed on already is known by its id and not
    delivered twice, unless the subscriber was started anew meanwhile.

    Attributes
    ----------
    active
        Whether events are handed on as they come.
    """

    def __init__(self, wish: Wish, progress: Progress) -> None:
        self.active = False
        self._wish = wish
        self._progress = progress
        self._known: OrderedDict[str, None] = OrderedDict()

    def begin(self, held: Iterable[tuple[str, Envelope]], waited_s: float) -> None:
        """Hand on what is held back, and from here on what comes."""
        _log.warning(
            "the past cannot be had for %.0f s; events are delivered without what may be missing before them", waited_s
        )
        self.active = True
        for topic, envelope in held:
            self.take(topic, envelope)

    def take(self, topic: str, envelope: Envelope) -> None:
        """Hand an event on, where it is wanted."""
        if not self._wish.wants(topic) or envelope["id"] in self._known:
            return
        self.note(envelope)
        self._progress.deliver(Received(topic, envelope), None, complete=False)

    def note(self, envelope: Envelope) -> None:
        """Remember that an event was delivered which the journal may yet give out under a position of its own."""
        self._known[envelope["id"]] = None
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)

    def knows(self, envelope: Envelope) -> bool:
        """Whether an event was delivered already."""
        return envelope["id"] in self._known
