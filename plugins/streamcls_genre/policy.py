"""Windows to genre events: smoothing, hysteresis, minimum duration, and ``unsure`` when nothing stands out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from streamcls import Event
from streamcls.decision import Finding, MovingAverage, label_map
from streamcls.types import Posterior
from streamcls_genre.config import GenreConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamcls import Levels, ModelInfo, PolicyContext
    from streamcls.types import FloatArray

__all__ = ["UNSURE", "GenrePolicy"]

UNSURE: Final = "unsure"


class GenrePolicy:
    """Follows one model on one stream.

    At any time one label is decided: a genre, or ``unsure``. A genre takes over once its smoothed probability reaches ``enter`` (and
    beats the genre that holds by ``margin``) and goes on doing so for ``min_duration_s``; it ends below ``leave``. The stretch during
    which a label is decided is a segment, and segments follow each other without overlap.
    """

    name: ClassVar[str] = "genre"
    Config = GenreConfig

    def __init__(self, config: GenreConfig, context: PolicyContext) -> None:
        self._config = config
        self._context = context
        model = context.model
        self._map = label_map(model, config.map, "genre")
        self._is_genre = np.array([label not in model.background for label in self._map.labels])
        self._average: MovingAverage | None = None
        self._rate = 0
        self._segment: Finding | None = None
        self._candidate: Finding | None = None
        self._last_end = 0

    @classmethod
    def accepts(cls, config: GenreConfig, model: ModelInfo) -> bool:
        """Listen to the models named, or to every genre model."""
        return model.name in config.models if config.models else model.task == "genre"

    def update(self, item: Posterior | Levels) -> list[Event]:
        """Take the next window."""
        if not isinstance(item, Posterior):
            return []
        if self._average is None:
            self._average = self._new_average(item.sample_rate)
        values = self._map.apply(item.values)
        silent = item.level_dbfs < self._config.silence_dbfs
        if silent:
            self._average.reset()
            smoothed = np.zeros_like(values)
        else:
            smoothed = self._average.push(item.end_sample, values)
        events = [self._window_event(item, values, smoothed, silent=silent)] if self._config.window_events else []
        events += self._decide(item, smoothed, silent=silent)
        self._last_end = item.end_sample
        return events

    def gap(self, first_sample: int, end_sample: int) -> list[Event]:
        """Forget the smoothing; close the segment where the hole is longer than it may bridge."""
        if self._average is not None:
            self._average.reset()
        self._candidate = None
        segment, model = self._segment, self._context.model
        if segment is None:
            return []
        # Holes that come so often that no window is whole between them add up.
        unheard_s = (end_sample - self._last_end) / segment.sample_rate - model.window_s - model.stride_s
        if max(unheard_s, (end_sample - first_sample) / segment.sample_rate) <= self._config.bridge_gap_s:
            return []
        return self.close(first_sample, "gap")

    def close(self, at_sample: int, reason: str) -> list[Event]:
        """Close the open segment."""
        segment, self._segment, self._candidate = self._segment, None, None
        return [segment.event("closed", at_sample, reason)] if segment is not None else []

    def state(self) -> dict[str, Any]:
        """See :class:`streamcls.interfaces.ResumablePolicy`."""
        return {
            "sample_rate": self._rate,
            "average": self._average.state() if self._average is not None else None,
            "segment": self._segment.state() if self._segment is not None else None,
            "candidate": self._candidate.state() if self._candidate is not None else None,
            "last_end": self._last_end,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """See :class:`streamcls.interfaces.ResumablePolicy`."""
        try:
            average = None
            if state["average"] is not None:
                average = self._new_average(int(state["sample_rate"]))
                average.restore(state["average"], len(self._map.labels))
            segment, candidate = (
                Finding.from_state(self._context, state[part]) if state[part] is not None else None
                for part in ("segment", "candidate")
            )
            last_end = int(state["last_end"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no state of a genre policy: {type(error).__name__}: {error}") from error
        known = {*self._map.labels, UNSURE}
        if any(finding is not None and finding.label not in known for finding in (segment, candidate)):
            raise ValueError("its labels are not those of this policy")
        self._average, self._segment, self._candidate, self._last_end = average, segment, candidate, last_end

    def _new_average(self, sample_rate: int) -> MovingAverage:
        self._rate = sample_rate
        return MovingAverage(round(self._config.smooth_s * sample_rate))

    def _choose(self, smoothed: FloatArray) -> str:
        """Return the label that this window speaks for, given the label that holds."""
        config = self._config
        best = int(np.argmax(smoothed))
        best_label = self._map.labels[best] if self._is_genre[best] else UNSURE
        holding = self._segment.label if self._segment is not None else UNSURE
        if holding != UNSURE:
            held = float(smoothed[self._map.labels.index(holding)])
            beaten = smoothed[best] >= config.enter and smoothed[best] >= held + config.margin
            if held >= config.leave and not beaten:
                return holding
        return best_label if smoothed[best] >= config.enter else UNSURE

    def _cause(self, smoothed: FloatArray, *, silent: bool) -> str:
        """Say why nothing is decided."""
        if silent:
            return "silence"
        return "nothing stands out" if self._is_genre[int(np.argmax(smoothed))] else "none of its genres"

    def _probability(self, label: str, smoothed: FloatArray) -> float:
        """Return the probability of a label; of ``unsure``, that the likeliest genre is not the right one."""
        if label == UNSURE:
            return float(1.0 - smoothed[self._is_genre].max(initial=0.0))
        return float(smoothed[self._map.labels.index(label)])

    def _decide(self, item: Posterior, smoothed: FloatArray, *, silent: bool) -> list[Event]:
        label = UNSURE if silent else self._choose(smoothed)
        probability = self._probability(label, smoothed)
        if self._segment is not None and label == self._segment.label:
            self._candidate = None
            return self._extend(self._segment, item, probability)
        candidate = self._candidate
        if candidate is None or candidate.label != label:
            first = item.first_sample if self._segment is None else max(item.first_sample, self._segment.end_sample)
            candidate = Finding(self._context, "genre.segment", label, first, item.end_sample, item.sample_rate)
            if label == UNSURE:
                candidate.extra["cause"] = self._cause(smoothed, silent=silent)
            self._candidate = candidate
        candidate.extend(item.end_sample, probability)
        # The time that the label held is counted from window end to window end, so that it does not depend on the window's length.
        held = candidate.windows * self._context.model.stride_s
        if held < self._config.min_duration_s:
            return []
        events = []
        if self._segment is not None:
            self._segment.end_sample = candidate.first_sample  # it held until then, also while others came and went
            events.append(self._segment.event("closed", item.end_sample, "changed"))
        self._segment, self._candidate = candidate, None
        return [*events, candidate.event("opened", item.end_sample)]

    def _extend(self, segment: Finding, item: Posterior, probability: float) -> list[Event]:
        segment.extend(item.end_sample, probability)
        due = item.end_sample - segment.announced_at >= self._config.update_s * item.sample_rate
        return [segment.event("updated", item.end_sample)] if due else []

    def _window_event(self, item: Posterior, values: FloatArray, smoothed: FloatArray, *, silent: bool) -> Event:
        best = int(np.argmax(smoothed))
        sure = not silent and self._is_genre[best] and smoothed[best] >= self._config.enter
        data: dict[str, Any] = {
            "policy": self._context.policy,
            "model": item.model,
            "model_version": self._context.model.version,
            "first_sample": item.first_sample,
            "end_sample": item.end_sample,
            "sample_rate": item.sample_rate,
            "label": self._map.labels[best] if sure else UNSURE,
            "probability": round(float(smoothed[self._is_genre].max(initial=0.0)), 4),
            "posterior": {label: round(float(value), 4) for label, value in zip(self._map.labels, values, strict=True)},
            "level_dbfs": round(item.level_dbfs, 1),
        }
        return Event("genre.window", item.stream, data, sample=item.end_sample)
