"""How much distinct sound a programme rests on, and in which files it lies: repetitions do not count."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from streamcls.training.features import file_hash
from streamcls.training.programme.plan import SAMPLE_RATE

if TYPE_CHECKING:
    from streamcls.training.corpora import Clip
    from streamcls.training.programme.plan import Plan

__all__ = ["material_of", "sources_of"]

_SECONDS_PER_HOUR: Final = 3_600.0


@dataclass(slots=True)
class _Use:
    """What is heard of one clip: spans in its samples."""

    clip: Clip
    kind: str
    label: str
    spans: list[tuple[int, int]] = field(default_factory=list)

    @property
    def distinct_s(self) -> float:
        """Seconds of it that are heard at least once."""
        covered, reached = 0, 0
        for first, end in sorted(self.spans):
            covered += max(0, end - max(first, reached))
            reached = max(reached, end)
        return covered / SAMPLE_RATE


def _uses(plan: Plan) -> list[_Use]:
    uses: dict[tuple[str, str], _Use] = {}
    for layer in plan.layers:
        if layer.clip is not None:
            use = uses.setdefault((layer.kind, layer.clip.key), _Use(layer.clip, layer.kind, layer.clip.found))
            use.spans.append((layer.offset, layer.offset + min(layer.length, plan.length - layer.start)))
    for event in plan.events:
        use = uses.setdefault(("event", event.clip.key), _Use(event.clip, "event", event.label))
        first = event.offset + event.onset - event.start
        use.spans.append((first, first + event.end - event.onset))
    return [uses[key] for key in sorted(uses)]


def material_of(plan: Plan) -> dict[str, Any]:
    """Sum up the distinct material per kind, and within it per label: hours, clips, recordings, and hours with repetitions."""
    kinds: dict[str, dict[str, list[_Use]]] = defaultdict(lambda: defaultdict(list))
    for use in _uses(plan):
        kinds[use.kind][use.label].append(use)
    return {
        kind: _sum([use for uses in labels.values() for use in uses])
        | {"labels": {label: _sum(uses) for label, uses in sorted(labels.items())}}
        for kind, labels in sorted(kinds.items())
    }


def _sum(uses: list[_Use]) -> dict[str, Any]:
    heard = sum(end - first for use in uses for first, end in use.spans) / SAMPLE_RATE
    return {
        "distinct_hours": round(sum(use.distinct_s for use in uses) / _SECONDS_PER_HOUR, 4),
        "heard_hours": round(heard / _SECONDS_PER_HOUR, 4),
        "clips": len({use.clip.key for use in uses}),
        "recordings": len({use.clip.group for use in uses}),
    }


def sources_of(plan: Plan) -> list[dict[str, Any]]:
    """List every file that is heard, with its hash."""
    return [
        {
            "path": str(use.clip.path),
            "sha256": file_hash(use.clip.path),
            "corpus": use.clip.corpus,
            "group": use.clip.group,
            "split": use.clip.split,
            "kind": use.kind,
            "label": use.label,
            "times": len(use.spans),
            "distinct_s": round(use.distinct_s, 3),
        }
        for use in _uses(plan)
    ]
