"""A picture of a period: a row for each stream, segments as bars, alerts as marks, outages hatched."""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from streamcls import StreamclsError
from streamcls_sqlite.questions import findings
from streamcls_sqlite.uptime import spans

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from streamcls_sqlite.listing import Found
    from streamcls_sqlite.period import Period, Zone
    from streamcls_sqlite.questions import Filter

__all__ = ["HEAD_PX", "MOST_STREAMS", "ROW_PX", "WIDTH_PX", "draw"]

WIDTH_PX: Final = 1_600
HEAD_PX: Final = 165
"""Height of title, time axis and legend."""
ROW_PX: Final = 70
"""Height of a stream."""
MOST_STREAMS: Final = 200
_DPI: Final = 100
_LEFT_PX: Final = 170
_RIGHT_PX: Final = 60
_TOP_PX: Final = 50
_BAR: Final = 0.56
_MARK_AT: Final = -0.38
_MOST_LABELS_IN_LEGEND: Final = 14

_KNOWN: Final = {
    "blues": "#1f5fa8",
    "classical": "#8e6bbf",
    "country": "#c9a26b",
    "disco": "#e377c2",
    "hiphop": "#ff7f0e",
    "jazz": "#8c4a3c",
    "metal": "#343a40",
    "pop": "#f2c230",
    "reggae": "#2ca02c",
    "rock": "#17becf",
}
"""These have the same colour in every picture; others take pale ones in the order of the alphabet."""
_UNSURE: Final = "unsure"
_UNSURE_COLOUR: Final = "#d9d9d9"
_SEVERITIES: Final = {
    "info": "#7f7f7f",
    "low": "#2c7fb8",
    "medium": "#fe9929",
    "high": "#e31a1c",
    "critical": "#67000d",
}
_MOST_TICKS: Final = 13
_HOUR_S: Final = 3_600
_DAY_S: Final = 86_400
_TICK_STEPS_S: Final = (60, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200)
_DAY_STEPS: Final = (1, 2, 7, 14, 28, 91, 182, 364)


