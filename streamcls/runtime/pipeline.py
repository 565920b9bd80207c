"""One stream, from samples to events. It has no threads and no clock: the same audio gives the same events, whoever drives it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from streamcls.audio import Meter, down_mix
from streamcls.interfaces import PolicyContext
from streamcls.runtime.anchor import Anchor
from streamcls.runtime.lane import Lane
from streamcls.types import Event, Posterior

if TYPE_CHECKING:
    from streamcls.audio import Run
    from streamcls.interfaces import Classifier, Policy
    from streamcls.runtime.lane import ModelWindow
    from streamcls.runtime.models import LoadedModel, StreamPlan
    from streamcls.types import FeatureWindow, FrontEndSpec, Levels, StreamStatus

__all__ = ["ClassifierPool", "StreamPipeline"]


class ClassifierPool(Protocol):
    """Where a pipeline gets its classifiers: a worker's own, one per model, shared by its streams."""

    def classifier(self, model: LoadedModel) -> Classifier:
        """Return the worker's classifier for a model."""
        ...


@dataclass(slots=True)
class _Consumer:
    """A model on this stream and the policies that listen to it."""

    model: LoadedModel
    classifier: Classifier
    policies: list[Policy]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Levels, or a window and the model it is for, until everything that ends before it is there."""

    end_sample: int
    rank: int
    item: Levels | tuple[_Consumer, FeatureWindow]


class StreamPipeline:
    """Samples in, events out, in order.

    A change of the audio format, or an index that goes back, begins anew: everything is reset and what is open is closed. Models
    with different rates hold back different amounts of audio; levels and windows are nevertheless decided in the order in which
    they end, so that the events and their order do not depend on the chunking.

    Attributes
    ----------
    next_sample
        Absolute index of the sample that is expected next; None before the first.
    levels
        The newest measured levels.
    windows, gaps, lost_samples
        Counted since the pipeline was made.
    """

    def __init__(self, stream: str, plan: StreamPlan, pool: ClassifierPool, *, origin: str = "") -> None:
        self.stream = stream
        self._plan = plan
        self._origin = origin
        self._restarts = 0
        self._furthest = 0
        self._waiting: list[_Waiting] = []
        self._lanes: dict[FrontEndSpec, Lane] = {}
        self._by_window: dict[tuple[FrontEndSpec, int], _Consumer] = {}
        self._anchor = Anchor()
        self._meter = Meter(stream, 1, 1)
        self._format: tuple[int, int] | None = None
        self.next_sample: int | None = None
        self.levels: Levels | None = None
        self.windows = 0
        self.gaps = 0
        self.lost_samples = 0
        self._consumers = [_Consumer(model, pool.classifier(model), []) for model, _ in plan.models]
        self._renew_policies()

    def push(self, run: Run) -> list[Event]:
        """Take the next contiguous samples and return the events that they give rise to."""
        audio_format = (run.sample_rate, run.samples.shape[1])
        begins = self._format != audio_format
        events = self._stamped(self._before(run, begins=begins))
        if run.first_sample < self._furthest:
            self._restarts += 1
            self._renew_policies()
        self._furthest = run.end_sample
        self._anchor.set(run.first_sample, run.captured_at, run.sample_rate)
        fresh: list[Event] = []
        if begins:
            self._begin(audio_format, run.first_sample)
            fresh.append(self._running(audio_format, run.first_sample))
        elif run.first_sample != self.next_sample:
            self._reset(run.first_sample)
        self.next_sample = run.end_sample
        for levels in self._meter.push(run.samples):
            self.levels = levels
            self._waiting.append(_Waiting(levels.end_sample, 0, levels))
        mono = down_mix(run.samples)
        for rank, (spec, lane) in enumerate(self._lanes.items(), 1):
            self._enqueue(rank, spec, lane.push(mono))
        fresh += self._decide(min([run.end_sample, *(lane.reached for lane in self._lanes.values())]))
        return events + self._stamped(fresh)

    def status(self, status: StreamStatus) -> list[Event]:
        """Turn a source's word on the stream's state into an event."""
        return [self._status(status.state, status.reason, dict(status.metadata))]

    def close(self, reason: str, *, flush: bool = False) -> list[Event]:
        """Close what is open. With ``flush`` the resampler's last samples are classified first, as at the end of a file."""
        if self._format is None or self.next_sample is None:
            return []
        events = self._finish(flush=flush)
        events += self._close_open(self.next_sample, reason)
        events.append(self._status("ended", reason, {}, self.next_sample))
        self._format = self.next_sample = None
        return self._stamped(events)

    def _before(self, run: Run, *, begins: bool) -> list[Event]:
        """Return what a change of format or a jump of the index means for that which came before it."""
        expected = self.next_sample
        if expected is None or (run.first_sample == expected and not begins):
            return []
        events = self._finish(flush=True)
        if begins:
            return [*events, *self._close_open(expected, "format changed")]
        if run.first_sample < expected:
            back = self._status("gap", f"the index went back from {expected} to {run.first_sample}", {}, expected)
            return [*events, *self._close_open(expected, "index went back"), back]
        missing = run.first_sample - expected
        self.gaps += 1
        self.lost_samples += missing
        facts = {"first_sample": expected, "end_sample": run.first_sample, "sample_rate": run.sample_rate}
        events.append(self._status("gap", f"{missing} samples are missing", facts, expected))
        for policy in self._policies():
            events += policy.gap(expected, run.first_sample)
        return events

    def _begin(self, audio_format: tuple[int, int], first_sample: int) -> None:
        self._format = audio_format
        rate, channels = audio_format
        self._meter = Meter(self.stream, rate, channels)
        self._lanes, self._by_window = {}, {}
        for consumer in self._consumers:
            spec = consumer.model.bundle.spec
            lane = self._lanes.setdefault(spec, Lane(self.stream, rate, spec))
            number = lane.add(consumer.model.bundle.manifest.window.n_frames, consumer.model.stride_frames)
            self._by_window[spec, number] = consumer
        self._reset(first_sample)

    def _reset(self, first_sample: int) -> None:
        self._meter.reset(first_sample)
        for lane in self._lanes.values():
            lane.reset(first_sample)

    def _enqueue(self, rank: int, spec: FrontEndSpec, windows: list[ModelWindow]) -> None:
        for entry in windows:
            self._waiting.append(
                _Waiting(entry.window.end_sample, rank, (self._by_window[spec, entry.consumer], entry.window))
            )

    def _finish(self, *, flush: bool) -> list[Event]:
        """Decide everything that still waits, with ``flush`` also what the resamplers hold back: the audio breaks off here."""
        if flush:
            for rank, (spec, lane) in enumerate(self._lanes.items(), 1):
                self._enqueue(rank, spec, lane.flush())
        return self._decide(None)

    def _decide(self, until: int | None) -> list[Event]:
        """Hand what ends at or before an index (None: everything) to the policies, in order of its end."""
        entries = sorted(self._waiting, key=lambda entry: (entry.end_sample, entry.rank))
        ready = len(entries) if until is None else sum(entry.end_sample <= until for entry in entries)
        self._waiting = entries[ready:]
        events: list[Event] = []
        for entry in entries[:ready]:
            if isinstance(entry.item, tuple):
                consumer, window = entry.item
                posterior = self._posterior(consumer, window)
                events += [event for policy in consumer.policies for event in policy.update(posterior)]
            else:
                events += [event for policy in self._policies() for event in policy.update(entry.item)]
        return events

    def _posterior(self, consumer: _Consumer, window: FeatureWindow) -> Posterior:
        self.windows += 1
        bundle = consumer.model.bundle
        return Posterior(
            self.stream,
            consumer.model.name,
            bundle.labels,
            bundle.calibration.posterior(consumer.classifier.logits(window)),
            window.first_sample,
            window.end_sample,
            window.sample_rate,
            window.level_dbfs,
        )

    def _policies(self) -> list[Policy]:
        return [policy for consumer in self._consumers for policy in consumer.policies]

    def _close_open(self, at: int, reason: str) -> list[Event]:
        """Close every policy and put a fresh one in its place: a closed one is not used again."""
        events = [event for policy in self._policies() for event in policy.close(at, reason)]
        self._renew_policies()
        return events

    def _renew_policies(self) -> None:
        # An index that starts over would give different findings the same id.
        origin = f"{self._origin}+{self._restarts}" if self._restarts else self._origin
        for consumer, (model, components) in zip(self._consumers, self._plan.models, strict=True):
            consumer.policies = [
                part.component(part.config, PolicyContext(part.name, self.stream, model.info, origin))
                for part in components
            ]

    def _running(self, audio_format: tuple[int, int], first_sample: int) -> Event:
        rate, channels = audio_format
        models = [
            {"name": c.model.name, "version": c.model.info.version, "sha256": c.model.bundle.digest}
            for c in self._consumers
        ]
        facts = {
            "sample_rate": rate,
            "channels": channels,
            "first_sample": first_sample,
            "models": models,
            "tags": self._plan.tags,
        }
        return self._status(
            "running", f"{rate} Hz, {channels} channel{'s' if channels > 1 else ''}", facts, first_sample
        )

    def _status(self, state: str, reason: str, facts: dict[str, Any], sample: int | None = None) -> Event:
        first = {"state": state, "reason": reason}
        return Event(
            "stream.status", self.stream, first | facts | first, sample=sample
        )  # a source's facts replace neither

    def _stamped(self, events: list[Event]) -> list[Event]:
        stamped = []
        for event in events:
            data, time = self._anchor.stamp(event)
            stamped.append(replace(event, data=data, time=time))
        return stamped
