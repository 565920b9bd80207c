"""The plan of a test programme: what is heard when, drawn from a seed, before a sample of it exists."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from streamcls.audio.decode import duration_s
from streamcls.errors import TrainingError
from streamcls.training.programme.material import Deck, EventDeck, audible_part

if TYPE_CHECKING:
    from streamcls.training.corpora import Clip
    from streamcls.training.programme.material import Material, SignalCache

__all__ = ["EVENT_FADE_IN_S", "EVENT_FADE_OUT_S", "SAMPLE_RATE", "Layer", "Only", "Plan", "PlannedEvent", "ProgrammeOptions",
           "Segment", "Stretch", "plan_programme"]  # fmt: skip

Only: TypeAlias = Literal["", "music", "speech"]

SAMPLE_RATE: Final = 22_050
"""Of a programme, in hertz."""
BED_DBFS: Final = -23.0
"""Mean level of music and speech (the programme level of EBU R 128, taken as plain RMS)."""
_LEVEL_SPREAD_DB: Final = 3.0
_DUCKED_DB: Final = (-18.0, -10.0)
"""Level of music under speech, relative to the speech."""
_FLOOR_DBFS: Final = (-80.0, -55.0)
"""Level of the noise in a pause; half of the pauses are digital silence."""
_SHARES: Final = {"music": 0.60, "speech": 0.17, "speech_over_music": 0.10, "noise": 0.08, "silence": 0.05}
"""Share of the time of each kind of bed."""
_BLOCK_S: Final = {
    "music": (60.0, 300.0), "speech": (20.0, 120.0), "speech_over_music": (20.0, 90.0), "noise": (8.0, 30.0), "silence": (2.0, 12.0),
}  # fmt: skip
_EXCERPT_S: Final = {"music": (20.0, 150.0), "speech": (5.0, 40.0), "noise": (3.0, 15.0)}
_FADE_S: Final = {"music": (0.3, 2.5), "speech": (0.02, 0.05), "noise": (0.1, 0.5)}
_PAUSE_S: Final = (0.1, 0.7)
_SAME_GENRE: Final = 0.7
"""Chance that the next piece of a block is of the same genre as the one before."""
_STRETCH_S: Final = (120.0, 600.0)
_EVENT_MARGIN_S: Final = 5.0
_LONGEST_EVENT_S: Final = 8.0
_PRE_ROLL_S: Final = 0.05
_POST_ROLL_S: Final = 0.3
EVENT_FADE_IN_S: Final = 0.01
EVENT_FADE_OUT_S: Final = 0.2
_LEAST_S: Final = {"music": 5.0, "speech": 0.2, "noise": 1.0}
"""Shorter clips are left out."""


@dataclass(frozen=True, slots=True)
class ProgrammeOptions:
    """What a programme is to be.

    Attributes
    ----------
    split
        Whose clips are used.
    events_per_hour
        Of all labels together.
    snr_db
        Range of the events' level above the bed.
    spacing_s
        Least time from the end of an event to the onset of the next.
    only
        ``music`` or ``speech``: nothing but that, and no events.
    broadcast_share
        Chance of each stage of the broadcast chain that a stretch goes through; 0 for no chains.
    """

    hours: float = 12.0
    seed: int = 1
    split: str = "test"
    events_per_hour: float = 18.0
    snr_db: tuple[float, float] = (-3.0, 15.0)
    spacing_s: float = 10.0
    only: Only = ""
    broadcast_share: float = 0.5


@dataclass(frozen=True, slots=True)
class Layer:
    """One excerpt of one clip in the bed; noise of that level without a clip. In samples."""

    start: int
    length: int
    level_dbfs: float
    kind: str
    clip: Clip | None = None
    offset: int = 0
    fade_in: int = 0
    fade_out: int = 0

    @property
    def end(self) -> int:
        """Where it ends in the programme."""
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of the bed of one kind; ``label`` is what the corpus calls it (a genre, a sound), empty where not known."""

    start: int
    end: int
    kind: str
    label: str = ""
    clip: str = ""


