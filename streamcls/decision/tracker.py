"""The life of a segment or an alert: one id, phases opened, updated and closed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from streamcls.types import Event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamcls.interfaces import PolicyContext

__all__ = ["Finding", "finding_id"]


_REMEMBERED: Final = {
    "kind": str,
    "label": str,
    "first_sample": int,
    "end_sample": int,
    "sample_rate": int,
    "extra": dict,
    "windows": int,
    "peak": float,
    "announced_at": int,
    "_sum": float,
}
"""Fields of a finding's state and their types."""


def finding_id(context: PolicyContext, label: str, first_sample: int) -> str:
    """Return a finding's id: 32 hexadecimal digits that depend on what it is and where it begins, and on nothing else.

    So the same finding has the same id when the daemon, restarted, sees the same audio again.
    """
    parts = (
        context.origin,
        context.stream,
        context.policy,
        context.model.name,
        context.model.digest,
        label,
        str(first_sample),
    )
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


@dataclass(slots=True)
class Finding:
    """A segment or alert that is open.

    Attributes
    ----------
    first_sample, end_sample
        What it covers so far; absolute indices at the source's rate.
    windows
        Classifications that spoke for it.
    mean, peak
        Of its label's probability over those windows.
    """

    context: PolicyContext
    kind: str
    label: str
    first_sample: int
    end_sample: int
    sample_rate: int
    extra: dict[str, Any] = field(default_factory=dict)
    windows: int = 0
    peak: float = 0.0
    announced_at: int = 0
    _sum: float = 0.0

    @property
    def id(self) -> str:
        """See :func:`finding_id`."""
        return finding_id(self.context, self.label, self.first_sample)

    @property
    def mean(self) -> float:
        """Mean probability of the label over the windows that spoke for it."""
        return self._sum / self.windows if self.windows else 0.0

    def state(self) -> dict[str, Any]:
        """Return everything but the context as JSON values."""
        return {name: getattr(self, name) for name in _REMEMBERED} | {"extra": dict(self.extra)}

    @classmethod
    def from_state(cls, context: PolicyContext, state: Mapping[str, Any]) -> Self:
        """Make the finding anew of what :meth:`state` returned; raise ``ValueError`` where it is something else."""
        wrong = [name for name, kind in _REMEMBERED.items() if not isinstance(state.get(name), kind)]
        if wrong or state.keys() - _REMEMBERED.keys():
            raise ValueError(f"no state of a finding: {', '.join(wrong) or 'unknown members'}")
        return cls(context, **{**state, "extra": dict(state["extra"])})

    def extend(self, end_sample: int, probability: float) -> None:
        """Count one more window that speaks for it."""
        self.end_sample = max(self.end_sample, end_sample)
        self.windows += 1
        self._sum += probability
        self.peak = max(self.peak, probability)

    def event(self, phase: str, at_sample: int, reason: str | None = None) -> Event:
        """Say what is known of it now."""
        self.announced_at = at_sample
        data: dict[str, Any] = {
            "id": self.id,
            "phase": phase,
            "policy": self.context.policy,
            "model": self.context.model.name,
            "model_version": self.context.model.version,
            "label": self.label,
            "first_sample": self.first_sample,
            "end_sample": self.end_sample,
            "sample_rate": self.sample_rate,
            "duration_s": round((self.end_sample - self.first_sample) / self.sample_rate, 3),
            "windows": self.windows,
            "probability": {"mean": round(self.mean, 4), "peak": round(self.peak, 4)},
            **self.extra,
        }
        if reason is not None:
            data["reason"] = reason
        return Event(self.kind, self.context.stream, data, sample=at_sample)
