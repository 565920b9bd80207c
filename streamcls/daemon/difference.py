"""What differs between two configurations that are ready to run. Pure: nothing is started, stopped or changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    from streamcls.config import Settings
    from streamcls.config.resolve import ResolvedComponent
    from streamcls.config.schema import SubscriberEntry
    from streamcls.daemon.prepare import Prepared

    T = TypeVar("T")

__all__ = ["Difference", "Names", "compare", "in_force"]

_RESTART: Final = frozenset({
    "daemon.name", "daemon.workers", "daemon.state_dir", "daemon.buffer_s", "daemon.stuck_s", "daemon.log_format",
    "journal.enabled", "journal.windows", "journal.durability", "journal.checkpoint_s", "journal.resume_s",
})  # fmt: skip
"""Keys that only a restart applies …"""
_RESTART_TABLES: Final = frozenset({"bus", "security"})
"""… and tables of which that is true of every key."""
_EVIDENCE_PATH: Final = "evidence.path"
_COMPONENTS: Final = frozenset({"source", "subscriber", "policy", "model"})
"""Tables that are compared as what they stand for."""
_OF_SUBSCRIBERS: Final = ("kinds", "streams", "catch_up", "isolate", "hang_s", "memory_mb")


@dataclass(frozen=True, slots=True)
class Names:
    """Names of what is only in the new configuration, in both but not the same, and only in the old one; each in order."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def facts(self) -> dict[str, list[str]]:
        """Return them as JSON values."""
        return {"added": list(self.added), "changed": list(self.changed), "removed": list(self.removed)}


@dataclass(frozen=True, slots=True)
class Difference:
    """What a reload has to do.

    Attributes
    ----------
    settings
        Keys and tables that take effect at once, e.g. ``daemon.heartbeat_s`` or ``silence``.
    waiting
        Keys that are not as the new configuration says until the daemon is restarted.
    """

    sources: Names = Names()
    subscribers: Names = Names()
    models: Names = Names()
    policies: Names = Names()
    settings: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything takes effect without a restart."""
        return bool(self.sources or self.subscribers or self.models or self.policies or self.settings)


def compare(old: Prepared, fresh: Prepared, *, clips: bool = False, isolates: bool = True) -> Difference:
    """Return what is different in ``fresh`` from ``old``, which is in force.

    Components are the same where their name, type and checked configuration are, wherever they stand and however they are written;
    models where the files of their bundles are, too.

    Parameters
    ----------
    clips
        Whether a keeper of clips runs, which stays in its folder.
    isolates
        Whether subscribers can be run in processes of their own: an endpoint for them is made at the start only.
    """
    before, after = old.resolved, fresh.resolved
    keys = _keys(before.settings, after.settings)
    waiting = [key for key in keys if _waits(key, clips=clips)]
    subscribers = _names(_subscribers(old), _subscribers(fresh), _same_subscriber)
    if not isolates:
        late = {name for name, (entry, _) in _subscribers(fresh).items() if entry.isolate}
        late &= {*subscribers.added, *subscribers.changed}
        waiting += [f"subscriber.{name}.isolate" for name in sorted(late)]
        subscribers = Names(
            tuple(name for name in subscribers.added if name not in late),
            tuple(name for name in subscribers.changed if name not in late),
            subscribers.removed,
        )
    return Difference(
        sources=_names(_by_name(before.sources), _by_name(after.sources), _same),
        subscribers=subscribers,
        models=_names(old.models, fresh.models, lambda one, other: one.same_as(other)),
        policies=_names(before.policies, after.policies, _same),
        settings=tuple(key for key in keys if not _waits(key, clips=clips)),
        waiting=tuple(waiting),
    )


def in_force(old: Prepared, fresh: Prepared, difference: Difference) -> Prepared:
    """Return what is in force once a difference is applied: ``fresh``, but for what waits, which is as in ``old``.

    Components that are the same are the very objects of ``old``, so that whoever holds them need not let go of them.
    """
    kept = _by_name(old.resolved.sources)
    changed = {*difference.sources.added, *difference.sources.changed}
    sources = [part if part.name in changed else kept[part.name] for part in fresh.resolved.sources]
    policies = {
        name: part
        if name in {*difference.policies.added, *difference.policies.changed}
        else old.resolved.policies[name]
        for name, part in fresh.resolved.policies.items()
    }
    models = {
        name: model if name in {*difference.models.added, *difference.models.changed} else old.models[name]
        for name, model in fresh.models.items()
    }
    former = _subscribers(old)
    taken = {*difference.subscribers.added, *difference.subscribers.changed}
    subscribers = [
        pair if name in taken else former[name]
        for name, pair in _subscribers(fresh).items()
        if name in taken or name in former
    ]
    settings = _pinned(old.resolved.settings, fresh.resolved.settings, difference.waiting)
    resolved = replace(fresh.resolved, settings=settings, sources=sources, subscribers=subscribers, policies=policies)
    return replace(fresh, resolved=resolved, models=models)


def _pinned(old: Settings, fresh: Settings, waiting: tuple[str, ...]) -> Settings:
    tables: dict[str, Any] = {}
    for key in waiting:
        table, _, name = key.partition(".")
        if table not in _COMPONENTS:
            now = tables.get(table, getattr(fresh, table))
            tables[table] = now.model_copy(update={name: getattr(getattr(old, table), name)})
    return fresh.model_copy(update=tables)


def _keys(old: Settings, fresh: Settings) -> list[str]:
    """Return the keys of plain tables that differ as TABLE.KEY, and the lists of tables that do by their names."""
    found: list[str] = []
    for table in type(fresh).model_fields:
        before, after = getattr(old, table), getattr(fresh, table)
        if table in _COMPONENTS or before == after:
            continue
        if isinstance(after, BaseModel):
            names = type(after).model_fields
            found += [f"{table}.{name}" for name in names if getattr(before, name) != getattr(after, name)]
        else:
            found.append(table)
    return found


def _waits(key: str, *, clips: bool) -> bool:
    return key in _RESTART or key.partition(".")[0] in _RESTART_TABLES or (clips and key == _EVIDENCE_PATH)


def _names(old: Mapping[str, T], fresh: Mapping[str, T], same: Callable[[T, T], bool]) -> Names:
    return Names(
        tuple(name for name in fresh if name not in old),
        tuple(name for name in fresh if name in old and not same(old[name], fresh[name])),
        tuple(name for name in old if name not in fresh),
    )


def _by_name(parts: list[ResolvedComponent]) -> dict[str, ResolvedComponent]:
    return {part.name: part for part in parts}


def _subscribers(prepared: Prepared) -> dict[str, tuple[SubscriberEntry, ResolvedComponent]]:
    return {part.name: (entry, part) for entry, part in prepared.resolved.subscribers}


def _same(one: ResolvedComponent, other: ResolvedComponent) -> bool:
    if (one.kind, one.component) != (other.kind, other.component):
        return False
    # What a stranger's model keeps beside its fields says nothing of what is configured.
    return type(one.config) is type(other.config) and one.config.model_dump() == other.config.model_dump()


def _same_subscriber(
    one: tuple[SubscriberEntry, ResolvedComponent], other: tuple[SubscriberEntry, ResolvedComponent]
) -> bool:
    equal = all(getattr(one[0], key) == getattr(other[0], key) for key in _OF_SUBSCRIBERS)
    return equal and _same(one[1], other[1])
