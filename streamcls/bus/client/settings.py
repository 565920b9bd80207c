"""What a client is asked to do."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamcls.bus.client.items import Begin

__all__ = ["Patience", "Wish"]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited for what, in seconds.

    Attributes
    ----------
    echo_s
        For an echo, before another one is asked for.
    reply_s
        For an answer about the past, before it is asked for again.
    silence_s
        For anything at all, before the connection is made anew; None: three intervals between heartbeats, at least 10 s.
    hold_s
        For somebody who answers about the past, before what is published is delivered all the same. A cursor does not move by it.
    deaf_s
        After nobody answered about the past, before somebody is asked again.
    """

    echo_s: float = 5.0
    reply_s: float = 5.0
    silence_s: float | None = None
    hold_s: float = 10.0
    deaf_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of which publisher.

    Attributes
    ----------
    endpoint
        Where it publishes.
    kinds
        Beginnings of kinds; empty for all.
    streams
        Names or shell patterns; empty for all.
    name
        What the subscriber calls itself to the daemon.
    replay
        Whether to ask for what is missing.
    restricted
        Whether the publisher may keep some topics from this subscriber.
    durable
        Whether a cursor stands behind it: then what the journal has is waited for however long it takes.
    held, beyond, page
        Most events held back, delivered without certainty, and asked for at once.
    """

    endpoint: str
    kinds: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    name: str = ""
    begin: Begin = "now"
    replay: bool = True
    restricted: bool = False
    durable: bool = False
    held: int = 10_000
    beyond: int = 10_000
    page: int = 500
    patience: Patience = Patience()

    @property
    def everything(self) -> bool:
        """Whether every event of the publisher arrives here, so that a jump in the journal's positions is a hole."""
        return not any(self.kinds) and not self.restricted

    def wants(self, topic: str) -> bool:
        """Whether a topic was asked for."""
        if self.kinds and not topic.startswith(self.kinds):
            return False
        stream = topic.partition("/")[2]
        return not self.streams or any(fnmatch.fnmatchcase(stream, pattern) for pattern in self.streams)
