"""Windows to moderation events: thresholds with hysteresis, k-of-n, minimum duration and cool-down per label."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

from streamcls import Event
from streamcls.decision import Finding, KOfN, label_map
from streamcls.types import Posterior
from streamcls_moderation.config import DEFAULT_RULES, ModerationConfig, Rule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamcls import Levels, ModelInfo, PolicyContext

__all__ = ["ModerationPolicy"]

_DEFAULT_ENTER: Final = 0.6
_LEAVE_OF_ENTER: Final = 0.6


@dataclass(slots=True)
class _Watch:
    """What is remembered of one label: its thresholds, its last answers, and the alert that is open."""

    rule: Rule
    enter: float
    leave: float
    votes: KOfN
    alert: Finding | None = None
    candidate: Finding | None = None
    heard: list[tuple[int, int, float]] = field(default_factory=list)

    def forget(self) -> None:
        """Forget what has not become an alert."""
        self.votes.reset()
        self.heard.clear()
        self.candidate = None

    def state(self) -> dict[str, Any]:
        """Return what it remembers as JSON values."""
        return {
            "votes": self.votes.state(),
            "alert": self.alert.state() if self.alert is not None else None,
            "candidate": self.candidate.state() if self.candidate is not None else None,
            "heard": [list(vote) for vote in self.heard],
        }

    def restore(self, state: Mapping[str, Any], context: PolicyContext) -> None:
        """Take over what :meth:`state` returned."""
        self.votes.restore(state["votes"])
        self.alert, self.candidate = (
            Finding.from_state(context, state[part]) if state[part] is not None else None
            for part in ("alert", "candidate")
        )
        self.heard = [(int(first), int(end), float(value)) for first, end, value in state["heard"]]

    @property
    def thresholds(self) -> dict[str, Any]:
        """The rule in force, as alerts state it."""
        rule = self.rule
        return {
            "enter": self.enter,
            "leave": self.leave,
            "k": rule.k,
            "n": rule.n,
            "min_duration_s": rule.min_duration_s,
            "cool_down_s": rule.cool_down_s,
        }


class ModerationPolicy:
    """Follows one model on one stream. Each label with a rule has its own alert; several may be open at once."""

    name: ClassVar[str] = "moderation"
    Config = ModerationConfig

    def __init__(self, config: ModerationConfig, context: PolicyContext) -> None:
        self._config = config
        self._context = context
        model = context.model
        self._map = label_map(model, config.map, "moderation")
        rules = (
            config.labels
            if config.labels is not None
            else {label: rule for label, rule in DEFAULT_RULES.items() if label in self._map.labels}
        )
        unknown = sorted(set(rules) - set(self._map.labels))
        if unknown:
            has = ", ".join(self._map.labels)
            raise ValueError(
                f"labels names {', '.join(map(repr, unknown))}, which {model.name} does not put out; it has {has}"
            )
        self._last_end = 0
        self._watches = {label: self._watch(label, rule) for label, rule in rules.items()}

    def _watch(self, label: str, rule: Rule) -> _Watch:
        thresholds = {**self._map.thresholds, **self._context.model.thresholds}
        recommended = thresholds.get(label, _DEFAULT_ENTER)
        enter = rule.enter if rule.enter is not None else recommended
        leave = rule.leave if rule.leave is not None else round(_LEAVE_OF_ENTER * enter, 4)
        return _Watch(rule, enter, min(leave, enter), KOfN(rule.k, rule.n))

    @classmethod
    def accepts(cls, config: ModerationConfig, model: ModelInfo) -> bool:
        """Listen to the models named, or to every moderation model."""
        return model.name in config.models if config.models else model.task == "moderation"

    def update(self, item: Posterior | Levels) -> list[Event]:
        """Take the next window."""
        if not isinstance(item, Posterior):
            return []
        values = self._map.apply(item.values)
        silent = item.level_dbfs < self._config.silence_dbfs
        probabilities = {
            label: 0.0 if silent else float(value) for label, value in zip(self._map.labels, values, strict=True)
        }
        events = [self._window_event(item, probabilities)] if self._config.window_events else []
        for label, watch in self._watches.items():
            events += self._follow(label, watch, item, probabilities[label])
        self._last_end = item.end_sample
        return events

    def gap(self, first_sample: int, end_sample: int) -> list[Event]:
        """Forget the votes; close alerts where the hole is longer than they may bridge."""
        events: list[Event] = []
        model = self._context.model
        for watch in self._watches.values():
            watch.forget()
            alert = watch.alert
            if alert is None:
                continue
            # Holes that come so often that no window is whole between them add up.
            unheard_s = (end_sample - self._last_end) / alert.sample_rate - model.window_s - model.stride_s
            if max(unheard_s, (end_sample - first_sample) / alert.sample_rate) > self._config.bridge_gap_s:
                watch.alert = None
                events.append(alert.event("closed", first_sample, "gap"))
        return events

    def close(self, at_sample: int, reason: str) -> list[Event]:
        """Close every open alert."""
        events = [
            watch.alert.event("closed", at_sample, reason)
            for watch in self._watches.values()
            if watch.alert is not None
        ]
        for watch in self._watches.values():
            watch.alert = None
        return events

    def state(self) -> dict[str, Any]:
        """See :class:`streamcls.interfaces.ResumablePolicy`."""
        return {
            "watches": {label: watch.state() for label, watch in self._watches.items()},
            "last_end": self._last_end,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """See :class:`streamcls.interfaces.ResumablePolicy`."""
        try:
            if state["watches"].keys() != self._watches.keys():
                raise ValueError("its labels are not those of this policy")
            restored = {label: self._watch(label, watch.rule) for label, watch in self._watches.items()}
            for label, watch in restored.items():
                watch.restore(state["watches"][label], self._context)
            last_end = int(state["last_end"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no state of a moderation policy: {type(error).__name__}: {error}") from error
        self._watches, self._last_end = restored, last_end

    def _follow(self, label: str, watch: _Watch, item: Posterior, probability: float) -> list[Event]:
        if watch.alert is not None:
            return self._continue(watch, watch.alert, item, probability)
        speaks = probability >= watch.enter
        enough = watch.votes.push(item.end_sample, speaks)
        if speaks:
            watch.heard.append((item.first_sample, item.end_sample, probability))
        if not enough:
            watch.candidate = None
            earliest = watch.votes.earliest
            watch.heard = [vote for vote in watch.heard if earliest is not None and vote[1] >= earliest]
            return []
        if watch.candidate is None:
            first = watch.heard[0][0]
            watch.candidate = Finding(
                self._context,
                "moderation.alert",
                label,
                first,
                first,
                item.sample_rate,
                extra=self._facts(label, watch),
            )
        for _, end, value in watch.heard:
            watch.candidate.extend(end, value)
        watch.heard.clear()
        if watch.candidate.end_sample - watch.candidate.first_sample < watch.rule.min_duration_s * item.sample_rate:
            return []
        watch.alert = watch.candidate
        watch.forget()
        return [watch.alert.event("opened", item.end_sample)]

    def _continue(self, watch: _Watch, alert: Finding, item: Posterior, probability: float) -> list[Event]:
        if probability >= watch.leave:
            alert.extend(item.end_sample, probability)
        elif item.end_sample - alert.end_sample >= watch.rule.cool_down_s * item.sample_rate:
            watch.alert = None
            return [alert.event("closed", item.end_sample, "over")]
        due = item.end_sample - alert.announced_at >= self._config.update_s * item.sample_rate
        return [alert.event("updated", item.end_sample)] if due else []

    def _facts(self, label: str, watch: _Watch) -> dict[str, Any]:
        model = self._context.model
        taxonomy = [model.taxonomy[source] for source in self._map.sources[label] if source in model.taxonomy]
        return {
            "taxonomy": taxonomy,
            "severity": watch.rule.severity,
            "action": watch.rule.action,
            "model_sha256": model.digest,
            "front_end_sha256": model.front_end_digest,
            "thresholds": watch.thresholds,
        }

    def _window_event(self, item: Posterior, probabilities: dict[str, float]) -> Event:
        over = [label for label, watch in self._watches.items() if probabilities[label] >= watch.enter]
        data: dict[str, Any] = {
            "policy": self._context.policy,
            "model": item.model,
            "model_version": self._context.model.version,
            "first_sample": item.first_sample,
            "end_sample": item.end_sample,
            "sample_rate": item.sample_rate,
            "labels": over,
            "posterior": {label: round(value, 4) for label, value in probabilities.items()},
            "level_dbfs": round(item.level_dbfs, 1),
        }
        return Event("moderation.window", item.stream, data, sample=item.end_sample)
