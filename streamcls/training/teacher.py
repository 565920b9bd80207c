"""A teacher: a TFLite model of waveforms (YAMNet, say) whose posteriors become further targets of the network that is trained."""

from __future__ import annotations

import hashlib
import math
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.errors import TrainingError
from streamcls.training.features import file_hash, mono_signal, repeat_to
from streamcls.training.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamcls.training.corpora import Clip
    from streamcls.training.soft_labels import SoftLabels
    from streamcls.types import FloatArray

__all__ = ["Teacher", "TeacherTrack"]

STRIDE_S: Final = 0.5
_DIGEST_DIGITS: Final = 16


class TeacherTrack:
    """What the teacher says along one clip.

    Parameters
    ----------
    posteriors
        Shape (n, n_classes), 0 to 1; row ``i`` hears the ``window_s`` seconds from ``i * STRIDE_S`` on.
    window_s
        What the teacher hears at once, in seconds.
    """

    def __init__(self, posteriors: FloatArray, window_s: float) -> None:
        self._sums = np.concatenate(
            [np.zeros((1, posteriors.shape[1])), np.cumsum(posteriors, axis=0, dtype=np.float64)]
        )
        self._window_s = window_s

    def over(self, start_s: float, end_s: float) -> FloatArray:
        """Average what it says of the windows whose centre lies in a stretch of the clip, at least the nearest one."""
        last = len(self._sums) - 2
        half = self._window_s / 2
        first = min(max(math.ceil((start_s - half) / STRIDE_S), 0), last)
        end = min(max(math.floor((end_s - half) / STRIDE_S), 0), last) + 1
        if end <= first:
            first = min(max(round(((start_s + end_s) / 2 - half) / STRIDE_S), 0), last)
            end = first + 1
        mean: FloatArray = ((self._sums[end] - self._sums[first]) / (end - first)).astype(np.float32)
        return mean

    def mapped(self, soft: SoftLabels) -> TeacherTrack:
        """Return the scores of a recipe's labels along the clip."""
        return TeacherTrack(soft.scores(np.diff(self._sums, axis=0).astype(np.float32)), self._window_s)

    def moments(self, column: int, least: float) -> FloatArray:
        """Return the centres, in seconds, of the windows in which it gives a class at least so much."""
        found = np.flatnonzero(np.diff(self._sums[:, column]) >= least)
        return np.asarray(found * STRIDE_S + self._window_s / 2, np.float32)

    @property
    def mean(self) -> FloatArray:
        """Its mean over the whole clip, shape (n_classes,)."""
        return np.asarray(self._sums[-1] / (len(self._sums) - 1), np.float32)


class Teacher:
    """Runs the teacher over clips and keeps its posteriors on disk, one file per teacher and content of the audio file."""

    def __init__(self, model: Path, sample_rate: int, cache: Path) -> None:
        try:
            content = model.read_bytes()
        except OSError as error:
            raise TrainingError(f"distillation.teacher: {model} cannot be read: {error.strerror}") from error
        from ai_edge_litert.interpreter import Interpreter

        self._rate = sample_rate
        try:
            self._interpreter: Any = Interpreter(model_content=content, num_threads=1)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise TrainingError(f"distillation.teacher: {model} is no TensorFlow Lite model: {error}") from error
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]
        self._length = int(np.prod(self._input["shape"]))
        self.n_classes = int(self._output["shape"][-1])
        self._folder = cache / f"teacher-{hashlib.sha256(content).hexdigest()[:_DIGEST_DIGITS]}-{sample_rate}"

    def track(self, path: Path) -> TeacherTrack:
        """Return what the teacher says along a file."""
        return self.track_of(file_hash(path), lambda rate: mono_signal(path, rate))

    def track_of(self, key: str, signal: Callable[[int], FloatArray]) -> TeacherTrack:
        """Return what the teacher says along a signal, made by ``signal(sample_rate)`` where it is not kept under the key."""
        kept = self._folder / f"{key}.npz"
        window_s = self._length / self._rate
        try:
            with kept.open("rb") as file, np.load(file, allow_pickle=False) as data:
                return TeacherTrack(data["posteriors"], window_s)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile):
            posteriors = self._run(signal(self._rate)).astype(
                np.float16
            )  # as it is kept, so that a second run hears the same
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".part", delete=False) as part:
            np.savez_compressed(part, posteriors=posteriors)
        Path(part.name).replace(kept)
        return TeacherTrack(posteriors.astype(np.float32), window_s)

    def tracks(self, clips: Sequence[Clip]) -> list[TeacherTrack | None]:
        """Return the tracks of many clips in their order, None for one without audio, with a progress bar on a terminal."""
        bar = progress(clips, "teacher", "clip")
        return [self.track(clip.path) if clip.row is None else None for clip in bar]

    def _run(self, signal: FloatArray) -> FloatArray:
        signal = repeat_to(signal, self._length)
        rows = []
        for start in range(0, len(signal) - self._length + 1, round(STRIDE_S * self._rate)):
            window = signal[start : start + self._length].reshape(self._input["shape"])
            self._interpreter.set_tensor(self._input["index"], window)
            self._interpreter.invoke()
            rows.append(self._interpreter.get_tensor(self._output["index"]).reshape(-1).copy())
        return np.asarray(rows, np.float32)
