"""Features of clips, by the very code that the daemon runs, kept on disk."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from streamcls.audio import Resampler, down_mix
from streamcls.audio.decode import decode_file
from streamcls.frontend import Frames, StreamingFrontEnd
from streamcls.training.precomputed import PrecomputedRows
from streamcls.training.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamcls.training.corpora import Clip
    from streamcls.types import FloatArray, FrontEndSpec

__all__ = [
    "FeatureCache",
    "default_cache",
    "file_hash",
    "frames_of_file",
    "frames_of_signal",
    "mono_signal",
    "repeat_to",
]

_HASH_BLOCK: Final = 1 << 20
_DIGEST_DIGITS: Final = 16
_FIELDS: Final = ("features", "mean", "mean_square", "power")


def default_cache() -> Path:
    """Return the folder in which features are kept: ``$XDG_CACHE_HOME/streamcls/features``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "streamcls" / "features"


def mono_signal(path: Path, sample_rate: int) -> FloatArray:
    """Decode a file, down-mix it and convert its rate, chunk by chunk as a stream: shape (n,), float32.

    Raises
    ------
    AudioError
        The file cannot be decoded.
    """
    parts: list[FloatArray] = []
    resampler: Resampler | None = None
    for chunk in decode_file(path, path.name):
        if resampler is None:
            resampler = Resampler(chunk.sample_rate, sample_rate)
            resampler.reset(0)
        parts.append(resampler.push(down_mix(chunk.samples)))
    if resampler is not None:
        parts.append(resampler.flush())
    return np.concatenate(parts)


def repeat_to(signal: FloatArray, length: int) -> FloatArray:
    """Repeat a signal, shape (n,), until it has at least ``length`` samples; a longer one is returned as it is."""
    if len(signal) >= length or not len(signal):
        return signal
    return np.tile(signal, -(-length // len(signal)))[:length]


def frames_of_signal(signal: FloatArray, spec: FrontEndSpec, least_frames: int = 0) -> Frames:
    """Compute the feature frames of a signal, shape (n,), with the streaming front end.

    Parameters
    ----------
    least_frames
        A shorter signal is repeated until it has that many.

    Returns
    -------
    Frames from index 0 on, not yet normalised.
    """
    if least_frames:
        signal = repeat_to(signal, (least_frames - 1) * spec.hop_length + spec.frame_length)
    return StreamingFrontEnd(spec).push(signal)


def frames_of_file(path: Path, spec: FrontEndSpec, least_frames: int = 0) -> Frames:
    """Compute the feature frames of a file; see :func:`frames_of_signal`."""
    return frames_of_signal(mono_signal(path, spec.sample_rate), spec, least_frames)


class FeatureCache:
    """Keeps features on disk, one file per front end and content of the audio file.

    A file that holds less than ``least_frames`` is repeated until it has that many; that is kept beside it under its own name.
    """

    def __init__(self, folder: Path, spec: FrontEndSpec, least_frames: int = 0) -> None:
        self.spec = spec
        self._least = least_frames
        self._folder = folder / spec.digest[:_DIGEST_DIGITS]
        self._precomputed: dict[Path, PrecomputedRows] = {}

    def frames(self, path: Path) -> Frames:
        """Return a file's frames, from the disk where they are there and whole."""
        return self.frames_of(file_hash(path), lambda rate: mono_signal(path, rate))

    def frames_of(self, key: str, signal: Callable[[int], FloatArray]) -> Frames:
        """Return the frames of a signal, made by ``signal(sample_rate)`` where they are not kept under the key."""
        frames = self._kept(key, signal, 0)
        return frames if len(frames) >= self._least else self._kept(f"{key}-{self._least}", signal, self._least)

    def _kept(self, key: str, signal: Callable[[int], FloatArray], least_frames: int) -> Frames:
        kept = self._folder / f"{key}.npz"
        try:
            with kept.open("rb") as file, np.load(file, allow_pickle=False) as data:
                return Frames(0, *(data[name] for name in _FIELDS))
        except (OSError, KeyError, ValueError, zipfile.BadZipFile):
            frames = frames_of_signal(signal(self.spec.sample_rate), self.spec, least_frames)
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".part", delete=False) as part:
            np.savez(part, **{name: getattr(frames, name) for name in _FIELDS})
        Path(part.name).replace(kept)
        return frames

    def all_frames(self, clips: Sequence[Clip]) -> list[Frames]:
        """Return the frames of many clips in their order, with a progress bar on a terminal."""
        bar = progress(clips, "features", "clip")
        return [self.frames(clip.path) if clip.row is None else self._row(clip.path, clip.row) for clip in bar]

    def _row(self, path: Path, row: int) -> Frames:
        if path not in self._precomputed:
            self._precomputed[path] = PrecomputedRows(path)
        return self._precomputed[path].frames(row, self.spec)


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()
