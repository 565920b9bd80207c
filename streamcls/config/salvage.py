"""What can still be used of a configuration with mistakes, so that the rest of it is checked in the same go."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from streamcls.config.schema import (
    NAME_PATTERN,
    AuditSettings,
    BusSettings,
    DaemonSettings,
    EvidenceSettings,
    JournalSettings,
    ModelSettings,
    ModelsSettings,
    OverloadSettings,
    PolicyEntry,
    SecuritySettings,
    Settings,
    SilenceSettings,
    SourceEntry,
    StreamSettings,
    SubscriberEntry,
)

__all__ = ["salvage"]

_Model = TypeVar("_Model", bound=BaseModel)


def salvage(data: dict[str, Any]) -> Settings:
    """Return a configuration without what is wrong in ``data``; it is fit to be checked, not to be run.

    Entries keep their places. A source or subscriber whose type cannot be told has an empty one.
    """
    return Settings.model_construct(
        daemon=_usable(DaemonSettings, data.get("daemon")),
        overload=_usable(OverloadSettings, data.get("overload")),
        bus=_usable(BusSettings, data.get("bus")),
        journal=_usable(JournalSettings, data.get("journal")),
        security=_usable(SecuritySettings, data.get("security")),
        evidence=_usable(EvidenceSettings, data.get("evidence")),
        audit=_usable(AuditSettings, data.get("audit")),
        models=_usable(ModelsSettings, data.get("models")),
        source=tuple(_source(entry) for entry in _tables(data.get("source"))),
        stream=tuple(
            _usable(StreamSettings, entry, models=(), policies=()) for entry in _tables(data.get("stream", [{}]))
        ),
        model={name: _usable(ModelSettings, entry) for name, entry in _named(data.get("model"))},
        policy={name: _policy(entry) for name, entry in _named(data.get("policy"))},
        silence=tuple(_usable(SilenceSettings, entry, name="unnamed") for entry in _tables(data.get("silence"))),
        subscriber=tuple(_subscriber(entry) for entry in _tables(data.get("subscriber"))),
    )


def _tables(value: Any) -> list[dict[str, Any]]:
    return [entry if isinstance(entry, dict) else {} for entry in value] if isinstance(value, list) else []


def _named(value: Any) -> list[tuple[str, dict[str, Any]]]:
    if not isinstance(value, dict):
        return []
    return [
        (name, entry) for name, entry in value.items() if isinstance(entry, dict) and re.fullmatch(NAME_PATTERN, name)
    ]


def _usable(model: type[_Model], data: Any, **instead: Any) -> _Model:
    """Validate a table without the keys that are wrong; those in ``instead`` get that value, the others their default."""
    if not isinstance(data, dict):
        return model()
    try:
        return model.model_validate(data)
    except ValidationError as error:
        wrong = {finding["loc"][0] for finding in error.errors() if finding["loc"]}
    kept = {key: value for key, value in data.items() if key not in wrong}
    try:
        return model.model_validate(kept | {key: value for key, value in instead.items() if key in wrong})
    except ValidationError:
        return model()


def _text(value: Any, default: Any) -> Any:
    return value if isinstance(value, str) else default


def _source(entry: dict[str, Any]) -> SourceEntry:
    options = {key: value for key, value in entry.items() if key not in SourceEntry.model_fields}
    return SourceEntry.model_construct(name=_text(entry.get("name"), ""), type=_text(entry.get("type"), ""), **options)


def _subscriber(entry: dict[str, Any]) -> SubscriberEntry:
    options = {key: value for key, value in entry.items() if key not in SubscriberEntry.model_fields}
    return SubscriberEntry.model_construct(
        type=_text(entry.get("type"), ""), name=_text(entry.get("name"), None), kinds=(), streams=(), **options
    )


def _policy(entry: dict[str, Any]) -> PolicyEntry:
    options = {key: value for key, value in entry.items() if key not in PolicyEntry.model_fields}
    return PolicyEntry.model_construct(type=_text(entry.get("type"), None), **options)
