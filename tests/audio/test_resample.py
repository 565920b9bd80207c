from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import chunkings, noise, pieces

from streamcls.audio import Resampler

RATES = [8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000]
MODEL_RATES = [22050, 16000]


def _run(resampler: Resampler, signal: np.ndarray, sizes: list[int]) -> np.ndarray:
    return np.concatenate([*(resampler.push(piece) for piece in pieces(signal, sizes)), resampler.flush()])


@pytest.mark.parametrize("model_rate", MODEL_RATES)
@pytest.mark.parametrize("source_rate", RATES)
@settings(max_examples=12, deadline=None)
@given(sizes=chunkings(9600), first=st.integers(0, 2000))
def test_every_chunking_gives_the_same_bits(source_rate: int, model_rate: int, sizes: list[int], first: int) -> None:
    signal = noise(source_rate // 3)
    whole, streamed = Resampler(source_rate, model_rate), Resampler(source_rate, model_rate)
    assert whole.reset(first) == streamed.reset(first)
    expected = _run(whole, signal, [len(signal)])
    np.testing.assert_array_equal(_run(streamed, signal, sizes), expected)
    assert len(expected) > 0


@pytest.mark.parametrize(("source_rate", "model_rate"), [(44100, 22050), (48000, 16000), (8000, 22050)])
@settings(max_examples=10, deadline=None)
@given(sizes=chunkings(9600), mark=st.integers(1, 40_000))
def test_how_much_has_come_out_depends_only_on_how_much_went_in(
    source_rate: int, model_rate: int, sizes: list[int], mark: int
) -> None:
    whole, streamed = Resampler(source_rate, model_rate), Resampler(source_rate, model_rate)
    signal = noise(mark)
    assert sum(len(streamed.push(piece)) for piece in pieces(signal, sizes)) == len(whole.push(signal))


@pytest.mark.parametrize("model_rate", MODEL_RATES)
@pytest.mark.parametrize("source_rate", RATES)
@pytest.mark.parametrize("first", [0, 1, 12_345, 7_777_777])
def test_model_sample_m_is_the_source_at_m_times_the_ratio(source_rate: int, model_rate: int, first: int) -> None:
    """A sine keeps its phase on the absolute grid, wherever conversion begins."""
    hz, n = 1000.0, source_rate
    index = first + np.arange(n)
    resampler = Resampler(source_rate, model_rate)
    begin = resampler.reset(first)
    got = _run(resampler, np.sin(2 * np.pi * hz * index / source_rate).astype(np.float32), [n])
    assert (begin * source_rate) % model_rate == 0, "the first output coincides with a source sample"
    assert first <= begin * source_rate // model_rate < first + source_rate // np.gcd(source_rate, model_rate)
    expected = np.sin(2 * np.pi * hz * (begin + np.arange(len(got))) / model_rate)
    middle = slice(1000, len(got) - 1000)
    np.testing.assert_allclose(got[middle], expected[middle], atol=2e-3)


@settings(deadline=None)
@given(first=st.integers(0, 10**12), source_rate=st.sampled_from(RATES), model_rate=st.sampled_from(MODEL_RATES))
def test_a_reset_lands_on_the_next_common_sample_of_both_grids(first: int, source_rate: int, model_rate: int) -> None:
    begin = Resampler(source_rate, model_rate).reset(first)
    position, rest = divmod(begin * source_rate, model_rate)
    assert rest == 0
    step = source_rate // int(np.gcd(source_rate, model_rate))
    assert position % step == 0
    assert first <= position < first + step


@pytest.mark.parametrize(("source_rate", "model_rate"), [(44100, 22050), (48000, 22050), (8000, 16000), (11025, 16000)])
@pytest.mark.parametrize("n", [1, 100, 999, 10_000, 44_101])
def test_flush_delivers_the_rest_and_nothing_beyond_the_end(source_rate: int, model_rate: int, n: int) -> None:
    resampler = Resampler(source_rate, model_rate)
    resampler.reset(0)
    signal = noise(n)
    got = _run(resampler, signal, [n])
    assert len(got) == n * model_rate // source_rate
    reference = soxr.resample(signal, source_rate, model_rate, quality="HQ")
    np.testing.assert_array_equal(got, reference[: len(got)])


def test_flush_without_audio_gives_nothing_and_a_second_flush_nothing_more() -> None:
    resampler = Resampler(44100, 22050)
    assert len(resampler.flush()) == 0
    resampler.reset(0)
    resampler.push(noise(5000))
    assert len(resampler.flush()) > 0
    assert len(resampler.flush()) == 0


def test_a_reset_forgets_the_past() -> None:
    fresh, used = Resampler(48000, 22050), Resampler(48000, 22050)
    used.reset(0)
    used.push(noise(48000, seed=1))
    assert used.reset(320_000) == fresh.reset(320_000)
    signal = noise(24000, seed=2)
    np.testing.assert_array_equal(_run(used, signal, [480]), _run(fresh, signal, [24000]))


def test_equal_rates_pass_samples_untouched() -> None:
    resampler = Resampler(22050, 22050)
    assert resampler.reset(17) == 17
    signal = noise(1000)
    np.testing.assert_array_equal(_run(resampler, signal, [7]), signal)


def test_a_skip_may_stretch_over_many_small_chunks() -> None:
    resampler = Resampler(44100, 22050)
    assert resampler.reset(441) == 221  # source sample 442 is the next that lies on the model's grid
    assert len(resampler.push(np.ones(1, np.float32))) == 0
    resampler = Resampler(44100, 16000)
    begin = resampler.reset(1)
    assert begin == 160
    signal = noise(4410)
    aligned = Resampler(44100, 16000)
    aligned.reset(441)
    np.testing.assert_array_equal(_run(resampler, signal, [3]), _run(aligned, signal[440:], [4410]))


@pytest.mark.parametrize("source_rate", [8_000, 16_000, 32_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("origin", [0, 12_345])
def test_begun_anew_in_the_right_place_it_gives_the_same_bits(source_rate: int, origin: int) -> None:
    signal = noise(8 * source_rate)
    whole = Resampler(source_rate, 22_050)
    first = whole.reset(origin)
    converted = whole.push(signal)
    for seconds in (0.01, 3.3, 6.0):
        index = origin + round(seconds * source_rate)
        again = Resampler(source_rate, 22_050)
        begin = again.restart_at(origin, index)
        assert origin <= begin <= index
        shift = again.reset(begin) - first
        got = again.push(signal[begin - origin :])
        wanted = -(-index * 22_050 // source_rate) - first
        assert got[wanted - shift :].tobytes() == converted[wanted : shift + len(got)].tobytes()
        assert shift + len(got) == len(converted), "what is held back is the same as well"


def test_rates_whose_blocks_hardly_ever_meet_the_grid_begin_on_the_grid() -> None:
    signal = noise(60_000)
    whole, again = Resampler(22_051, 22_050), Resampler(22_051, 22_050)
    whole.reset(0)
    converted = whole.push(signal)
    begin = again.restart_at(0, 40_000)
    assert begin == 22_051
    shift = again.reset(begin)
    got = again.push(signal[begin:])
    n = min(len(got), len(converted) - shift)
    difference = np.abs(got[6_000:n] - converted[shift + 6_000 : shift + n])
    assert len(difference) > 10_000
    assert difference.max() < 1e-6


def test_equal_rates_begin_where_they_are_needed() -> None:
    resampler = Resampler(16_000, 16_000)
    assert resampler.restart_at(100, 5_000) == 5_000
    assert resampler.restart_at(100, 50) == 100
