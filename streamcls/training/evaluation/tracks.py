"""What a model says along whole clips, window by window."""

from __future__ import annotations

import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from streamcls.frontend import windows_of
from streamcls.training.features import FeatureCache, file_hash, frames_of_file
from streamcls.training.progress import progress
from streamcls.training.sampling import active_starts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamcls.frontend import Frames
    from streamcls.training.corpora import Clip
    from streamcls.training.evaluation.bootstrap import Array
    from streamcls.training.evaluation.candidates import Candidate
    from streamcls.types import FloatArray

__all__ = ["Judgements", "Track", "can_hear", "joined", "judge_all", "judge_frames"]

_DIGEST_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class Track:
    """What a model says along one clip.

    Attributes
    ----------
    values
        Posteriors, shape (n, n_labels), one column more for an exclusive model (see Candidate).
    start_s
        Shape (n,): where each window begins, in seconds from the clip's first sample.
    active
        Shape (n,): whether the window carries the clip's labels (see ``active_within_db`` of a corpus).
    """

    values: FloatArray
    start_s: Array
    active: Array
    window_s: float


@dataclass(frozen=True, slots=True)
class Judgements:
    """Posteriors of windows, clips or spans: ``values``, shape (n, n_labels), and ``clip_of``, shape (n,), the clip of each."""

    values: FloatArray
    clip_of: Array

    def __len__(self) -> int:
        return len(self.values)

    def of(self, clips: Array) -> Judgements:
        """Return those of some clips: a mask of clips, shape (n_clips,)."""
        kept = clips[self.clip_of]
        return Judgements(self.values[kept], self.clip_of[kept])

    def per_clip(self) -> Judgements:
        """Average them clip by clip: for labels that exclude each other."""
        clips, index = np.unique(self.clip_of, return_inverse=True)
        sums = np.zeros((len(clips), self.values.shape[1]))
        np.add.at(sums, index.reshape(-1), self.values)
        counts = np.bincount(index.reshape(-1), minlength=len(clips))
        return Judgements((sums / counts[:, None]).astype(np.float32), clips)

    def largest_per_clip(self) -> Judgements:
        """Take each label's largest posterior clip by clip: for labels that stand alone, and may be heard for a moment."""
        clips, index = np.unique(self.clip_of, return_inverse=True)
        largest = np.full((len(clips), self.values.shape[1]), -np.inf, np.float32)
        np.maximum.at(largest, index.reshape(-1), self.values)
        return Judgements(largest, clips)


def can_hear(candidate: Candidate, clip: Clip) -> bool:
    """Whether a model can be run on a clip: precomputed features serve no model of the waveform or of levels."""
    return clip.row is None or (candidate.spec.kind != "waveform" and candidate.spec.normalise == "window")


def judge_all(candidate: Candidate, clips: Sequence[Clip], cache: Path) -> list[Track]:
    """Run a model along clips, in their order, with a progress bar on a terminal.

    Outputs of a model of the waveform, which computes its own features, are kept in the cache; of others, the features are.
    """
    store = FeatureCache(cache, candidate.spec, candidate.n_frames)
    bar = progress(clips, candidate.name, "clip")
    return [_kept(candidate, clip, cache) if candidate.key else _judged(candidate, clip, store) for clip in bar]


def judge_frames(candidate: Candidate, frames: Frames, within_db: float | None) -> Track:
    """Run a model over frames."""
    outputs, start_s, active = _run(candidate, frames, within_db)
    return _track(candidate, outputs, start_s, active)


def joined(tracks: Sequence[Track], *, active: bool = True) -> Judgements:
    """Put the windows of many clips into one table; by default those that carry the clip's labels."""
    masks = [track.active if active else np.ones(len(track.active), bool) for track in tracks]
    values = np.concatenate([track.values[mask] for track, mask in zip(tracks, masks, strict=True)])
    return Judgements(values, np.repeat(np.arange(len(tracks)), [int(mask.sum()) for mask in masks]))


def _judged(candidate: Candidate, clip: Clip, store: FeatureCache) -> Track:
    (frames,) = store.all_frames([clip]) if clip.row is not None else (store.frames(clip.path),)
    return judge_frames(candidate, frames, clip.active_within_db)


def _kept(candidate: Candidate, clip: Clip, cache: Path) -> Track:
    within = "all" if clip.active_within_db is None else f"{clip.active_within_db:g}"
    folder = cache / f"outputs-{candidate.key[:_DIGEST_DIGITS]}"
    kept = folder / f"{file_hash(clip.path)}-{within}.npz"
    try:
        with kept.open("rb") as file, np.load(file, allow_pickle=False) as data:
            return _track(candidate, data["outputs"], data["start_s"], data["active"])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        frames = frames_of_file(clip.path, candidate.spec, candidate.n_frames)
        outputs, start_s, active = _run(candidate, frames, clip.active_within_db)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as part:
        np.savez_compressed(part, outputs=outputs, start_s=start_s, active=active)
    Path(part.name).replace(kept)
    return _track(candidate, outputs, start_s, active)


def _run(candidate: Candidate, frames: Frames, within_db: float | None) -> tuple[FloatArray, Array, Array]:
    windows = windows_of(frames, candidate.spec, candidate.n_frames, candidate.stride)
    first = np.array([window.first_frame for window in windows], np.int64)
    active = np.isin(first, active_starts(frames.power, candidate.n_frames, within_db))
    start_s = first * candidate.spec.hop_length / candidate.spec.sample_rate
    if not windows:
        return np.zeros((0, 0), np.float32), start_s, active
    return candidate.run(np.stack([window.features for window in windows])), start_s, active


def _track(candidate: Candidate, outputs: FloatArray, start_s: Array, active: Array) -> Track:
    width = len(candidate.labels) + candidate.exclusive
    values = candidate.read(outputs) if len(outputs) else np.zeros((0, width), np.float32)
    return Track(values, start_s, active, candidate.window_s)
