"""What tests of policies share: a context, posteriors on a grid of windows, and the laws that every finding obeys."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from streamcls.interfaces import PolicyContext
from streamcls.types import ModelInfo, Posterior

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streamcls.types import Event

RATE = 1000
WINDOW_S = 3.0


def context(
    labels: Sequence[str], stride_s: float = 1.0, *, task: str = "genre", exclusive: bool = True, **more: object
) -> PolicyContext:
    """Return a policy's context for a model with windows of three seconds."""
    info = ModelInfo("net", "7", task, tuple(labels), exclusive, WINDOW_S, stride_s, "model-hash", "front-hash", **more)
    return PolicyContext("rules", "radio", info)


def posterior(labels: Sequence[str], values: Sequence[float], end_s: float, level_dbfs: float = -20.0) -> Posterior:
    """Return the opinion on the window that ends at a second."""
    end = round(end_s * RATE)
    first = end - round(WINDOW_S * RATE)
    return Posterior("radio", "net", tuple(labels), np.array(values, np.float32), first, end, RATE, level_dbfs)


def of(events: Iterable[Event], kind: str) -> list[dict]:
    """Return the data of the events of a kind."""
    return [dict(event.data) for event in events if event.kind == kind]


def check_lives(events: Sequence[Event], kind: str) -> dict[str, list[dict]]:
    """Assert what holds for every finding, all of which must be closed, and return their phases by id."""
    lives: dict[str, list[dict]] = defaultdict(list)
    for event in events:
        if event.kind == kind:
            assert event.sample is not None
            assert event.data["first_sample"] <= event.data["end_sample"] <= event.sample
            lives[event.data["id"]].append(dict(event.data))
    for phases in lives.values():
        names = [phase["phase"] for phase in phases]
        assert names[0] == "opened"
        assert names[-1] == "closed"
        assert set(names[1:-1]) <= {"updated"}
        assert "reason" in phases[-1]
        assert all("reason" not in phase for phase in phases[:-1])
        for fixed in ("label", "first_sample", "policy", "model", "model_version", "sample_rate"):
            assert len({phase[fixed] for phase in phases}) == 1, fixed
        for rising in ("end_sample", "windows"):
            values = [phase[rising] for phase in phases]
            assert values == sorted(values), rising
        for phase in phases:
            assert phase["duration_s"] == round((phase["end_sample"] - phase["first_sample"]) / phase["sample_rate"], 3)
            assert 0 <= phase["probability"]["mean"] <= phase["probability"]["peak"] <= 1
            assert phase["windows"] >= 1
    return dict(lives)
