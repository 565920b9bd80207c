"""Cuts the clips of one stream: it follows the stream's audio and its alerts, and hands over each clip when it is whole."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from streamcls.audio.capture import CaptureRing, ClipBuffer, to_s16
from streamcls.audio.flac import MOST_CHANNELS
from streamcls.bus.wire import rfc3339
from streamcls.runtime.anchor import Anchor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamcls.audio import Run
    from streamcls.audio.capture import Stretch
    from streamcls.config.schema import EvidenceSettings
    from streamcls.types import Event

__all__ = ["Clip", "ClipSink", "EvidenceRecorder"]

_log = logging.getLogger("streamcls.evidence")

_ALERT: Final = ".alert"
_COPIED: Final = (
    *("policy", "model", "model_version", "model_sha256", "front_end_sha256", "thresholds"),
    *("label", "first_sample", "sample_rate"),
)
_MOST_OPEN: Final = 16
"""Clips of one stream that may be recorded at a time."""


@dataclass(frozen=True, slots=True)
class Clip:
    """The audio around an alert.

    Attributes
    ----------
    alert
        What the alert said of itself: ``alert_id``, ``alert_kind``, ``label``, ``first_sample``, ``sample_rate`` and, where it told,
        ``policy``, ``model``, ``model_version``, ``model_sha256``, ``front_end_sha256``, ``thresholds``.
    time
        Unix time of the clip's first sample in seconds; None where the audio has no wall clock.
    reason
        Why it ends where it does.
    """

    stream: str
    alert: Mapping[str, Any]
    audio: Stretch
    time: float | None
    reason: str

    @property
    def nbytes(self) -> int:
        """Memory of its samples."""
        return int(self.audio.samples.nbytes)

    def facts(self) -> dict[str, Any]:
        """Return what a ``moderation.evidence`` event says of it, but for the file."""
        rate, audio = self.alert["sample_rate"], self.audio
        offset = self.alert["first_sample"] - audio.first_sample
        ended = self.time + len(audio.samples) / rate if self.time is not None else None
        return {
            **{name: value for name, value in self.alert.items() if name != "first_sample"},
            "channels": audio.samples.shape[1],
            "first_sample": audio.first_sample,
            "end_sample": audio.end_sample,
            "duration_s": round(len(audio.samples) / rate, 3),
            "offset_samples": offset,
            "offset_s": round(offset / rate, 6),
            "gaps": [{"first_sample": first, "end_sample": end} for first, end in audio.gaps],
            "reason": self.reason,
            "started_at": rfc3339(self.time) if self.time is not None else None,
            "ended_at": rfc3339(ended) if ended is not None else None,
        }


class ClipSink(Protocol):
    """Who keeps the clips. Called by the workers; it does not keep them waiting."""

    def opened(self, alert_id: str) -> None:
        """Learn that an alert goes on: what is kept of it is not removed."""
        ...

    def closed(self, alert_id: str) -> None:
        """Learn that it is over."""
        ...

    def offer(self, clip: Clip) -> bool:
        """Take a clip, or give it up, say so, and return False."""
        ...

    def waits(self, alert_id: str) -> bool:
        """Whether a clip of an alert was taken and is not on the disk yet."""
        ...

    def give_up(self, stream: str, alert_id: str, reason: str) -> None:
        """Learn, and say, that there is no clip of an alert."""
        ...


@dataclass(slots=True)
class _Recording:
    """The clip of one alert, until it is handed over.

    Attributes
    ----------
    begin
        Absolute index from which it is wanted.
    until
        One past the last sample wanted; None while the alert goes on.
    """

    alert: dict[str, Any]
    begin: int
    until: int | None = None
    buffer: ClipBuffer | None = None
    reason: str = "over"


@dataclass(slots=True)
class _Era:
    """The audio since the format last changed or the index last went back."""

    rate: int
    channels: int
    ring: CaptureRing | None
    anchor: Anchor = field(default_factory=Anchor)
    end_sample: int = 0


class EvidenceRecorder:
    """Driven by the stream's worker, run by run.

    ``push`` a run before the pipeline gets it, then ``observe`` the events that it gave; once those are published, together with the
    checkpoint that holds ``state()``, ``hand_over`` what is whole.

    A clip reaches from ``pre_s`` before the alert's beginning to ``post_s`` after its end, and has at most ``max_clip_s`` seconds.
    What is no longer held, or not yet there when the stream breaks off, is missing from it; a gap is filled with zeros and stated.
    """

    def __init__(self, stream: str, settings: EvidenceSettings, sink: ClipSink) -> None:
        self.stream = stream
        self._settings = settings
        self._sink = sink
        self._era: _Era | None = None
        self._next: tuple[Run, str] | None = None
        self._recordings: dict[str, _Recording] = {}
        self._whole: list[Clip] = []
        self._handed: dict[str, _Recording] = {}
        self._open: set[str] = set()
        self._restored_rate: int | None = None

    @property
    def needs_from(self) -> int | None:
        """Oldest sample of a clip that is not on the disk yet; None where there is none."""
        return min((recording.begin for recording in self._unwritten()), default=None)

    def push(self, run: Run) -> None:
        """Take the next contiguous samples."""
        self._turn()
        era = self._era
        if era is None:
            self._begin(run)
        elif (era.rate, era.channels) != (run.sample_rate, run.samples.shape[1]):
            self._next = (run, "format changed")
        elif run.first_sample < era.end_sample:
            self._next = (run, "index went back")
        else:
            self._take(era, run)

    def observe(self, events: Sequence[Event]) -> None:
        """Learn what the pipeline made of the last run, or of the stream's end."""
        for event in events:
            # Where the audio begins anew, what still belongs to the old comes before the word that says so.
            if event.kind == "stream.status":
                self._turn()
            if event.kind.endswith(_ALERT) and isinstance(event.data.get("id"), str):
                self._follow(event)
        self._turn()
        self._complete()

    def hand_over(self) -> None:
        """Give what is whole to the sink, after the events that it belongs to have been published."""
        whole, self._whole = self._whole, []
        for clip in whole:
            self._sink.offer(clip)

    def finish(self, reason: str) -> None:
        """Make every clip whole with what there is: the audio breaks off here. More may follow, with a gap or from another index."""
        for identifier in list(self._recordings):
            self._deliver(identifier, reason)
        for identifier in list(self._open):
            self._over(identifier)
        self._turn()

    def state(self) -> dict[str, Any]:
        """Return, as JSON values, which clips are not on the disk yet and which alerts go on; the audio is not in it."""
        recordings = [
            {"alert": r.alert, "begin": r.begin, "until": r.until, "reason": r.reason} for r in self._unwritten()
        ]
        rate = self._era.rate if self._era is not None else self._restored_rate
        return {"rate": rate, "open": sorted(self._open), "recordings": recordings}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with what ``state`` returned, before the first run; that one should begin at ``needs_from`` or earlier.

        Raises
        ------
        ValueError
            It is no such state.
        """
        try:
            recordings = [
                _Recording(dict(r["alert"]), int(r["begin"]), None if r["until"] is None else int(r["until"]))
                for r in state["recordings"]
            ]
            for recording, entry in zip(recordings, state["recordings"], strict=True):
                recording.reason = str(entry["reason"])
            identified = {str(recording.alert["alert_id"]): recording for recording in recordings}
            rate, still_open = state["rate"], {str(identifier) for identifier in state["open"]}
            complete = all(
                isinstance(r.alert[name], int) for r in recordings for name in ("first_sample", "sample_rate")
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"no state of a recorder of evidence: {error!r}") from error
        if not complete:
            raise ValueError("no state of a recorder of evidence: an alert lacks its samples")
        self._recordings, self._open, self._restored_rate = identified, still_open, rate
        for identifier in still_open:
            self._sink.opened(identifier)

    def _begin(self, run: Run) -> None:
        """Begin with an audio format."""
        channels, rate = run.samples.shape[1], run.sample_rate
        capacity = max(1, round(self._settings.capture_s * rate))
        ring = CaptureRing(capacity, channels) if channels <= MOST_CHANNELS else None
        if self._restored_rate not in (None, rate):
            _log.warning("stream %s goes on at %d Hz: clips begun at %s Hz end", self.stream, rate, self._restored_rate)
            self._recordings.clear()
        self._restored_rate = None
        self._era = _Era(rate, channels, ring)
        for recording in self._recordings.values():
            recording.buffer = self._buffer(recording.begin)
        self._take(self._era, run)

    def _take(self, era: _Era, run: Run) -> None:
        era.end_sample = run.end_sample
        era.anchor.set(run.first_sample, run.captured_at, run.sample_rate)
        if era.ring is None:
            return
        samples = to_s16(run.samples)
        era.ring.write(run.first_sample, samples)
        for recording in self._recordings.values():
            if recording.buffer is not None:
                recording.buffer.add(run.first_sample, samples)

    def _turn(self) -> None:
        """Leave the audio that is over behind and begin with what follows it, where that is due."""
        if self._next is None:
            return
        (run, reason), self._next = self._next, None
        self.finish(reason)
        self._begin(run)

    def _follow(self, event: Event) -> None:
        data, phase = event.data, event.data.get("phase")
        identifier = str(data["id"])
        if phase == "opened" and identifier not in self._open:
            self._open.add(identifier)
            self._sink.opened(identifier)
            if identifier not in self._recordings:
                self._record(event)
        elif phase == "closed":
            recording = self._recordings.get(identifier)
            if recording is not None and recording.until is None:
                end = max(int(data["end_sample"]), int(data["first_sample"]))
                recording.until = end + self._samples(self._settings.post_s)
                self._complete()
            self._over(identifier)

    def _record(self, event: Event) -> None:
        """Begin the clip of an alert with what the ring holds."""
        era, data, identifier = self._era, event.data, str(event.data["id"])
        if era is None or data.get("sample_rate") != era.rate:
            self._sink.give_up(self.stream, identifier, "none of its audio is held")
            return
        if era.ring is None:
            why = f"the stream has {era.channels} channels, and FLAC holds at most {MOST_CHANNELS}"
            self._sink.give_up(self.stream, identifier, why)
            return
        if len(self._recordings) >= _MOST_OPEN:
            self._sink.give_up(self.stream, identifier, f"{_MOST_OPEN} clips of the stream are being recorded already")
            return
        alert = {"alert_id": identifier, "alert_kind": event.kind}
        alert |= {name: data[name] for name in _COPIED if name in data}
        begin = max(0, int(data["first_sample"]) - self._samples(self._settings.pre_s))
        held = era.ring.read(begin, era.end_sample)
        begin = held.first_sample if held is not None else max(begin, era.end_sample)
        recording = _Recording(alert, begin, buffer=self._buffer(begin))
        self._recordings[identifier] = recording
        if held is not None and recording.buffer is not None:
            for first, end in _sound(held):
                recording.buffer.add(first, held.samples[first - begin : end - begin])

    def _unwritten(self) -> list[_Recording]:
        """Return what is lost in a crash unless it is recorded again."""
        waiting = {str(clip.alert["alert_id"]) for clip in self._whole}
        self._handed = {i: r for i, r in self._handed.items() if i in waiting or self._sink.waits(i)}
        return [*self._recordings.values(), *self._handed.values()]

    def _complete(self) -> None:
        """Find the clips that are whole."""
        era = self._era
        if era is None:
            return
        for identifier, recording in list(self._recordings.items()):
            buffer = recording.buffer
            if buffer is None:
                continue
            if recording.until is not None and recording.until <= min(era.end_sample, buffer.limit):
                self._deliver(identifier, recording.reason)
            elif buffer.limit <= era.end_sample:
                self._deliver(identifier, "max_clip_s")
            elif buffer.full:
                self._deliver(identifier, "gaps")

    def _deliver(self, identifier: str, reason: str) -> None:
        recording = self._recordings.pop(identifier)
        era, buffer = self._era, recording.buffer
        if era is None or buffer is None:
            return
        end = buffer.limit if recording.until is None else min(recording.until, buffer.limit)
        audio = buffer.stretch(end)
        if audio is None:
            self._sink.give_up(self.stream, identifier, "none of its audio is held")
            return
        self._whole.append(Clip(self.stream, recording.alert, audio, era.anchor.time_of(audio.first_sample), reason))
        # Recorded again after a crash, it is to be the same to the byte.
        self._handed[identifier] = _Recording(recording.alert, recording.begin, audio.end_sample, reason=reason)

    def _over(self, identifier: str) -> None:
        if identifier in self._open:
            self._open.remove(identifier)
            self._sink.closed(identifier)

    def _buffer(self, begin: int) -> ClipBuffer | None:
        if self._era is None or self._era.ring is None:
            return None
        return ClipBuffer(begin, self._samples(self._settings.max_clip_s), self._era.channels)

    def _samples(self, seconds: float) -> int:
        return round(seconds * self._era.rate) if self._era is not None else 0


def _sound(stretch: Stretch) -> list[tuple[int, int]]:
    """Return where a stretch has audio: what lies between its gaps."""
    edges = [stretch.first_sample, *(index for gap in stretch.gaps for index in gap), stretch.end_sample]
    return list(zip(edges[::2], edges[1::2], strict=True))
