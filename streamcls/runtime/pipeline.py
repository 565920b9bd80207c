"""One stream, from samples to events. It has no threads and no clock: the same audio gives the same events, whoever drives it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from streamcls.audio import Meter, down_mix
from streamcls.interfaces import PolicyContext
from streamcls.runtime import announcing
from streamcls.runtime.agenda import Agenda
from streamcls.runtime.anchor import Anchor
from streamcls.runtime.consumer import Consumer
from streamcls.runtime.lanes import Lanes
from streamcls.runtime.memory import PipelineMemory
from streamcls.types import Event, Posterior

if TYPE_CHECKING:
    from streamcls.audio import Run
    from streamcls.config.resolve import ResolvedComponent
    from streamcls.interfaces import Classifier, Policy
    from streamcls.runtime.models import LoadedModel, StreamPlan
    from streamcls.types import FeatureWindow, Levels, StreamStatus

__all__ = ["ClassifierPool", "StreamPipeline"]


class ClassifierPool(Protocol):
    """Where a pipeline gets its classifiers: a worker's own, one per model, shared by its streams."""

    def classifier(self, model: LoadedModel) -> Classifier:
        """Return the worker's classifier for a model."""
        ...


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
        self._pool = pool
        self._origin = origin
        self._restarts = 0
        self._furthest = 0
        self._agenda = Agenda()
        self._lanes = Lanes(stream)
        self._anchor = Anchor()
        self._meter = Meter(stream, 1, 1)
        self._format: tuple[int, int] | None = None
        self._ended_format: tuple[int, int] | None = None
        self.next_sample: int | None = None
        self.levels: Levels | None = None
        self.windows = 0
        self.gaps = 0
        self.lost_samples = 0
        self._since = 0
        self._levels_decided = 0
        self._resumed_at: int | None = None
        self._unsound = self._flushed = False
        self._consumers = [Consumer(model, pool.classifier(model), parts, []) for model, parts in plan.models]
        self._renew_policies()

    def push(self, run: Run) -> list[Event]:
        """Take the next contiguous samples and return the events that they give rise to.

        Samples that are no numbers (a broken driver) are passed over, which is said once and shows as a gap.
        """
        if not np.isfinite(run.samples).all():
            return self._pass_over(run)
        self._unsound = False
        audio_format = (run.sample_rate, run.samples.shape[1])
        begins = self._format != audio_format
        if self._resumed_at is not None and self.next_sample is not None and not begins:
            if run.end_sample <= self.next_sample:
                return []
            run = _from(run, self.next_sample)
        events = self._stamped(self._before(run, begins=begins))
        events += self._stamped(self._placed(run, audio_format, begins=begins))
        known = min(len(run.samples), max(0, self._meter.next_sample - run.first_sample))
        for levels in self._meter.push(run.samples[known:]):
            self.levels = levels
            if levels.end_sample > self._levels_decided:
                self._agenda.add_levels(levels)
        self._agenda.add_windows(self._lanes.push(down_mix(run.samples), run.first_sample))
        return events + self._stamped(self._decide(self._lanes.reached(run.end_sample)))

    def _placed(self, run: Run, audio_format: tuple[int, int], *, begins: bool) -> list[Event]:
        """Take up the run's place in the index; return what is to be said of it."""
        if begins:
            self._resumed_at = None
        if run.first_sample < self._furthest and self._resumed_at is None:
            self._restarts += 1
            self._renew_policies()
            self._levels_decided = 0
            for consumer in self._consumers:
                consumer.decided = 0
        self._furthest = run.end_sample if self._resumed_at is None else max(self._furthest, run.end_sample)
        self._anchor.set(run.first_sample, run.captured_at, run.sample_rate)
        if begins:
            self._begin(audio_format, run.first_sample)
        elif run.first_sample != self.next_sample or self._flushed:
            self._reset(run.first_sample)
        self.next_sample = run.end_sample
        if self._resumed_at is not None and run.end_sample >= self._resumed_at:
            self._resumed_at = None
        return [self._running(audio_format, run.first_sample)] if begins else []

    def _pass_over(self, run: Run) -> list[Event]:
        told, self._unsound = self._unsound, True
        reason = f"samples from {run.first_sample} on are no numbers (NaN or infinity) and are passed over; see to the source"
        return [] if told else [self._status("gap", reason, {})]

    def status(self, status: StreamStatus) -> list[Event]:
        """Turn a source's word on the stream's state into an event."""
        return [self._status(status.state, status.reason, dict(status.metadata))]

    def close(self, reason: str, *, flush: bool = False, resumes: bool = False) -> list[Event]:
        """Close what is open.

        Parameters
        ----------
        flush
            Classify the resampler's last samples first, as at the end of a file.
        resumes
            What has not been classified yet is to be delivered again after a restart; else it breaks off here.
        """
        if self._format is None or self.next_sample is None:
            return []
        at = max(self.next_sample, self._furthest)
        events = self._finish(flush=flush)
        events += self._close_open(at, reason)
        events.append(self._status("ended", reason, {}, at))
        if not resumes:
            self._since = at
            self._decided_until(at)
        self._ended_format, self._format, self.next_sample, self._resumed_at = self._format, None, None, None
        return self._stamped(events)

    def remember(self) -> PipelineMemory | None:
        """Return what has to be kept over a restart for :meth:`resume`; None before the first sample."""
        audio_format = self._format or self._ended_format
        if audio_format is None:
            return None
        begins = self._lanes.begins(self._since, self._furthest)
        levels_begin = min(self._meter.begin_for(self._levels_decided, self._since), self._furthest)
        return PipelineMemory(
            sample_rate=audio_format[0],
            channels=audio_format[1],
            origin=self._origin,
            restarts=self._restarts,
            since=self._since,
            furthest=self._furthest,
            needed=min([self._furthest, levels_begin, *begins.values()]),
            decided={consumer.model.name: consumer.decided for consumer in self._consumers},
            levels_decided=self._levels_decided,
            levels_begin=levels_begin,
            begins=begins,
            windows=self.windows,
            gaps=self.gaps,
            lost_samples=self.lost_samples,
            begun=self._anchor.begun,
            policies=[memory for consumer in self._consumers for memory in consumer.remember()],
        )

    def resume(self, memory: PipelineMemory, run: Run) -> tuple[list[Event], set[tuple[str, str]]]:
        """Go on, in a new pipeline, where the one before was; ``run`` is what will be pushed first.

        Returns
        -------
        tuple
            The event that says so, and policy and model of each that goes on with what it had open.

        Raises
        ------
        ValueError
            It cannot; the pipeline begins anew, with other ids where the index goes back.
        """
        audio_format = (run.sample_rate, run.samples.shape[1])
        self._origin, self._restarts, self._furthest = memory.origin, memory.restarts, memory.furthest
        self.windows, self.gaps, self.lost_samples = memory.windows, memory.gaps, memory.lost_samples
        self._renew_policies()
        if audio_format != (memory.sample_rate, memory.channels):
            was = f"{memory.sample_rate} Hz with {memory.channels} channels"
            raise ValueError(f"it was {was} and is {run.sample_rate} Hz with {audio_format[1]}")
        if run.first_sample > memory.needed:
            raise ValueError(f"sample {memory.needed} is still needed, but it begins at {run.first_sample}")
        self._build(audio_format)
        self._lanes.restore(memory.begins, memory.needed)
        self._meter.reset(memory.levels_begin)
        self._since, self._levels_decided = memory.since, memory.levels_decided
        for consumer in self._consumers:
            consumer.decided = memory.decided.get(consumer.model.name, memory.needed)
        self._resumed_at, self.next_sample = memory.furthest, memory.needed
        self._anchor.set(run.first_sample, run.captured_at, run.sample_rate)
        self._anchor.restore(memory.begun)
        kept = {key for consumer in self._consumers for key in consumer.restore(memory.policies, self._new_policy)}
        reason = f"resumed at sample {memory.furthest}"
        return self._stamped([self._running(audio_format, memory.furthest, reason)]), kept

    def pause(self, reason: str) -> list[Event]:
        """Decide what is there and close what is open: no audio comes for a while, and where it does again, the hole is a gap."""
        if self.next_sample is None:
            return []
        at, self._flushed = max(self.next_sample, self._furthest), True
        return self._stamped([*self._finish(flush=True), *self._close_open(at, reason)])

    def stretch(self, every: int, reason: str) -> list[Event]:
        """Classify only each how many-th window of each model's grid from now on (1: all); return what is to be said of it."""
        self._lanes.stretch(every)
        return self._stamped([self._status("running", reason, {"stride_factor": every}, self.next_sample)])

    def replan(self, plan: StreamPlan, reason: str) -> list[Event]:
        """Go over to another plan; what is the same in both goes on untouched.

        Models and policies that are not in it any more, or are others now, close what they have open. A new model begins with the
        frames that are there for its front end, so that no window is missing where it takes the place of another.
        """
        at = max(self.next_sample or 0, self._furthest)
        known = {consumer.model.name: consumer for consumer in self._consumers}
        consumers, changed, events = [], [], []
        for model, parts in plan.models:
            consumer = known.get(model.name)
            if consumer is None or consumer.model is not model:
                consumer = Consumer(model, self._pool.classifier(model), parts, [])
                changed.append(consumer)
            else:
                del known[model.name]
                events += consumer.replan(parts, at, reason, self._new_policy)
            consumers.append(consumer)
        for gone in known.values():
            events += [event for window in self._agenda.windows_of(gone) for event in self._classified(gone, window)]
            events += [event for policy in gone.policies for event in policy.close(at, reason)]
        for consumer in changed:  # the resamplers hold audio back: of the last there may be windows yet to come
            before = known.get(consumer.model.name)
            consumer.decided = max(self._lanes.reached(at), before.decided if before is not None else 0)
            consumer.policies = [self._new_policy(part, consumer.model) for part in consumer.components]
        self._plan, self._consumers = plan, consumers
        if self._format is None:
            return self._stamped(events)
        self._lanes.change(consumers, at)
        return self._stamped([*events, self._running(self._format, at, reason)])

    def abandon(self, reason: str) -> list[Event]:
        """Close what the policies have open, where the path to them has failed: nothing that waits is decided any more."""
        at = self.next_sample if self.next_sample is not None else self._furthest
        return self._stamped(self._close_open(at, reason))

    def _before(self, run: Run, *, begins: bool) -> list[Event]:
        """Return what a change of format or a jump of the index means for that which came before it."""
        expected = self.next_sample
        if expected is None:
            return self._unheard(run)
        if run.first_sample == expected and not begins:
            return []
        events = self._finish(flush=True)
        if begins:
            return [*events, *self._close_open(max(expected, self._furthest), "format changed")]
        if run.first_sample < expected:
            back = self._status("gap", f"the index went back from {expected} to {run.first_sample}", {}, expected)
            return [*events, *self._close_open(expected, "index went back"), back]
        events.append(self._gap(expected, run))
        if self._resumed_at is not None and expected < self._resumed_at:
            # It was there before the restart: this is not the audio that the policies remember.
            return [*events, *self._close_open(self._furthest, "daemon_lost")]
        for policy in self._policies():
            events += policy.gap(expected, run.first_sample)
        return events

    def _unheard(self, run: Run) -> list[Event]:
        """Return what is to be said of the time in which the source was lost, where the index has gone on meanwhile."""
        first = self._furthest
        if self._ended_format is None or run.first_sample <= first or self._ended_format[0] != run.sample_rate:
            return []
        return [self._gap(first, run, " while the source was lost")]

    def _gap(self, first_sample: int, run: Run, when: str = "") -> Event:
        self.gaps += 1
        self.lost_samples += run.first_sample - first_sample
        return announcing.gap(self.stream, first_sample, run.first_sample, run.sample_rate, when)

    def _begin(self, audio_format: tuple[int, int], first_sample: int) -> None:
        self._build(audio_format)
        self._reset(first_sample)

    def _build(self, audio_format: tuple[int, int]) -> None:
        self._format = audio_format
        rate, channels = audio_format
        self._meter = Meter(self.stream, rate, channels)
        self._lanes.build(rate, self._consumers)

    def _reset(self, first_sample: int) -> None:
        self._since, self._flushed = first_sample, False
        self._decided_until(first_sample)
        self._meter.reset(first_sample)
        self._lanes.reset(first_sample)

    def _finish(self, *, flush: bool) -> list[Event]:
        """Decide everything that still waits, with ``flush`` also what the resamplers hold back: the audio breaks off here."""
        if flush:
            self._agenda.add_windows(self._lanes.flush())
        return self._decide(None)

    def _decide(self, until: int | None) -> list[Event]:
        """Hand what ends at or before an index (None: everything) to the policies, in order of its end."""
        events: list[Event] = []
        for item in self._agenda.until(until):
            if isinstance(item, tuple):
                events += self._classified(*item)
            else:
                self._levels_decided = item.end_sample
                events += [event for policy in self._policies() for event in policy.update(item)]
        if until is not None:
            self._decided_until(until)
        return events

    def _decided_until(self, index: int) -> None:
        """Note that nothing that ends at or before an index is to be decided any more."""
        self._levels_decided = max(self._levels_decided, index)
        for consumer in self._consumers:
            consumer.decided = max(consumer.decided, index)

    def _classified(self, consumer: Consumer, window: FeatureWindow) -> list[Event]:
        """Put a window to a consumer's model, and the answer to its policies."""
        consumer.decided = window.end_sample
        self.windows += 1
        bundle = consumer.model.bundle
        posterior = Posterior(
            self.stream,
            consumer.model.name,
            bundle.labels,
            bundle.calibration.posterior(consumer.classifier.logits(window)),
            window.first_sample,
            window.end_sample,
            window.sample_rate,
            window.level_dbfs,
        )
        return [event for policy in consumer.policies for event in policy.update(posterior)]

    def _policies(self) -> list[Policy]:
        return [policy for consumer in self._consumers for policy in consumer.policies]

    def _close_open(self, at: int, reason: str) -> list[Event]:
        """Close every policy and put a fresh one in its place: a closed one is not used again."""
        events = [event for policy in self._policies() for event in policy.close(at, reason)]
        self._renew_policies()
        return events

    def _renew_policies(self) -> None:
        for consumer in self._consumers:
            consumer.policies = [self._new_policy(part, consumer.model) for part in consumer.components]

    def _new_policy(self, part: ResolvedComponent, model: LoadedModel) -> Policy:
        # An index that starts over would give different findings the same id.
        origin = f"{self._origin}+{self._restarts}" if self._restarts else self._origin
        policy: Policy = part.component(part.config, PolicyContext(part.name, self.stream, model.info, origin))
        return policy

    def _running(self, audio_format: tuple[int, int], first_sample: int, reason: str = "") -> Event:
        return announcing.running(self.stream, audio_format, first_sample, self._consumers, self._plan.tags, reason)

    def _status(self, state: str, reason: str, facts: dict[str, Any], sample: int | None = None) -> Event:
        return announcing.status(self.stream, state, reason, facts, sample)

    def _stamped(self, events: list[Event]) -> list[Event]:
        stamped = []
        for event in events:
            data, time = self._anchor.stamp(event)
            stamped.append(replace(event, data=data, time=time))
        return stamped


def _from(run: Run, first_sample: int) -> Run:
    """Return the part of a run from an index on; one that begins later as it is."""
    known = first_sample - run.first_sample
    if known <= 0:
        return run
    captured_at = run.captured_at + known / run.sample_rate if run.captured_at is not None else None
    return replace(run, samples=run.samples[known:], first_sample=first_sample, captured_at=captured_at)
