from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import chunkings, noise, pieces

from streamcls.audio import Meter
from streamcls.audio.meter import to_dbfs

RATE = 1000


def test_a_full_scale_sine_and_a_square_have_their_textbook_levels() -> None:
    time = np.arange(RATE) / RATE
    sine = np.sin(2 * np.pi * 10 * time + 0.1)
    samples = np.stack([sine, 0.5 * np.sign(sine), np.zeros(RATE)], axis=1).astype(np.float32)
    (levels,) = Meter("s", RATE, 3).push(samples)
    assert levels.rms_dbfs == (pytest.approx(-3.01, abs=0.01), pytest.approx(-6.02, abs=0.01), -120.0)
    assert levels.peak_dbfs == (pytest.approx(0.0, abs=0.05), pytest.approx(-6.02, abs=0.01), -120.0)
    assert (levels.stream, levels.first_sample, levels.end_sample, levels.sample_rate) == ("s", 0, RATE, RATE)


@settings(max_examples=40, deadline=None)
@given(sizes=chunkings(2500), first=st.integers(0, 5000))
def test_levels_do_not_depend_on_the_chunking(sizes: list[int], first: int) -> None:
    samples = noise(5 * RATE, channels=2)
    whole, streamed = Meter("s", RATE, 2), Meter("s", RATE, 2)
    whole.reset(first)
    streamed.reset(first)
    expected = whole.push(samples)
    assert [levels for piece in pieces(samples, sizes) for levels in streamed.push(piece)] == expected
    assert [levels.first_sample for levels in expected] == [
        k * RATE for k in range(-(-first // RATE), (first + 5 * RATE) // RATE)
    ]


def test_an_interval_that_a_gap_cuts_is_not_reported() -> None:
    meter = Meter("s", RATE, 1)
    ones = np.ones((RATE, 1), np.float32)
    assert meter.push(ones[:900]) == []
    meter.reset(1500)
    assert meter.push(ones) == []
    (levels,) = meter.push(ones)
    assert (levels.first_sample, levels.end_sample) == (2000, 3000)


def test_decibels_have_a_floor() -> None:
    assert to_dbfs(1.0) == 0.0
    assert to_dbfs(0.1) == pytest.approx(-20.0)
    assert to_dbfs(0.0) == -120.0
    assert to_dbfs(1e-9) == -120.0
