"""What the segments of a genre policy are worth on a programme whose music is known."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.training.events.intervals import percentiles, rate, wilson_interval
from streamcls.training.events.matching import SECONDS_PER_HOUR

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streamcls.training.programme.files import BedSegment
    from streamcls.types import Event

__all__ = ["GenreSegment", "genre_figures", "genre_segments_of"]

_UNSURE: Final = "unsure"
_STEP_S: Final = 0.1
"""Shares of time are counted in steps of this length."""
_LEAST_STRETCH_S: Final = 10.0
"""Shorter music is not asked how long its genre took."""
_JOINED_S: Final = 0.01
_MOST_CONFUSED: Final = 3


@dataclass(frozen=True, slots=True)
class GenreSegment:
    """A genre segment in seconds of the programme; ``decided_s`` is when it was opened."""

    label: str
    first_s: float
    end_s: float
    decided_s: float


def genre_segments_of(events: Iterable[Event]) -> list[GenreSegment]:
    """Gather the phases of each segment; in order of their opening."""
    opened: dict[str, float] = {}
    latest: dict[str, Any] = {}
    for event in events:
        if event.kind == "genre.segment":
            if event.data["phase"] == "opened" and event.sample is not None:
                opened[event.data["id"]] = event.sample / event.data["sample_rate"]
            latest[event.data["id"]] = event.data
    return [
        GenreSegment(data["label"], data["first_sample"] / data["sample_rate"], data["end_sample"] / data["sample_rate"], opened[key])
        for key, data in latest.items()
        if key in opened
    ]  # fmt: skip


def genre_figures(
    bed: Sequence[BedSegment], segments: Sequence[GenreSegment], genres: Sequence[str], seconds: float
) -> dict[str, Any]:  # fmt: skip
    """Return the figures as JSON values.

    Time without a decision counts as ``unsure``. Music whose genre the model does not have, or nobody knows, is counted by itself.
    """
    said = _said(segments, seconds)
    times: dict[str, Counter[str]] = defaultdict(Counter)
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for part in bed:
        heard = Counter(said[round(part.start_s / _STEP_S) : round(part.end_s / _STEP_S)].tolist())
        if part.kind == "music" and part.label in genres:
            times[part.label].update(heard)
        else:
            kinds["music of another genre" if part.kind == "music" else part.kind].update(heard)
    known: Counter[str] = Counter()
    for label, heard in times.items():
        known.update(_outcome(heard, label))
    hours = seconds / SECONDS_PER_HOUR
    sure = sum(segment.label != _UNSURE for segment in segments)
    return {
        "music_hours": round(sum(known.values()) * _STEP_S / SECONDS_PER_HOUR, 3),
        **_shares(known),
        "by_genre": {label: _of_genre(times[label], label) for label in genres if label in times},
        "called_a_genre": {
            kind: {
                "hours": round(sum(heard.values()) * _STEP_S / SECONDS_PER_HOUR, 3),
                "share": rate(sum(heard.values()) - heard[_UNSURE], sum(heard.values())),
            }
            for kind, heard in sorted(kinds.items())
        },
        "segments_per_hour": rate(sure, hours),
        "unsure_segments_per_hour": rate(len(segments) - sure, hours),
        "after_a_change": _after_changes(bed, segments, genres),
    }


def _said(segments: Sequence[GenreSegment], seconds: float) -> np.ndarray[Any, Any]:
    said = np.full(round(seconds / _STEP_S) + 1, _UNSURE, object)
    for segment in segments:
        said[round(segment.first_s / _STEP_S) : round(segment.end_s / _STEP_S)] = segment.label
    return said


def _outcome(heard: Counter[str], label: str) -> Counter[str]:
    wrong = sum(heard.values()) - heard[label] - heard[_UNSURE]
    return Counter({"right": heard[label], "wrong": wrong, "unsure": heard[_UNSURE]})


def _shares(outcome: Counter[str]) -> dict[str, float | None]:
    return {name: rate(outcome[name], sum(outcome.values())) for name in ("right", "wrong", "unsure")}


def _of_genre(heard: Counter[str], label: str) -> dict[str, Any]:
    total = sum(heard.values())
    others = [(name, count) for name, count in heard.most_common() if name not in (label, _UNSURE)]
    return {
        "hours": round(total * _STEP_S / SECONDS_PER_HOUR, 3),
        **_shares(_outcome(heard, label)),
        "mostly_called": {name: rate(count, total) for name, count in others[:_MOST_CONFUSED]},
    }


def _after_changes(
    bed: Sequence[BedSegment], segments: Sequence[GenreSegment], genres: Sequence[str]
) -> dict[str, Any]:
    """Return how long it takes, from the beginning of music of one genre, until a segment of that genre is open."""
    stretches: list[tuple[float, float, str]] = []
    for part in bed:
        if part.kind != "music" or part.label not in genres:
            continue
        if stretches and stretches[-1][2] == part.label and part.start_s - stretches[-1][1] < _JOINED_S:
            stretches[-1] = (stretches[-1][0], part.end_s, part.label)
        else:
            stretches.append((part.start_s, part.end_s, part.label))
    long = [stretch for stretch in stretches if stretch[1] - stretch[0] >= _LEAST_STRETCH_S]
    delays = []
    for start, end, label in long:
        open_then = [s.decided_s for s in segments if s.label == label and s.decided_s < end and s.end_s > start]
        if open_then:
            delays.append(max(0.0, min(open_then) - start))
    return {
        "stretches": len(long),
        "reached": len(delays),
        "reached_share": rate(len(delays), len(long)),
        "reached_95": wilson_interval(len(delays), len(long)),
        "time_to_genre_s": percentiles(delays),
    }
