"""Segments and alerts one by one, with what people and the daemon said of them later."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streamcls_sqlite.answer import Answer, Column

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

__all__ = ["Found", "listed"]


@dataclass(frozen=True, slots=True)
class Found:
    """A segment or an alert; times are Unix times in seconds, ``more`` is JSON: what of its data has no place here."""

    id: str
    stream: str
    model: str
    label: str
    severity: str | None
    action: str | None
    phase: str
    reason: str | None
    mean: float | None
    peak: float | None
    began: float
    ended: float
    more: str


def listed(database: sqlite3.Connection, found: Sequence[Found]) -> Answer:
    """Return one row for each: whole, with who acknowledged it, what muted it and where its clip is."""
    columns = (
        Column("stream"),
        Column("began", "time"),
        Column("ended", "time"),
        Column("duration", "seconds"),
        Column("label"),
        Column("severity"),
        Column("action"),
        Column("peak", "number"),
        Column("state"),
        Column("reason"),
        Column("acknowledged"),
        Column("muted"),
        Column("model"),
        Column("clip", in_table=False),
        Column("id"),
    )
    return Answer(columns, [_row(database, item) for item in found])


def _row(database: sqlite3.Connection, item: Found) -> tuple[Any, ...]:
    more = json.loads(item.more)
    acknowledged, clip = more.get("acknowledged"), None
    for kind, body in database.execute("SELECT kind, body FROM events WHERE alert_id = ? ORDER BY time", (item.id,)):
        data = json.loads(body)["data"]
        if kind.endswith(".ack"):
            acknowledged = data
        elif kind.endswith(".evidence") and isinstance(data.get("path"), str) and "sha256" in data:
            removed = kind.startswith("daemon.")
            clip = None if removed else "/".join(part for part in (data.get("folder"), data["path"]) if part)
    return (
        item.stream,
        item.began,
        item.ended,
        item.ended - item.began,
        item.label,
        item.severity,
        item.action,
        item.peak,
        "closed" if item.phase == "closed" else "open",
        item.reason,
        _by(acknowledged),
        _by(more.get("muted")),
        item.model,
        clip,
        item.id,
    )


def _by(said: Any) -> str | None:
    """Return who or what said it; ``yes`` where that is not known."""
    return str(said.get("by") or "yes") if isinstance(said, dict) else None
