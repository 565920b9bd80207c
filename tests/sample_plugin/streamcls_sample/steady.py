"""A policy that publishes a ``sample.steady`` event for each stretch in which one label stays on top."""

from __future__ import annotations

from pydantic import Field

from streamcls import ComponentConfig, Posterior
from streamcls.decision import Finding

__all__ = ["Steady"]


class Steady:
    """Follows one model on one stream."""

    name = "steady"

    class Config(ComponentConfig):
        """Settings of the policy ``steady``."""

        models: tuple[str, ...] = ()
        enter: float = Field(default=0.8, ge=0, le=1, description="A label is on top from this probability.")

    def __init__(self, config, context):
        self._config = config
        self._context = context
        self._open = None

    @classmethod
    def accepts(cls, config, model):
        """Listen to the models named, or to all."""
        return not config.models or model.name in config.models

    def update(self, item):
        """Take the next window."""
        if not isinstance(item, Posterior):
            return []
        best = int(item.values.argmax())
        label = item.labels[best] if item.values[best] >= self._config.enter else None
        events = []
        if self._open is not None and self._open.label != label:
            events += self.close(item.end_sample, "changed")
        if label is not None:
            began = self._open is None
            if began:
                self._open = Finding(
                    self._context, "sample.steady", label, item.first_sample, item.end_sample, item.sample_rate
                )
            self._open.extend(item.end_sample, float(item.values[best]))
            if began:
                events.append(self._open.event("opened", item.end_sample))
        return events

    def gap(self, first_sample, end_sample):
        """A hole of any length ends it."""
        return self.close(first_sample, "gap")

    def close(self, at_sample, reason):
        """Close what is open."""
        finding, self._open = self._open, None
        return [finding.event("closed", at_sample, reason)] if finding else []

    def state(self):
        """Return what is remembered, as JSON values."""
        return {"open": self._open.state() if self._open else None}

    def restore(self, state):
        """Go on where another policy was."""
        if "open" not in state:
            raise ValueError("no state of a steady policy: it lacks open")
        self._open = Finding.from_state(self._context, state["open"]) if state["open"] else None
