"""What a worker notes of its pace."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from streamcls.runtime.tally import ModelTally, StreamTally, TalliedClassifier, models_of

if TYPE_CHECKING:
    from streamcls.types import FloatArray


class Doubling:
    """A classifier that returns twice what it is given."""

    closed = False

    def logits(self, window: Any) -> FloatArray:
        return np.asarray(window * 2, np.float32)

    def close(self) -> None:
        self.closed = True


def test_a_classifier_is_counted_and_timed_and_otherwise_the_same() -> None:
    times = iter([1.0, 1.25, 2.0, 2.5])
    tally, inner = ModelTally(), Doubling()
    classifier = TalliedClassifier(inner, tally, lambda: next(times))
    for _ in range(2):
        assert classifier.logits(np.ones(3, np.float32)).tolist() == [2, 2, 2]  # type: ignore[arg-type]
    assert (tally.inferences, tally.seconds) == (2, 0.75)
    classifier.close()
    assert inner.closed


def test_models_are_added_up_over_workers() -> None:
    workers = [{"a": ModelTally(2, 0.5), "b": ModelTally(1, 0.25)}, {"a": ModelTally(3, 1.0)}]
    assert models_of(workers) == {
        "a": {"inferences": 5, "seconds": 1.5},
        "b": {"inferences": 1, "seconds": 0.25},
    }


def test_work_and_audio_are_added_up() -> None:
    tally = StreamTally()
    tally.note(0.5, 0, 10.0, 10.25)
    tally.note(0.5, 1, 11.0, 11.5)
    facts = tally.facts(windows=False)
    assert facts == {"audio_s": 1.0, "busy_s": 0.75}


def test_the_last_window_is_the_last_and_before_the_first_the_audio_counts() -> None:
    tally = StreamTally()
    tally.note(0.0, 0, 1.0, 1.0)  # a word of the source's, no audio
    assert "window_age_s" not in tally.facts(windows=True)
    tally.note(0.5, 0, 2.0, 2.0)
    assert tally.window_at == 2.0
    tally.note(0.5, 0, 3.0, 3.0)
    assert tally.window_at == 2.0
    tally.note(0.5, 2, 4.0, 4.0)
    assert tally.window_at == 4.0


def test_the_age_is_by_the_monotonic_clock() -> None:
    tally = StreamTally()
    began = time.monotonic()
    tally.note(0.5, 1, began, began)
    assert 0.0 <= tally.facts(windows=True)["window_age_s"] <= time.monotonic() - began + 0.001
    assert "window_age_s" not in tally.facts(windows=False)