@dataclass(frozen=True, slots=True)
class PlannedEvent:
    """An event that is mixed in. In samples of the programme, but for ``offset``, which is in samples of the clip.

    Attributes
    ----------
    start
        Where the excerpt begins, shortly before the onset.
    onset, end
        First and end sample of the audible event.
    power
        Mean square of the audible part in the clip.
    snr_db
        Wanted level of the audible part above the bed under it.
    """

    start: int
    length: int
    onset: int
    end: int
    label: str
    clip: Clip
    offset: int
    power: float
    snr_db: float


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the programme that goes through one broadcast chain."""

    start: int
    end: int


@dataclass(slots=True)
class Plan:
    """A whole programme."""

    options: ProgrammeOptions
    length: int
    layers: list[Layer] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    events: list[PlannedEvent] = field(default_factory=list)
    stretches: list[Stretch] = field(default_factory=list)


def plan_programme(material: Material, options: ProgrammeOptions, cache: SignalCache) -> Plan:
    """Draw a programme; the same material and options give the same plan.

    Raises
    ------
    TrainingError
        The material lacks what is asked for, or the events do not fit.
    """
    plan = Plan(options, round(options.hours * 3_600.0 * SAMPLE_RATE))
    rng = np.random.default_rng(options.seed)
    _Bed(plan, material, rng).fill()
    if not options.only and options.events_per_hour > 0:
        _place_events(plan, material, cache, rng)
    _cut_stretches(plan, rng)
    return plan


def _samples(rng: np.random.Generator, span_s: tuple[float, float]) -> int:
    return round(float(rng.uniform(*span_s)) * SAMPLE_RATE)


class _Bed:
    """Lays music, speech, other sounds and pauses one after the other until the programme is full."""

    def __init__(self, plan: Plan, material: Material, rng: np.random.Generator) -> None:
        self._plan, self._rng = plan, rng
        self._lengths: dict[str, int] = {}
        long = {kind: [c for c in clips if self._length(c) >= _least(kind)] for kind, clips in material.bed.items()}
        self._decks = {kind: Deck(clips, rng) for kind, clips in long.items() if clips}
        self._cursor = 0
        only = plan.options.only
        shares = {only: 1.0} if only else _SHARES
        usable = {kind: share for kind, share in shares.items() if all(part in self._decks for part in _parts(kind))}
        if not set(usable) - {"silence"}:
            wanted = only or "music, speech and other sounds"
            raise TrainingError(
                f"the split {plan.options.split!r} has no {wanted} to make a programme of; give it clips"
            )
        self._kinds = list(usable)
        rates = np.array([share / sum(_BLOCK_S[kind]) for kind, share in usable.items()])
        self._rates = rates / rates.sum()

    def fill(self) -> None:
        """Fill the plan."""
        plan, makers = self._plan, {"music": self._music, "speech": self._speech, "noise": self._noise}
        while self._cursor < plan.length:
            kind = self._kinds[int(self._rng.choice(len(self._kinds), p=self._rates))]
            length = min(_samples(self._rng, _BLOCK_S[kind]), plan.length - self._cursor)
            end = self._cursor + length
            if kind == "silence":
                self._silence(end)
            elif kind == "speech_over_music":
                self._over_music(end)
            else:
                makers[kind](end)
        plan.layers.sort(key=lambda layer: layer.start)
        plan.segments = [
            Segment(s.start, min(s.end, plan.length), s.kind, s.label, s.clip) for s in plan.segments if s.start < plan.length
        ]  # fmt: skip

    def _length(self, clip: Clip) -> int:
        if clip.key not in self._lengths:
            self._lengths[clip.key] = round((clip.seconds or duration_s(clip.path) or 0.0) * SAMPLE_RATE)
        return self._lengths[clip.key]

    def _lay(
        self, kind: str, start: int, most: int, level_dbfs: float, clip: Clip, *, fade_in: int = 0
    ) -> Layer:  # fmt: skip
        """Lay an excerpt of a clip; the next one begins where it fades out."""
        rng, have = self._rng, self._length(clip)
        length = min(have, max(min(_samples(rng, _EXCERPT_S[kind]), most), _least(kind)))
        offset = int(rng.integers(max(have - length, 0) + 1))
        fade_out = min(_samples(rng, _FADE_S[kind]), length // 3)
        layer = Layer(start, length, level_dbfs, kind, clip, offset, min(fade_in or fade_out, length // 3), fade_out)
        self._plan.layers.append(layer)
        return layer

    def _level(self) -> float:
        return BED_DBFS + float(
            np.clip(self._rng.normal(0.0, _LEVEL_SPREAD_DB), -2 * _LEVEL_SPREAD_DB, _LEVEL_SPREAD_DB)
        )

    def _pieces(self, kind: str, end: int, level_dbfs: float | None, segment_kind: str | None) -> None:
        """Lay clip after clip, cross-faded, from the cursor to about ``end``; a segment begins in the middle of each cross-fade."""
        at, fade, found = self._cursor, 0, None
        while at < end:
            clip = self._decks[kind].draw(found)
            found = clip.found if kind == "music" and self._rng.random() < _SAME_GENRE else None
            level = self._level() if level_dbfs is None else level_dbfs
            layer = self._lay(kind, at, end - at, level, clip, fade_in=fade)
            middle = layer.end - layer.fade_out // 2
            if segment_kind is not None:
                self._plan.segments.append(Segment(self._cursor, middle, segment_kind, clip.found, str(clip.path)))
                self._cursor = middle
            at, fade = layer.end - layer.fade_out, layer.fade_out

    def _music(self, end: int) -> None:
        self._pieces("music", end, None, "music")

    def _noise(self, end: int) -> None:
        self._pieces("noise", end, self._level(), "noise")

    def _speech(self, end: int, kind: str = "speech") -> None:
        start, at, level = self._cursor, self._cursor, self._level()
        while at < end:
            layer = self._lay("speech", at, end - at, level, self._decks["speech"].draw())
            at = layer.end + _samples(self._rng, _PAUSE_S)
        self._plan.segments.append(Segment(start, at, kind))
        self._cursor = at

    def _over_music(self, end: int) -> None:
        start = self._cursor
        self._speech(end, "speech_over_music")
        over, self._cursor = self._cursor, start
        self._pieces("music", over, BED_DBFS + float(self._rng.uniform(*_DUCKED_DB)), None)
        self._cursor = over

    def _silence(self, end: int) -> None:
        if self._rng.random() < 0.5:  # noqa: PLR2004 - one half is digital silence
            level = float(self._rng.uniform(*_FLOOR_DBFS))
            self._plan.layers.append(Layer(self._cursor, end - self._cursor, level, "silence"))
        self._plan.segments.append(Segment(self._cursor, end, "silence"))
        self._cursor = end


def _least(kind: str) -> int:
    return round(_LEAST_S[kind] * SAMPLE_RATE)


def _parts(kind: str) -> tuple[str, ...]:
    return {"speech_over_music": ("speech", "music"), "silence": ()}.get(kind, (kind,))


def _place_events(plan: Plan, material: Material, cache: SignalCache, rng: np.random.Generator) -> None:
    """Spread the events over the programme at random, no two nearer than the spacing; the labels take turns."""
    options = plan.options
    if not material.events:
        raise TrainingError(
            f"the split {options.split!r} has no clip of an event; make a programme without, or give it clips"
        )
    decks = {label: EventDeck(clips, rng) for label, clips in material.events.items()}
    labels: list[str] = []
    drawn: list[tuple[str, Clip, int, int, float]] = []
    for _ in range(round(options.events_per_hour * options.hours)):
        labels = labels or [list(decks)[i] for i in rng.permutation(len(decks))]
        label = labels.pop()
        clip = decks[label].draw()
        first, end, power = audible_part(cache.signal(clip), SAMPLE_RATE, clip.active_within_db)
        drawn.append((label, clip, first, min(end, first + round(_LONGEST_EVENT_S * SAMPLE_RATE)), power))
    margin, spacing = round(_EVENT_MARGIN_S * SAMPLE_RATE), round(options.spacing_s * SAMPLE_RATE)
    taken = sum(end - first + spacing for _, _, first, end, _ in drawn)
    free = plan.length - 2 * margin - taken
    if free < 0:
        raise TrainingError(
            f"{len(drawn)} events need {taken / SAMPLE_RATE:.0f} s of a programme of {plan.length / SAMPLE_RATE:.0f} s: "
            "ask for fewer, or a longer programme"
        )
    before = margin
    for (label, clip, first, end, power), place in zip(
        drawn, np.sort(rng.integers(free + 1, size=len(drawn))), strict=True
    ):
        onset = before + int(place)
        before += end - first + spacing
        lead = min(round(_PRE_ROLL_S * SAMPLE_RATE), first)
        length = min(end + round(_POST_ROLL_S * SAMPLE_RATE), len(cache.signal(clip))) - (first - lead)
        snr_db = float(rng.uniform(*options.snr_db))
        plan.events.append(
            PlannedEvent(onset - lead, length, onset, onset + end - first, label, clip, first - lead, power, snr_db)
        )


def _cut_stretches(plan: Plan, rng: np.random.Generator) -> None:
    """Cut the programme into stretches; a cut that would meet an event moves behind it."""
    start, margin = 0, SAMPLE_RATE
    shortest = round(_STRETCH_S[0] * SAMPLE_RATE) // 2
    while start < plan.length:
        end = start + _samples(rng, _STRETCH_S)
        for event in plan.events:
            if event.start - margin < end < event.start + event.length + margin:
                end = event.start + event.length + margin
        if plan.length - end < shortest:
            end = plan.length
        plan.stretches.append(Stretch(start, end))
        start = end
