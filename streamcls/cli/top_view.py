"""One frame of ``streamcls top``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from streamcls.cli.status_view import alerts_of, by_trouble, duration, genre_of, lag_s, rate_of, size, times

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

__all__ = ["frame", "meter"]

_QUIETEST_DBFS: Final = -60.0
_METER: Final = 12
"""Cells of a level meter."""
_GENRE: Final = 10
"""Cells of the longest label of the shipped models."""
_LOUD_DBFS: Final = -1.0
_HIGH_DBFS: Final = -9.0
_LEAST_STREAMS: Final = 3
_BUSY: Final = 0.9
_OTHER_ROWS: Final = 9
"""Lines that the head, the table's frame and the foot take."""
_MOST_WRONG: Final = 4
_STATES: Final = {
    "running": "green",
    "failed": "bold red",
    "stalled": "bold red",
    "retrying": "yellow",
    "shed": "yellow",
}


def meter(rms_dbfs: float, peak_dbfs: float, cells: int = _METER) -> Text:
    """Draw a level: a bar up to the RMS, a mark at the peak, over a scale from -60 dBFS to full scale."""
    bar, mark = _cells(rms_dbfs, cells), _cells(peak_dbfs, cells)
    style = "red" if peak_dbfs > _LOUD_DBFS else "yellow" if peak_dbfs > _HIGH_DBFS else "green"
    text = Text()
    for cell in range(cells):
        peak_here = mark > 0 and cell == max(mark, bar) - 1
        text.append("|" if peak_here else "=" if cell < bar else ".", style=style if peak_here or cell < bar else "dim")
    return text


def frame(status: Mapping[str, Any], height: int, *, hint: str = "") -> RenderableType:
    """Lay a status out for a terminal of ``height`` lines; troubled streams first, those without room are counted."""
    wrong = list(status.get("wrong", ()))
    head = Text(no_wrap=True, overflow="ellipsis")
    head.append(f"{status['name']} ", style="bold")
    head.append(f"{status['version']}  up {duration(status['uptime_s'])}  {size(status['resident_bytes'])}  ")
    head.append(f"{status['published']} events  {status['waiting']} waiting  ")
    journal = status.get("journal")
    head.append(f"journal {journal['state'] if journal else 'off'}")
    parts: list[RenderableType] = [head]
    if status.get("workers"):
        parts.append(_workers(status))
    parts += [Text(said, style="bold red", no_wrap=True, overflow="ellipsis") for said in wrong[:_MOST_WRONG]]
    if len(wrong) > _MOST_WRONG:
        parts.append(Text(f"… and {len(wrong) - _MOST_WRONG} more that is wrong", style="red"))
    rows = max(_LEAST_STREAMS, height - _OTHER_ROWS - min(len(wrong), _MOST_WRONG + 1))
    streams = sorted(status["streams"].items(), key=by_trouble)
    parts.append(_table(streams[:rows]))
    if len(streams) > rows:
        parts.append(Text(f"… and {len(streams) - rows} more streams", style="dim"))
    if not streams:
        parts.append(Text("no stream is open", style="dim"))
    if hint:
        parts.append(Text(hint, style="dim"))
    return Group(*parts)


def _workers(status: Mapping[str, Any]) -> Text:
    """Tell of each worker how busy it is, how many times what comes it could do, and what overload has cost."""
    text = Text(no_wrap=True, overflow="ellipsis")
    for name, facts in sorted(status.get("workers", {}).items(), key=lambda item: (-item[1]["shed"], item[0])):
        busy, stretch, shed = facts.get("utilisation"), facts["stride_factor"], facts["shed"]
        text.append(f"{name} ")
        text.append("-" if busy is None else f"{busy:.0%}", style="yellow" if (busy or 0.0) > _BUSY else "")
        factor = times(facts.get("realtime_factor"))
        text.append(f" of {factor}" if factor else "")
        if stretch > 1 or shed:
            text.append(f" stride x{stretch}, {shed} shed", style="bold red")
        text.append("  ")
    return text


def _table(streams: list[tuple[str, Mapping[str, Any]]]) -> Table:
    table = Table(box=None, pad_edge=False, expand=True, header_style="bold")
    table.add_column("STREAM", no_wrap=True, overflow="ellipsis", ratio=3)
    table.add_column("STATE", no_wrap=True, overflow="ellipsis", max_width=10)
    table.add_column("LEVEL", no_wrap=True, width=_METER)
    table.add_column("GENRE", no_wrap=True, overflow="ellipsis", ratio=2, min_width=_GENRE)
    table.add_column("ALERTS", no_wrap=True, overflow="ellipsis", ratio=4)
    table.add_column("LAG", justify="right", no_wrap=True, width=6)
    table.add_column("RATE", justify="right", no_wrap=True, width=5)
    for name, facts in streams:
        rate, state = rate_of(facts), str(facts["state"])
        table.add_row(
            Text(name),
            Text(state, style=_STATES.get(state, "")),
            _level(facts),
            Text(genre_of(facts)),
            Text(alerts_of(facts), style="bold red"),
            f"{lag_s(facts):.1f}s",
            "" if rate is None else f"{rate:.0f}x",
        )
    return table


def _level(facts: Mapping[str, Any]) -> Text:
    """Draw the loudest channel."""
    rms, peak = facts.get("rms_dbfs"), facts.get("peak_dbfs")
    return meter(max(rms), max(peak)) if rms and peak else Text("")


def _cells(dbfs: float, cells: int) -> int:
    return round(max(0.0, min(1.0, 1 - dbfs / _QUIETEST_DBFS)) * cells)
