"""Recall against false alerts over the thresholds, from the posteriors of one pass: only the policy runs again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.errors import TrainingError
from streamcls.interfaces import PolicyContext
from streamcls.training.events.intervals import percentiles, poisson_interval, rate, wilson_interval
from streamcls.training.events.matching import SECONDS_PER_HOUR, alerts_of, match

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamcls.training.events.matching import Alert
    from streamcls.training.events.measure import Heard

__all__ = ["choose_thresholds", "replay", "sweep", "sweep_together", "threshold_grid"]

_POLICY: Final = "moderation"
_LOWEST_LOGIT, _HIGHEST_LOGIT = -5.0, 7.0
_STEPS: Final = 37
_DIGITS: Final = 4


def threshold_grid(steps: int = _STEPS) -> list[float]:
    """Return thresholds from 0.007 to 0.999, evenly spaced as logits."""
    logits = np.linspace(_LOWEST_LOGIT, _HIGHEST_LOGIT, steps)
    return [round(float(value), _DIGITS) for value in 1.0 / (1.0 + np.exp(-logits))]


def replay(heard: Heard, thresholds: Mapping[str, float]) -> list[Alert]:
    """Run the moderation policy alone over the posteriors, as if the bundle recommended these thresholds.

    A rule of the configuration that states its own ``enter`` keeps it.

    Raises
    ------
    TrainingError
        The moderation policy does not listen to this bundle.
    """
    part = heard.policies.get(_POLICY)
    if part is None:
        raise TrainingError(
            f"the moderation policy does not listen to {heard.info.name}, whose task is {heard.info.task}"
        )
    config = part.config.model_copy(update={"window_events": False})
    info = replace(heard.info, thresholds=dict(heard.info.thresholds) | dict(thresholds))
    policy = part.component(config, PolicyContext(part.name, heard.stream, info))
    events = [event for posterior in heard.posteriors for event in policy.update(posterior)]
    if heard.posteriors:
        events += policy.close(heard.posteriors[-1].end_sample, "end of stream")
    return alerts_of(events)


def sweep(
    heard: Heard, labels: Sequence[str] | None = None, thresholds: Sequence[float] | None = None
) -> dict[str, list[dict[str, Any]]]:  # fmt: skip
    """Return, per label, what each threshold gives: recall and false alerts per hour, with intervals, and time to alert.

    Parameters
    ----------
    labels
        By default those that the evaluation reports.
    thresholds
        By default :func:`threshold_grid`; all labels take the same step at the same time, as each has alerts of its own.
    """
    return sweep_together([heard], heard.labels if labels is None else labels, thresholds)


def sweep_together(
    heards: Sequence[Heard], labels: Sequence[str], thresholds: Sequence[float] | None = None
) -> dict[str, list[dict[str, Any]]]:  # fmt: skip
    """Return what :func:`sweep` does, of one bundle on several programmes as if they were one; no alert reaches from one to the next."""
    rows: dict[str, list[dict[str, Any]]] = {label: [] for label in labels}
    hours = sum(heard.programme.seconds for heard in heards) / SECONDS_PER_HOUR
    for threshold in threshold_grid() if thresholds is None else thresholds:
        alerts = [replay(heard, dict.fromkeys(rows, threshold)) for heard in heards]
        for label, row in rows.items():
            found = [match(heard.programme.truth, raised, label) for heard, raised in zip(heards, alerts, strict=True)]
            events = sum(event.label == label for heard in heards for event in heard.programme.truth)
            delays = [delay for part in found for delay in part.delays.values()]
            false = sum(len(part.false) for part in found)
            row.append(
                {
                    "threshold": threshold,
                    "events": events,
                    "recall": rate(len(delays), events),
                    "recall_95": wilson_interval(len(delays), events),
                    "false_alerts": false,
                    "false_alerts_per_hour": rate(false, hours),
                    "false_alerts_per_hour_95": poisson_interval(false, hours),
                    "time_to_alert_s": percentiles(delays),
                }
            )
    return rows


def choose_thresholds(
    swept: Mapping[str, Sequence[Mapping[str, Any]]], false_alerts_per_hour: float
) -> dict[str, float]:  # fmt: skip
    """Return per label the lowest threshold from which on the false alerts stay at or below a rate.

    Where even the highest threshold has more, the highest is returned: look at its row. To be used on a validation programme; on
    the test programme it would choose what suits the test.
    """
    chosen = {}
    for label, rows in swept.items():
        falling = sorted(rows, key=lambda row: -float(row["threshold"]))
        best = float(falling[0]["threshold"])
        for row in falling:
            if float(row["false_alerts_per_hour"] or 0.0) > false_alerts_per_hour:
                break
            best = float(row["threshold"])
        chosen[label] = best
    return chosen
