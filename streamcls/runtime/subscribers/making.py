"""Making what supervises a subscriber, as its table in the configuration says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from streamcls.runtime.subscribers.isolated import IsolatedSubscriber, Task
from streamcls.runtime.subscribers.supervised import SubscriberThread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from streamcls.config.resolve import ResolvedComponent
    from streamcls.config.schema import SubscriberEntry
    from streamcls.runtime.subscribers.standing import Supervised
    from streamcls.types import Event

__all__ = ["Surroundings", "supervise"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all subscribers of a daemon share.

    Attributes
    ----------
    daemon
        The daemon's name.
    context, endpoint
        Where it publishes within this process.
    outer_endpoint, curve
        Where it publishes for processes of its own, and the keys for that: ``server_public``, ``public``, ``secret``; empty: none.
    cursors
        Folder for places in the journal; None where there is no journal.
    publish
        Takes the events that tell of subscribers.
    position
        Says where the journal is.
    log_level, log_format
        For processes of their own.
    """

    daemon: str
    context: Any
    endpoint: str
    outer_endpoint: str
    cursors: Path | None
    publish: Callable[[Event], None]
    position: Callable[[], int] = lambda: 0
    log_level: str = "info"
    log_format: str = "auto"
    curve: Mapping[str, str] = field(default_factory=dict, repr=False)


def supervise(entry: SubscriberEntry, resolved: ResolvedComponent, around: Surroundings) -> Supervised:
    """Return the thread that looks after a subscriber, not started yet."""
    component, config = resolved.component, resolved.config
    cursors = around.cursors if entry.catch_up and getattr(component, "catches_up", True) else None
    if entry.isolate:
        task = Task(
            resolved.name,
            component.__module__,
            component.__qualname__,
            entry.options,
            around.outer_endpoint,
            kinds=entry.kinds,
            streams=entry.streams,
            cursors="" if cursors is None else str(cursors),
            memory_mb=entry.memory_mb,
            log_level=around.log_level,
            log_format=around.log_format,
            curve=around.curve,
        )
        return IsolatedSubscriber(
            task, hang_s=entry.hang_s, publish=around.publish, daemon=around.daemon, position=around.position
        )
    return SubscriberThread(
        resolved.name,
        lambda: component(config),
        around.endpoint,
        around.context,
        kinds=entry.kinds,
        streams=entry.streams,
        cursors=cursors,
        hang_s=entry.hang_s,
        publish=around.publish,
        daemon=around.daemon,
        position=around.position,
    )
