"""A daemon's worker that is killed and started again over the same audio, and the journal that outlives it."""

from __future__ import annotations

import itertools
import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from streamcls.runtime.resume import Resumption
from streamcls.runtime.workers import Worker
from streamcls.types import Checkpoint, Chunk, EndOfStream, Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streamcls.interfaces import BundleView
    from streamcls.runtime.models import StreamPlan
    from streamcls.types import FeatureWindow, FloatArray, StreamItem

__all__ = ["NEVER", "BitBackend", "Ledger", "envelope", "live", "marked", "restarted", "story", "whole"]

NEVER = 10**9
TICK_S = 0.7


class BitBackend:
    """Stands for an inference library: a fixed function of the window, sensitive to every bit, that dwells on one label for a while."""

    name: ClassVar[str] = "bits"

    def load(self, bundle: BundleView) -> BitBackend:
        self.n_labels = bundle.n_labels
        return self

    @classmethod
    def unavailable(cls) -> str:
        return ""

    def logits(self, window: FeatureWindow) -> FloatArray:
        total = float(window.features.astype(np.float64).sum())
        where = window.first_sample / window.sample_rate
        return np.array(
            [3 * np.sin(where * (k + 1)) + np.sin(total * (k + 1) * 0.001) for k in range(self.n_labels)], np.float32
        )

    def close(self) -> None:
        pass


class KilledError(BaseException):
    """Stands for kill -9: nothing that the worker does afterwards counts."""


@dataclass
class Ledger:
    """Takes units as the journal does, until it is killed before one of them.

    Attributes
    ----------
    events
        Committed, without the windows that came after the last checkpoint and are said again.
    repeated
        Those windows.
    """

    events: list[Event] = field(default_factory=list)
    repeated: list[Event] = field(default_factory=list)
    checkpoint: str | None = None
    source: str = ""
    units: int = 0
    kill_at: int = NEVER
    _since: list[Event] = field(default_factory=list)

    def __call__(self, events: Sequence[Event], checkpoint: Checkpoint | None) -> None:
        if self.units >= self.kill_at:
            raise KilledError
        self.units += 1
        self._since += events
        if checkpoint is not None:
            self.events += self._since
            self._since = []
            self.source = checkpoint.source
            self.checkpoint = None if checkpoint.state is None else json.dumps(checkpoint.state, allow_nan=False)

    def end(self) -> None:
        """Let a life end: windows behind the last checkpoint are forgotten; anything else would be said twice."""
        assert all(event.kind.endswith(".window") for event in self._since), self._since
        self.repeated += self._since
        self._since = []
        self.units = 0

    def open(self) -> list[dict[str, Any]]:
        """Return the envelopes of the findings that are open."""
        found: dict[str, dict[str, Any]] = {}
        for event in self.events:
            if "phase" in event.data:
                found[event.data["id"]] = envelope(event)
        return [one for one in found.values() if one["data"]["phase"] != "closed"]


def envelope(event: Event) -> dict[str, Any]:
    """Return what is needed of an event's envelope."""
    return {"type": f"streamcls.{event.kind}", "subject": event.stream, "data": json.loads(json.dumps(event.data))}


def marked(chunks: Iterable[Chunk]) -> list[Chunk]:
    """Put on each chunk a mark that says which one of them it is."""
    return [
        Chunk(c.stream, c.samples, c.sample_rate, c.first_sample, c.captured_at, {"chunk": number})
        for number, c in enumerate(chunks)
    ]


def live(
    plan: StreamPlan,
    items: Iterable[StreamItem],
    ledger: Ledger,
    *,
    resumption: Resumption | None = None,
    kill_at: int = NEVER,
    history_s: float = 0.0,
    stream: str = "radio",
) -> bool:
    """Run one life of a worker on what its source delivers; return whether it came to its end."""
    ledger.kill_at = kill_at
    ticks = itertools.count()
    worker = Worker(
        0,
        lambda event: ledger([event], None),
        1e5,
        publish_all=ledger,
        resumption=resumption,
        checkpoint_s=2.0,
        history_s=history_s,
        clock=lambda: next(ticks) * TICK_S,
    )
    slot = worker.open(stream, plan, "", "source")
    for item in items:
        worker.deliver(slot, item, live=False, stop=threading.Event())
    worker.finish("shutdown", 1e6)
    try:
        worker.run()
    except KilledError:
        return False
    finally:
        ledger.end()
    return True


def restarted(ledger: Ledger, chunks: Sequence[Chunk]) -> tuple[Resumption, Sequence[Chunk]]:
    """Start the daemon again: return what was left behind, and the chunks from the mark on."""
    checkpoints = {}
    if ledger.checkpoint is not None:
        checkpoints["radio"] = Checkpoint("radio", ledger.source, json.loads(ledger.checkpoint))
    ledger.kill_at = NEVER
    resumption = Resumption(checkpoints, ledger.open(), [], ledger, resume_s=60.0, clock=lambda: 0.0)
    resumption.close_lost({"source"})
    marks = resumption.marks("source")
    return resumption, chunks[marks["radio"]["chunk"] :] if marks else chunks


def story(events: Iterable[Event]) -> list[tuple[Any, ...]]:
    """Return everything that events say, without the statuses of streams that went on."""
    return [
        (event.kind, event.sample, json.dumps(event.data, sort_keys=True))
        for event in events
        if not (event.kind == "stream.status" and str(event.data["reason"]).startswith("resumed at"))
    ]


def whole(plan: StreamPlan, chunks: Sequence[Chunk], stream: str = "radio") -> list[Event]:
    """Return the events of a life that nothing disturbs."""
    ledger = Ledger()
    assert live(plan, [*chunks, EndOfStream(stream)], ledger)
    return ledger.events
