"""Training files as they are, and as broadcasting would alter them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.training.broadcast import change_speed, draw_chain, process
from streamcls.training.features import file_hash, mono_signal
from streamcls.training.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from streamcls.frontend import Frames
    from streamcls.training.broadcast import Chain
    from streamcls.training.corpora import Clip
    from streamcls.training.features import FeatureCache
    from streamcls.training.recipe_tables import BroadcastTable
    from streamcls.training.teacher import Teacher, TeacherTrack
    from streamcls.types import FloatArray, FrontEndSpec

__all__ = ["Rendition", "draw_rendition", "render_all"]

_SEED_DIGITS: Final = 16
"""Hexadecimal digits of a file's hash that take part in its seed."""
_DIGEST_DIGITS: Final = 16
_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Rendition:
    """How a file is altered: a stretch of it, at another speed, which a teacher hears too, then the chain, which it does not.

    Attributes
    ----------
    place
        Where the stretch lies in a file that is longer, 0 (its beginning) to 1 (its end).
    longest_s
        Length of the stretch in seconds.
    """

    speed: float
    chain: Chain
    place: float
    longest_s: float

    @property
    def performance(self) -> str:
        """A short hash of what is played."""
        return self._hash(self.speed, self.place, self.longest_s)

    @property
    def digest(self) -> str:
        """A short hash of what arrives."""
        return self._hash(self.speed, self.place, self.longest_s, self.chain.digest)

    @staticmethod
    def _hash(*values: float | str) -> str:
        return hashlib.sha256(repr(values).encode()).hexdigest()[:_DIGEST_DIGITS]

    def performed(self, path: Path, sample_rate: int) -> FloatArray:
        """Return the stretch at the changed speed, shape (n,): what is played."""
        signal = mono_signal(path, sample_rate)
        length = round(self.longest_s * sample_rate)
        first = round(self.place * max(len(signal) - length, 0))
        return change_speed(signal[first : first + length], self.speed)

    def received(self, path: Path, sample_rate: int) -> FloatArray:
        """Return what arrives after the chain, shape (n,)."""
        return process(self.chain, self.performed(path, sample_rate), sample_rate)


def draw_rendition(table: BroadcastTable, content: str, number: int) -> Rendition:
    """Draw a rendition of a file; the same for the same table, content (its hash) and number, whatever else is drawn."""
    rng = np.random.default_rng([table.seed, number, int(content[:_SEED_DIGITS], 16)])
    speed = round(float(np.exp(rng.uniform(-table.speed, table.speed))), 4)
    place = round(float(rng.random()), 4)
    return Rendition(speed, draw_chain(rng, share=table.share), place, table.longest_s)


def _activity(
    power: np.ndarray[Any, Any], rendition: Rendition, count: int, spec: FrontEndSpec, within_db: float | None
) -> np.ndarray[Any, Any]:
    """Return 1 for each frame of a rendition that is as loud in the file itself as a label needs, and 0 for the others.

    A compressor lifts what lies between the events, and a stretch may hold none: the rendition's own levels would tell nothing.

    Parameters
    ----------
    power
        Shape (n,): mean square of each frame of the file.
    """
    if within_db is None:
        return np.ones(count)
    hop_s = spec.hop_length / spec.sample_rate
    whole_s = len(power) * hop_s
    begin = rendition.place * max(whole_s - rendition.longest_s, 0.0) / hop_s
    index = np.clip(
        np.rint(begin + np.arange(count) * rendition.speed).astype(int) % max(len(power), 1), 0, len(power) - 1
    )
    needed = max(float(power.max()), _TINY) * 10.0 ** (-within_db / 10.0)
    return np.asarray(power[index] >= needed, np.float64)


def _count(clip: Clip, table: BroadcastTable) -> int:
    return table.renditions if clip.renditions is None else clip.renditions


def render_all(
    clips: Sequence[Clip], store: FeatureCache, teacher: Teacher | None, table: BroadcastTable
) -> Iterator[tuple[Clip, Frames, TeacherTrack | None]]:
    """Yield every rendition of every clip that has audio, with what the teacher says along it, showing progress on a terminal.

    Raises
    ------
    TrainingError
        A codec is missing.
    AudioError
        A file cannot be decoded.
    """
    counts = [0 if clip.row is not None else _count(clip, table) for clip in clips]
    numbers = range(1, max(counts, default=0) + 1)
    wanted = [
        (number, clip) for number in numbers for clip, count in zip(clips, counts, strict=True) if number <= count
    ]
    for number, clip in progress(wanted, "renditions", "clip"):
        content = file_hash(clip.path)
        rendition = draw_rendition(table, content, number)
        frames = store.frames_of(
            f"{content}-{rendition.digest}",
            lambda rate, r=rendition, c=clip: r.received(c.path, rate),  # type: ignore[misc]
        )
        track = None
        if teacher is not None:
            key = f"{content}-{rendition.performance}"
            track = teacher.track_of(key, lambda rate, r=rendition, c=clip: r.performed(c.path, rate))  # type: ignore[misc]
        activity = _activity(store.frames(clip.path).power, rendition, len(frames), store.spec, clip.active_within_db)
        yield clip, replace(frames, power=activity), track
