"""What a test programme is made of: held-back clips by what is heard in them, drawn so that all are used before one returns."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.errors import TrainingError
from streamcls.training.features import mono_signal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streamcls.training.corpora import Clip
    from streamcls.training.recipe import Recipe
    from streamcls.types import FloatArray

__all__ = ["BED_LABELS", "Deck", "EventDeck", "Material", "SignalCache", "audible_part", "gather", "power_of"]

BED_LABELS: Final = frozenset({"music", "speech", "other", "silence", "noise"})
"""Labels of a recipe that name what a bed is made of; every other label of a moderation recipe names an event."""
_LABELS_OF_MUSIC: Final = "genre"
"""Task whose labels are all kinds of music."""
_SPEECH_FOUND: Final = "speech"
_SILENCE_FOUND: Final = "silence"
_AUDIBLE_DB: Final = 15.0
"""A frame is audible as part of an event where it comes that near to the loudest frame."""
_FRAME_S: Final = 0.01
_BRIDGE_S: Final = 1.0
"""A pause up to this long does not end an event."""
_CACHE_BYTES: Final = 1_536 << 20
_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Material:
    """Clips by what they are good for.

    Attributes
    ----------
    bed
        By kind: ``music``, ``speech`` and ``noise`` (every other sound that is no event).
    events
        By label.
    """

    bed: dict[str, list[Clip]] = field(default_factory=dict)
    events: dict[str, list[Clip]] = field(default_factory=dict)


def gather(clips: Iterable[Clip], recipe: Recipe, split: str) -> Material:
    """Sort the clips of one split by what is heard in them.

    A clip that may have an event in it (its label is unknown there) is used for nothing, and so is one with two events. Music is
    what has the label ``music`` or, in a recipe for genres, any label; also a clip of which nothing is known but that it may be
    music and has no event.

    Raises
    ------
    TrainingError
        The split has no usable clip.
    """
    genres = recipe.task == _LABELS_OF_MUSIC
    events = frozenset() if genres else frozenset(recipe.labels) - BED_LABELS
    material = Material(defaultdict(list), defaultdict(list))
    for clip in clips:
        if clip.split != split or clip.row is not None or events & set(clip.unknown):
            continue
        heard = events & set(clip.labels)
        if len(heard) == 1:
            material.events[next(iter(heard))].append(clip)
        elif not heard and (kind := _music_by_label(clip) if genres else _bed_kind(clip)):
            material.bed[kind].append(clip)
    if not material.bed and not material.events:
        raise TrainingError(f"the split {split!r} of {recipe.name} has no clip that a programme could be made of")
    return Material(dict(sorted(material.bed.items())), dict(sorted(material.events.items())))


def _bed_kind(clip: Clip) -> str:
    if clip.found == _SILENCE_FOUND:
        return ""
    if "speech" in clip.labels:
        return "speech"
    if "music" in clip.labels or (not clip.labels and "music" in clip.unknown):
        return "music"
    return "noise" if clip.labels == ("other",) else ""


def _music_by_label(clip: Clip) -> str:
    if clip.labels:
        return "music"
    if clip.unknown or clip.found == _SILENCE_FOUND:
        return ""
    return "speech" if clip.found.startswith(_SPEECH_FOUND) else "noise"


class Deck:
    """Clips in a random order; all are drawn before one is drawn again."""

    def __init__(self, clips: Sequence[Clip], rng: np.random.Generator) -> None:
        self._clips = list(clips)
        self._rng = rng
        self._left: list[Clip] = []

    def draw(self, found: str | None = None) -> Clip:
        """Draw the next clip; with ``found`` the next that the corpus calls so, where one is left."""
        if not self._left:
            self._left = [self._clips[i] for i in self._rng.permutation(len(self._clips))]
        place = 0
        if found is not None:
            place = next((i for i, clip in enumerate(self._left) if clip.found == found), 0)
        return self._left.pop(place)


class EventDeck:
    """Draws a label's recordings in turn, and each recording's clips in turn, so that one with fifty slices counts once."""

    def __init__(self, clips: Sequence[Clip], rng: np.random.Generator) -> None:
        groups: dict[str, list[Clip]] = defaultdict(list)
        for clip in clips:
            groups[clip.group].append(clip)
        self._decks = {group: Deck(members, rng) for group, members in groups.items()}
        self._turns = Deck([members[0] for members in groups.values()], rng)

    def draw(self) -> Clip:
        """Draw a clip."""
        return self._decks[self._turns.draw().group].draw()


class SignalCache:
    """Decoded clips at one rate, the most recently used, up to a gigabyte and a half: what a long programme comes back to."""

    def __init__(self, sample_rate: int, most_bytes: int = _CACHE_BYTES) -> None:
        self.sample_rate = sample_rate
        self._most = most_bytes
        self._bytes = 0
        self._signals: OrderedDict[str, FloatArray] = OrderedDict()

    def signal(self, clip: Clip) -> FloatArray:
        """Return a clip's mono signal, shape (n,)."""
        if clip.key in self._signals:
            self._signals.move_to_end(clip.key)
            return self._signals[clip.key]
        signal = mono_signal(clip.path, self.sample_rate)
        self._signals[clip.key] = signal
        self._bytes += signal.nbytes
        while self._bytes > self._most and len(self._signals) > 1:
            self._bytes -= self._signals.popitem(last=False)[1].nbytes
        return signal


def power_of(signal: FloatArray) -> float:
    """Return the mean square of a signal, 0 for an empty one."""
    return float(np.mean(np.square(signal, dtype=np.float64))) if len(signal) else 0.0


def audible_part(signal: FloatArray, sample_rate: int, within_db: float | None) -> tuple[int, int, float]:
    """Find the event in a clip: around its loudest 10 ms, all that comes within so many dB of them, pauses up to 1 s included.

    Parameters
    ----------
    signal
        Shape (n,).
    within_db
        As the corpus has it (see :class:`~streamcls.training.recipe.CorpusTable`); at most 15 dB are used.

    Returns
    -------
    first sample, end sample, and the mean power of the audible frames between them.
    """
    length = max(1, round(_FRAME_S * sample_rate))
    count = max(1, -(-len(signal) // length))
    padded = np.zeros(count * length, np.float32)
    padded[: len(signal)] = signal
    power: np.ndarray[Any, Any] = np.mean(np.square(padded.reshape(count, length), dtype=np.float64), axis=1)
    needed = max(float(power.max()), _TINY) * 10.0 ** (-min(within_db or _AUDIBLE_DB, _AUDIBLE_DB) / 10.0)
    loud = np.flatnonzero(power >= needed)
    if not len(loud):
        return 0, len(signal), power_of(signal)
    most = round(_BRIDGE_S / _FRAME_S)
    middle = int(np.searchsorted(loud, int(power.argmax())))
    breaks = np.flatnonzero(np.diff(loud) > most)
    first = int(breaks[breaks < middle].max()) + 1 if (breaks < middle).any() else 0
    last = int(breaks[breaks >= middle].min()) if (breaks >= middle).any() else len(loud) - 1
    inside = loud[first : last + 1]
    return int(inside[0]) * length, min((int(inside[-1]) + 1) * length, len(signal)), float(power[inside].mean())