def draw(database: sqlite3.Connection, wanted: Filter, zone: Zone, now: float, file: Path) -> tuple[int, int]:
    """Write the picture and return its width and height in pixels: ``WIDTH_PX``, and ``HEAD_PX`` plus ``ROW_PX`` for each stream.

    Raises
    ------
    StreamclsError
        matplotlib is missing, there are more than ``MOST_STREAMS`` streams, or the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise StreamclsError(
            "--png needs matplotlib, which is not installed: pip install 'streamcls[report]'"
        ) from error

    segments = list(findings(database, "segment", wanted))
    alerts = list(findings(database, "alert", wanted))
    down = [span for span in spans(database, wanted, now) if span.up is False]
    streams = sorted({item.stream for items in (segments, alerts, down) for item in items})
    if len(streams) > MOST_STREAMS:
        raise StreamclsError(
            f"{len(streams)} streams do not fit into a picture, at most {MOST_STREAMS} do; choose with --stream"
        )
    rows = {stream: row for row, stream in enumerate(streams)}
    width, height = WIDTH_PX, HEAD_PX + ROW_PX * max(1, len(rows))
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes(
        (
            _LEFT_PX / width,
            (HEAD_PX - _TOP_PX) / height,
            (width - _LEFT_PX - _RIGHT_PX) / width,
            1 - HEAD_PX / height,
        )
    )
    axes.set_xlim(wanted.period.since, wanted.period.until)
    axes.set_ylim(max(1, len(rows)) - 0.5, -0.5)
    axes.set_yticks(list(rows.values()), list(rows))
    ticks = _ticks(wanted.period, zone)
    axes.set_xticks([instant for instant, _ in ticks], [text for _, text in ticks])
    axes.grid(axis="x", color="#cccccc", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(_title(wanted.period, zone), loc="left")
    handles = [
        *_draw_segments(axes, segments, wanted.period, rows),
        *_draw_outages(axes, [(span.began, span.ended, rows[span.stream]) for span in down]),
        *_draw_alerts(axes, alerts, wanted.period, rows),
    ]
    if handles:
        figure.legend(handles=handles, loc="lower left", bbox_to_anchor=(_LEFT_PX / width, 0.0), ncols=9, frameon=False)
    try:
        figure.savefig(file, format="png", dpi=_DPI)
    except OSError as error:
        raise StreamclsError(f"{file} cannot be written: {error.strerror}") from error
    return width, height


def _draw_segments(axes: Any, segments: list[Found], period: Period, rows: dict[str, int]) -> list[Any]:
    """Draw bars; two models on one stream share its row, one above the other."""
    models = {stream: sorted({item.model for item in segments if item.stream == stream}) for stream in rows}
    bars: dict[str, dict[tuple[float, float], list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    times: dict[str, float] = defaultdict(float)
    for item in segments:
        began, ended = period.clip(item.began, item.ended)
        beside = models[item.stream]
        high = _BAR / len(beside)
        bottom = rows[item.stream] - _BAR / 2 + high * beside.index(item.model)
        bars[item.label][bottom, high].append((began, ended - began))
        times[item.label] += ended - began
    colours = _colours(sorted(bars))
    drawn = {}
    for label, places in bars.items():
        for (bottom, high), stretches in places.items():
            drawn[label] = axes.broken_barh(
                stretches, (bottom, high), facecolors=colours[label], linewidth=0, label=label
            )
    ordered = sorted(drawn, key=lambda label: (-times[label], label))[:_MOST_LABELS_IN_LEGEND]
    return [drawn[label] for label in ordered]


def _draw_outages(axes: Any, down: list[tuple[float, float, int]]) -> list[Any]:
    by_row: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for began, ended, row in down:
        by_row[row].append((began, ended - began))
    drawn = [
        axes.broken_barh(
            stretches,
            (row - _BAR / 2, _BAR),
            facecolors="none",
            edgecolors="#555555",
            hatch="////",
            linewidth=0,
            label="down",
        )
        for row, stretches in by_row.items()
    ]
    return drawn[:1]


def _draw_alerts(axes: Any, alerts: list[Found], period: Period, rows: dict[str, int]) -> list[Any]:
    handles = []
    for severity, colour in _SEVERITIES.items():
        chosen = [item for item in alerts if (item.severity if item.severity in _SEVERITIES else "info") == severity]
        if not chosen:
            continue
        clipped = [(period.clip(item.began, item.ended), rows[item.stream] + _MARK_AT) for item in chosen]
        axes.hlines(
            [y for _, y in clipped],
            [span[0] for span, _ in clipped],
            [span[1] for span, _ in clipped],
            colors=colour,
            lw=3,
        )
        marks = axes.scatter(
            [span[0] for span, _ in clipped],
            [y for _, y in clipped],
            marker="v",
            s=45,
            color=colour,
            zorder=3,
            label=f"{severity} alert",
        )
        handles.append(marks)
    return handles


def _colours(labels: list[str]) -> dict[str, Any]:
    from matplotlib import colormaps

    pale = [colour for colour in colormaps["tab20"].colors[1::2] if len(set(colour)) > 1]  # type: ignore[attr-defined]
    others = [label for label in labels if label not in _KNOWN and label != _UNSURE]
    return _KNOWN | {_UNSURE: _UNSURE_COLOUR} | {label: pale[index % len(pale)] for index, label in enumerate(others)}


def _ticks(period: Period, zone: Zone) -> list[tuple[float, str]]:
    """Return round local times and how they are written; a day's first one has the date."""
    length = period.until - period.since
    step = next((step for step in _TICK_STEPS_S if length / step <= _MOST_TICKS), None)
    day = zone.at(period.since).date()
    found: list[tuple[float, str]] = []
    if step is None:
        days = next((count for count in _DAY_STEPS if length / _DAY_S / count <= _MOST_TICKS), None)
        days = days or math.ceil(length / _DAY_S / _MOST_TICKS)
        while (at := zone.midnight(day)) <= period.until:
            if at >= period.since:
                found.append((at, f"{day:%a %d %b}" if days < _DAY_STEPS[2] else day.isoformat()))
            day += timedelta(days=days)
        return found
    while zone.midnight(day) <= period.until:
        for second in range(0, _DAY_S, step):
            local = datetime(day.year, day.month, day.day) + timedelta(seconds=second)  # noqa: DTZ001 - a time of day of the zone
            at = zone.instant(local)
            if period.since <= at <= period.until and (not found or at > found[-1][0]):
                with_day = second == 0 or not found
                found.append((at, f"{local:%H:%M}\n{local:%a %d %b}" if with_day else f"{local:%H:%M}"))
        day += timedelta(days=1)
    return found


def _title(period: Period, zone: Zone) -> str:
    since, until = zone.at(period.since), zone.at(period.until)
    return f"{since:%Y-%m-%d %H:%M} – {until:%Y-%m-%d %H:%M} {until:%Z}"  # noqa: RUF001 - a span has a dash
