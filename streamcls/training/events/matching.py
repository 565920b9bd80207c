"""Which alert belongs to which event of a programme, and which to none."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from streamcls.training.events.intervals import percentiles, poisson_interval, rate, wilson_interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streamcls.training.programme.files import BedSegment, TrueEvent
    from streamcls.types import Event

__all__ = ["EARLY_S", "LATE_S", "SECONDS_PER_HOUR", "Alert", "Bed", "Matching", "alert_figures", "alerts_of", "match"]

EARLY_S: Final = 0.5
"""An alert counts for an event from this long before its onset …"""
LATE_S: Final = 2.0
"""… to this long after its end."""
_CONTINUATION_S: Final = 10.0
"""A false alert up to this long after the end of an event of its label is stated as one that may be its continuation."""
SECONDS_PER_HOUR: Final = 3_600.0
_SNR_STEP_DB: Final = 6.0
_SNR_FROM_DB: Final = -3.0
_MOST_CAUSES: Final = 5


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as the policy raised it, in seconds of the programme.

    Attributes
    ----------
    opened_s
        End of the window at which it opened: when a subscriber could know of it.
    first_s, end_s
        What it covers.
    """

    label: str
    opened_s: float
    first_s: float
    end_s: float


@dataclass(slots=True)
class Matching:
    """What became of the alerts and events of one label.

    Attributes
    ----------
    delays
        Seconds from the onset to the first alert, by the event's place in the truth.
    duplicates
        Further alerts for an event that has one.
    false
        Alerts for no event.
    continuations
        Those among ``false`` that opened soon after an event of their label, when it may still have been heard.
    covered
        Events without an alert of their own during which one was open already.
    """

    delays: dict[int, float] = field(default_factory=dict)
    duplicates: list[Alert] = field(default_factory=list)
    false: list[Alert] = field(default_factory=list)
    continuations: list[Alert] = field(default_factory=list)
    covered: list[int] = field(default_factory=list)


def alerts_of(events: Iterable[Event]) -> list[Alert]:
    """Gather the phases of each alert; in order of their opening."""
    opened: dict[str, float] = {}
    latest: dict[str, Any] = {}
    for event in events:
        if event.kind == "moderation.alert":
            if event.data["phase"] == "opened" and event.sample is not None:
                opened[event.data["id"]] = event.sample / event.data["sample_rate"]
            latest[event.data["id"]] = event.data
    return [
        Alert(data["label"], opened[key], data["first_sample"] / data["sample_rate"], data["end_sample"] / data["sample_rate"])
        for key, data in latest.items()
        if key in opened
    ]  # fmt: skip


def match(truth: Sequence[TrueEvent], alerts: Sequence[Alert], label: str) -> Matching:
    """Match the alerts of one label with its events: each event takes the first alert that opens in its time."""
    result = Matching()
    mine = [(number, event) for number, event in enumerate(truth) if event.label == label]
    ours = sorted((alert for alert in alerts if alert.label == label), key=lambda alert: alert.opened_s)
    for alert in ours:
        near = [(n, e) for n, e in mine if e.onset_s - EARLY_S <= alert.opened_s <= e.end_s + LATE_S]
        waiting = next(((n, e) for n, e in near if n not in result.delays), None)
        if waiting is not None:
            result.delays[waiting[0]] = alert.opened_s - waiting[1].onset_s
        elif near:
            result.duplicates.append(alert)
        else:
            result.false.append(alert)
            if any(e.end_s < alert.opened_s <= e.end_s + _CONTINUATION_S for _, e in mine):
                result.continuations.append(alert)
    for number, event in mine:
        over = any(alert.opened_s <= event.end_s and alert.end_s >= event.onset_s for alert in ours)
        if number not in result.delays and over:
            result.covered.append(number)
    return result


