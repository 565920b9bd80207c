"""How the stages of the broadcast chains bear on what is found: recall and false alerts where a stage is in the chain."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from streamcls.training.events.intervals import poisson_interval, rate, wilson_interval
from streamcls.training.events.matching import SECONDS_PER_HOUR, match

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamcls.training.events.matching import Alert
    from streamcls.training.programme.files import TrueEvent

__all__ = ["by_broadcast"]

_VARIANTS: Final = ("channel", "codec", "colour")
"""Parameters of a stage that name a variant of it."""
_NOTHING: Final = "nothing"


def by_broadcast(
    truth: Sequence[TrueEvent], alerts: Sequence[Alert], labels: Sequence[str], stretches: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:  # fmt: skip
    """Return, per stage and variant of it, the recall of the events of all labels and their false alerts per hour.

    A stretch has several stages, so that the rows overlap and none shows what a stage does by itself; ``nothing`` are the stretches
    without any.
    """
    hours, events, found, false = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    names = [_names(stretch) for stretch in stretches]
    for stretch, stages in zip(stretches, names, strict=True):
        for name in stages:
            hours[name] += (stretch["end_s"] - stretch["start_s"]) / SECONDS_PER_HOUR
    for label in labels:
        matched = match(truth, alerts, label)
        for number, event in enumerate(truth):
            if event.label == label:
                stages = names[_place(stretches, event.onset_s)]
                events.update(stages)
                found.update(stages if number in matched.delays else ())
        for alert in matched.false:
            false.update(names[_place(stretches, alert.first_s)])
    return {
        name: {
            "hours": round(hours[name], 3),
            "events": events[name],
            "recall": rate(found[name], events[name]),
            "recall_95": wilson_interval(found[name], events[name]),
            "false_alerts": false[name],
            "false_alerts_per_hour": rate(false[name], hours[name]),
            "false_alerts_per_hour_95": poisson_interval(false[name], hours[name]),
        }
        for name in sorted(hours)
    }


def _names(stretch: Mapping[str, Any]) -> list[str]:
    names = []
    for stage in stretch["chain"] or ():
        variant = next((str(stage[key]) for key in _VARIANTS if key in stage), "")
        names.append(f"{stage['stage']} {variant}".rstrip())
    return names or [_NOTHING]


def _place(stretches: Sequence[Mapping[str, Any]], moment_s: float) -> int:
    return next((i for i, stretch in enumerate(stretches) if moment_s < stretch["end_s"]), len(stretches) - 1)
