"""An answer, and how it looks as a table, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    from streamcls_sqlite.period import Zone

__all__ = ["Answer", "Column", "Form", "duration", "render"]

Form: TypeAlias = Literal["text", "day", "time", "seconds", "share", "number", "count"]
"""What a column holds: a text, a ``datetime.date``, a Unix time in seconds, seconds, 0 to 1, any number, a whole number."""

_LEFT: Final = frozenset({"text", "day", "time"})
_SEVERITY_STYLE: Final[dict[str, dict[str, Any]]] = {
    "critical": {"fg": "red", "bold": True},
    "high": {"fg": "red"},
    "medium": {"fg": "yellow"},
}
_MINUTE_S: Final = 60
_HOUR_S: Final = 3_600


@dataclass(frozen=True, slots=True)
class Column:
    """A column's name and what it holds; None in a cell: not known. Long ids stand in a table only where they are needed."""

    name: str
    form: Form = "text"
    in_table: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """Columns and rows."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]


def render(answer: Answer, how: str, zone: Zone) -> str:
    """Return an answer as text without a line end at its end.

    Parameters
    ----------
    how
        ``table``, ``csv`` or ``json``. The latter two have times in ISO 8601 with an offset, and plain numbers.
    """
    if how == "table":
        return _table(answer, zone)
    rows = [
        [_plain(cell, column, zone) for cell, column in zip(row, answer.columns, strict=True)] for row in answer.rows
    ]
    names = [column.name for column in answer.columns]
    if how == "json":
        objects = [dict(zip(names, row, strict=True)) for row in rows]
        return "[" + ",".join("\n  " + json.dumps(item, ensure_ascii=False) for item in objects) + "\n]"
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([names, *rows])
    return buffer.getvalue().rstrip("\n")


def duration(seconds: float) -> str:
    """Return seconds as ``12.3 s``, ``4:05`` (minutes) or ``1:02:03``, which may have more than 24 hours."""
    whole = round(seconds)
    if whole < _MINUTE_S:
        return f"{seconds:.1f} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S}:{whole % _MINUTE_S:02d}"
    return f"{whole // _HOUR_S}:{whole % _HOUR_S // _MINUTE_S:02d}:{whole % _MINUTE_S:02d}"


def _plain(cell: Any, column: Column, zone: Zone) -> Any:
    if cell is None:
        return None
    match column.form:
        case "time":
            return zone.at(cell).isoformat(timespec="milliseconds")
        case "day":
            return _iso(cell)
        case "seconds":
            return round(cell, 3)
        case "share" | "number":
            return round(cell, 6)
    return cell


def _iso(day: date) -> str:
    return day.isoformat()


def _table(answer: Answer, zone: Zone) -> str:
    shown = [
        (index, column)
        for index, column in enumerate(answer.columns)
        if column.in_table and any(row[index] is not None for row in answer.rows)
    ]
    header = [column.name.replace("_", " ").upper() for _, column in shown]
    cells = [[_cell(row[index], column, zone) for index, column in shown] for row in answer.rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    pads: list[Callable[[str, int], str]] = [str.ljust if column.form in _LEFT else str.rjust for _, column in shown]

    def line(row: Sequence[str]) -> str:
        return "  ".join(pad(cell, width) for pad, cell, width in zip(pads, row, widths, strict=True)).rstrip()

    lines = [click.style(line(header), bold=True)]
    names = [column.name for _, column in shown]
    severity = names.index("severity") if "severity" in names else None
    for row in cells:
        style = {} if severity is None else _SEVERITY_STYLE.get(row[severity], {})
        lines.append(click.style(line(row), **style) if style else line(row))
    return "\n".join(lines)


def _cell(cell: Any, column: Column, zone: Zone) -> str:
    if cell is None:
        return "-"
    match column.form:
        case "time":
            text = zone.at(cell).strftime("%Y-%m-%d %H:%M:%S")
        case "day":
            text = _iso(cell)
        case "seconds":
            text = duration(cell)
        case "share":
            text = f"{100 * cell:.1f} %"
        case "number":
            text = f"{cell:.2f}"
        case _:  # names come from elsewhere: nothing in them may move the cursor
            text = "".join(letter if letter.isprintable() else "?" for letter in str(cell))
    return text