class Bed:
    """What lies under a moment of the programme, and how long each kind lasts."""

    def __init__(self, segments: Sequence[BedSegment]) -> None:
        self._segments = sorted(segments, key=lambda segment: segment.start_s)
        self._starts = [segment.start_s for segment in self._segments]
        hours: dict[str, float] = {}
        for segment in self._segments:
            hours[segment.kind] = hours.get(segment.kind, 0.0) + (segment.end_s - segment.start_s) / SECONDS_PER_HOUR
        self.hours: dict[str, float] = dict(sorted(hours.items()))

    def at(self, moment_s: float) -> BedSegment:
        """Return the segment at a moment."""
        return self._segments[max(0, bisect_right(self._starts, moment_s) - 1)]


def alert_figures(
    truth: Sequence[TrueEvent], alerts: Sequence[Alert], label: str, bed: Bed, hours: float
) -> dict[str, Any]:
    """Return the figures of one label as JSON values."""
    mine = [(number, event) for number, event in enumerate(truth) if event.label == label]
    matched = match(truth, alerts, label)
    hits, false = len(matched.delays), len(matched.false)
    groups: dict[str, list[bool]] = {}
    for number, event in mine:
        groups.setdefault(event.group, []).append(number in matched.delays)
    shares = [sum(found) / len(found) for found in groups.values()]
    return {
        "events": len(mine),
        "recordings": len(groups),
        "found": hits,
        "recall": rate(hits, len(mine)),
        "recall_95": wilson_interval(hits, len(mine)),
        "recall_mean_of_recordings": rate(sum(shares), len(shares)),
        "time_to_alert_s": percentiles(list(matched.delays.values())),
        "false_alerts": false,
        "hours": round(hours, 3),
        "false_alerts_per_hour": rate(false, hours),
        "false_alerts_per_hour_95": poisson_interval(false, hours),
        "precision": rate(hits, hits + false),
        "duplicates": len(matched.duplicates),
        "continuations": len(matched.continuations),
        "covered_by_open_alert": len(matched.covered),
        "by_snr": _by_snr(mine, matched),
        "by_bed": _by_bed(mine, matched, bed),
        "false_by_bed": _false_by_bed(matched.false, bed),
        "false_from": _causes(matched.false, bed),
    }


def _by_snr(mine: Sequence[tuple[int, TrueEvent]], matched: Matching) -> list[dict[str, Any]]:
    bins: dict[int, list[bool]] = {}
    for number, event in mine:
        bins.setdefault(int((event.snr_db - _SNR_FROM_DB) // _SNR_STEP_DB), []).append(number in matched.delays)
    rows = []
    for step, found in sorted(bins.items()):
        low = _SNR_FROM_DB + step * _SNR_STEP_DB
        rows.append(
            {"from_db": low, "to_db": low + _SNR_STEP_DB, "events": len(found), "recall": rate(sum(found), len(found))}
        )
    return rows


def _by_bed(mine: Sequence[tuple[int, TrueEvent]], matched: Matching, bed: Bed) -> dict[str, Any]:
    kinds: dict[str, list[bool]] = {}
    for number, event in mine:
        kinds.setdefault(bed.at(event.onset_s).kind, []).append(number in matched.delays)
    return {
        kind: {"events": len(found), "recall": rate(sum(found), len(found))} for kind, found in sorted(kinds.items())
    }


def _false_by_bed(false: Sequence[Alert], bed: Bed) -> dict[str, Any]:
    counts = Counter(bed.at(alert.first_s).kind for alert in false)
    return {
        kind: {
            "hours": round(hours, 3),
            "false_alerts": counts[kind],
            "per_hour": rate(counts[kind], hours),
            "per_hour_95": poisson_interval(counts[kind], hours),
        }
        for kind, hours in bed.hours.items()
    }


def _causes(false: Sequence[Alert], bed: Bed) -> dict[str, int]:
    segments = [bed.at(alert.first_s) for alert in false]
    named = Counter(f"{segment.kind}/{segment.label}".rstrip("/") for segment in segments)
    return dict(named.most_common(_MOST_CAUSES))
