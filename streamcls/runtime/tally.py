"""What a worker notes of its pace: how old a stream's last window is, and what its models cost."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from streamcls.interfaces import Classifier
    from streamcls.types import FeatureWindow, FloatArray

__all__ = ["ModelTally", "StreamTally", "TalliedClassifier", "models_of"]

_LATELY: Final = 32
"""Windows over which it is told what one takes."""


@dataclass(slots=True)
class StreamTally:
    """Written by a stream's worker, read by any thread.

    Attributes
    ----------
    audio_s, busy_s
        Seconds of audio taken up, and of work on them: 1 s of audio in 0.02 s is a fiftieth of real time.
    window_at
        Monotonic time at which the last window was classified, before the first one that at which audio arrived.
    """

    audio_s: float = 0.0
    busy_s: float = 0.0
    window_at: float | None = None
    _windows: int = 0

    def note(self, audio_s: float, windows: int, began: float, now: float) -> None:
        """Note a piece of work: the audio in it, and the stream's windows up to now."""
        self.busy_s += now - began
        self.audio_s += audio_s
        if windows != self._windows or (audio_s and self.window_at is None):
            self._windows, self.window_at = windows, now

    def facts(self, *, windows: bool) -> dict[str, float]:
        """Return it for a heartbeat; the age of the last window only where models make ``windows``."""
        facts = {"audio_s": round(self.audio_s, 3), "busy_s": round(self.busy_s, 3)}
        if windows and self.window_at is not None:
            facts["window_age_s"] = round(max(0.0, time.monotonic() - self.window_at), 3)
        return facts


@dataclass(slots=True)
class ModelTally:
    """Windows put to a model by one worker, and the seconds that took; ``window_s``: what one takes of late."""

    inferences: int = 0
    seconds: float = 0.0
    window_s: float = 0.0

    def note(self, seconds: float) -> None:
        """Note a window."""
        self.inferences += 1
        self.seconds += seconds
        self.window_s += (seconds - self.window_s) / min(self.inferences, _LATELY)


class TalliedClassifier:
    """A classifier that counts."""

    def __init__(
        self, classifier: Classifier, tally: ModelTally, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._classifier = classifier
        self._tally = tally
        self._clock = clock

    def logits(self, window: FeatureWindow) -> FloatArray:
        """Ask the classifier."""
        began = self._clock()
        logits = self._classifier.logits(window)
        self._tally.note(self._clock() - began)
        return logits

    def close(self) -> None:
        """Free what it holds."""
        self._classifier.close()


def models_of(tallies: Iterable[Mapping[str, ModelTally]]) -> dict[str, Any]:
    """Add up what all workers noted, by model."""
    total: dict[str, ModelTally] = {}
    for tally in tallies:
        for name, one in list(tally.items()):
            all_of = total.setdefault(name, ModelTally())
            all_of.inferences += one.inferences
            all_of.seconds += one.seconds
    return {name: {"inferences": one.inferences, "seconds": round(one.seconds, 3)} for name, one in total.items()}
