"""The streaming front end is bit for bit the same however its signal arrives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from signals import chunkings, noise, pieces, programme, real_signal

from streamcls.frontend import Frames, StreamingFrontEnd, Windower, windows_of
from streamcls.frontend.streaming import BLOCK
from streamcls.runtime.lane import Lane, ModelWindow
from streamcls.types import FrontEndSpec

SPECS = {
    "mfcc": FrontEndSpec(),
    "log-mel": FrontEndSpec(kind="log_mel", n_mels=128, normalise="window"),
    "short": FrontEndSpec(
        frame_length=400, hop_length=160, n_fft=512, n_mels=40, n_mfcc=13, power=1.0, mel_scale="htk"
    ),
    "odd": FrontEndSpec(
        frame_length=1001, hop_length=333, n_fft=1001, n_mels=33, n_mfcc=7, normalise="window", window="rectangular"
    ),
    "no-overlap": FrontEndSpec(frame_length=512, hop_length=512, n_fft=512, n_mels=32, n_mfcc=32),
    "waveform": FrontEndSpec(kind="waveform", frame_length=7800, hop_length=7800, n_fft=8192),
}
FIELDS = ("features", "mean", "mean_square", "power")


def _joined(parts: list[Frames]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([getattr(part, name) for part in parts]) for name in FIELDS}


def _assert_same(got: list[Frames], expected: Frames) -> None:
    got = [part for part in got if len(part)]
    assert sum(map(len, got)) == len(expected)
    position = expected.first
    for part in got:
        assert part.first == position
        position += len(part)
    if got:
        for name, value in _joined(got).items():
            np.testing.assert_array_equal(value, getattr(expected, name), err_msg=name)


@pytest.mark.parametrize("name", list(SPECS))
@settings(max_examples=10, deadline=None)
@given(sizes=chunkings(10 * 22_050), first=st.integers(0, 1 << 20))
@example(sizes=[1], first=0)
@example(sizes=[512], first=1)
@example(sizes=[10 * 22_050], first=513)
def test_any_chunking_from_any_index_gives_the_same_bits(name: str, sizes: list[int], first: int) -> None:
    spec = SPECS[name]
    signal = programme(22_050, 1.5 if sizes == [1] else 6.0)
    whole, streamed = StreamingFrontEnd(spec), StreamingFrontEnd(spec)
    whole.reset(first)
    streamed.reset(first)
    _assert_same([streamed.push(piece) for piece in pieces(signal, sizes)], whole.push(signal))


@settings(max_examples=10, deadline=None)
@given(sizes=chunkings(10 * 22_050))
def test_real_music_gives_the_same_bits_too(sizes: list[int]) -> None:
    signal = real_signal("gtzan_full30/classical/*.ogg", 10.0)
    spec = SPECS["mfcc"]
    _assert_same([StreamingFrontEnd(spec).push(signal)], (whole := StreamingFrontEnd(spec)).push(signal))
    assert len(whole.push(noise(0))) == 0
    streamed = StreamingFrontEnd(spec)
    _assert_same([streamed.push(piece) for piece in pieces(signal, sizes)], StreamingFrontEnd(spec).push(signal))


@pytest.mark.parametrize("name", list(SPECS))
@settings(max_examples=8, deadline=None)
@given(
    holes=st.lists(st.tuples(st.integers(0, 40_000), st.integers(1, 30_000)), min_size=1, max_size=3),
    sizes=chunkings(30_000),
)
def test_after_a_gap_frames_are_those_of_an_undisturbed_run_at_the_same_indices(
    name: str, holes: list[tuple[int, int]], sizes: list[int]
) -> None:
    spec = SPECS[name]
    signal = programme(22_050, 8.0)
    undisturbed = StreamingFrontEnd(spec).push(signal)
    front_end, position = StreamingFrontEnd(spec), 0
    for heard, lost in [*holes, (len(signal), 0)]:
        front_end.reset(position)
        stretch = signal[position : position + heard]
        for frames in [front_end.push(piece) for piece in pieces(stretch, sizes)]:
            part = slice(frames.first, frames.first + len(frames))
            assert frames.first * spec.hop_length >= position or not len(frames)
            for field in FIELDS:
                np.testing.assert_array_equal(getattr(frames, field), getattr(undisturbed, field)[part])
        position += heard + lost


def test_only_new_frames_are_transformed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    rfft = np.fft.rfft

    def counting(a: np.ndarray, *args: Any, **kwargs: Any) -> np.ndarray:
        rows.append(len(a))
        return rfft(a, *args, **kwargs)

    monkeypatch.setattr(np.fft, "rfft", counting)
    spec, signal = SPECS["mfcc"], noise(5 * 22_050)
    front_end = StreamingFrontEnd(spec)
    count = sum(len(front_end.push(piece)) for piece in pieces(signal, [700, 3, 9000]))
    assert sum(rows) == count == 1 + (len(signal) - 2048) // 512
    assert max(rows) <= BLOCK


def test_what_is_kept_between_pushes_is_less_than_a_frame() -> None:
    front_end = StreamingFrontEnd(SPECS["mfcc"])
    for piece in pieces(noise(3 * 22_050), [441]):
        front_end.push(piece)
        assert len(front_end._pending) < 2048


def _windows(lane: Lane, signal: np.ndarray, sizes: list[int]) -> list[ModelWindow]:
    windows = [window for piece in pieces(signal, sizes) for window in lane.push(piece)]
    return windows + lane.flush()


def _same_windows(got: list[ModelWindow], expected: list[ModelWindow]) -> None:
    got, expected = (
        sorted(side, key=lambda entry: (entry.window.first_sample, entry.consumer)) for side in (got, expected)
    )
    assert [(e.consumer, e.window.first_sample, e.window.end_sample) for e in got] == [
        (e.consumer, e.window.first_sample, e.window.end_sample) for e in expected
    ]
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_array_equal(ours.window.features, theirs.window.features)
        assert ours.window.level_dbfs == theirs.window.level_dbfs


def _lane(rate: int, spec: FrontEndSpec, first: int = 0) -> Lane:
    lane = Lane("s", rate, spec)
    assert (lane.add(20, 4), lane.add(33, 7)) == (0, 1)
    lane.reset(first)
    return lane


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("name", ["mfcc", "log-mel"])
@settings(max_examples=8, deadline=None)
@given(sizes=chunkings(48_000), first=st.integers(0, 10**7))
def test_windows_through_resampler_and_front_end_do_not_depend_on_the_chunking(
    name: str, rate: int, sizes: list[int], first: int
) -> None:
    signal = programme(rate, 3.0)
    expected = _windows(_lane(rate, SPECS[name], first), signal, [len(signal)])
    assert expected
    _same_windows(_windows(_lane(rate, SPECS[name], first), signal, sizes), expected)


@settings(max_examples=10, deadline=None)
@given(begin=st.integers(1, 60_000), sizes=chunkings(48_000))
def test_after_a_gap_windows_without_resampling_equal_those_of_an_undisturbed_run(begin: int, sizes: list[int]) -> None:
    spec, signal = SPECS["log-mel"], programme(22_050, 5.0)
    undisturbed = _windows(_lane(22_050, spec), signal, [len(signal)])
    late = _lane(22_050, spec)
    late.push(noise(777))
    late.reset(begin)
    expected = [entry for entry in undisturbed if entry.window.first_sample >= begin]
    _same_windows(_windows(late, signal[begin:], sizes), expected)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000])
@settings(max_examples=8, deadline=None)
@given(begin=st.integers(1, 60_000))
def test_after_a_gap_resampled_windows_lie_where_they_would_have_lain(rate: int, begin: int) -> None:
    spec, signal = SPECS["mfcc"], real_or_noise(rate)
    undisturbed = _windows(_lane(rate, spec), signal, [len(signal)])
    late = _windows(_lane(rate, spec, begin), signal[begin:], [4800])
    aligned = begin + rate // np.gcd(rate, 22_050) - 1
    where = [(e.consumer, e.window.first_sample, e.window.end_sample) for e in late]
    assert set(where) <= {(e.consumer, e.window.first_sample, e.window.end_sample) for e in undisturbed}
    missing = {
        (e.consumer, e.window.first_sample, e.window.end_sample) for e in undisturbed if e.window.first_sample > aligned
    } - set(where)
    assert not missing
    clear = {(e.consumer, e.window.first_sample): e.window.features for e in undisturbed}
    settled = [e for e in late if e.window.first_sample > aligned + rate // 20]
    for entry in settled:  # beyond the filter's reach the audio, and so the features, are the same
        np.testing.assert_allclose(entry.window.features, clear[entry.consumer, entry.window.first_sample], atol=0.05)


def real_or_noise(rate: int) -> np.ndarray:
    return noise(4 * rate)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
def test_a_window_states_the_source_samples_that_it_covers(rate: int) -> None:
    spec = SPECS["mfcc"]
    for entry in _windows(_lane(rate, spec), noise(3 * rate), [1000]):
        n_frames, stride = ((20, 4), (33, 7))[entry.consumer]
        window = entry.window
        seconds = ((n_frames - 1) * 512 + 2048) / 22_050
        assert window.end_sample - window.first_sample == pytest.approx(seconds * rate, abs=2)
        assert window.end_sample <= 3 * rate
        assert window.features.shape == (n_frames, 64)
        assert not window.features.flags.writeable
        grid = window.first_sample * 22_050 / rate / (512 * stride)
        assert abs(grid - round(grid)) < 2e-3
        assert (window.stream, window.sample_rate) == ("s", rate)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
@settings(max_examples=10, deadline=None)
@given(sizes=chunkings(9600), first=st.integers(0, 10**6))
def test_no_later_window_ends_at_or_before_what_a_lane_says_it_has_reached(
    rate: int, sizes: list[int], first: int
) -> None:
    lane = _lane(rate, SPECS["short"], first)
    position = first
    for piece in pieces(noise(rate), sizes):
        before = lane.reached
        assert before <= position + rate // np.gcd(rate, 22_050)
        windows = lane.push(piece)
        position += len(piece)
        # Where the model has the higher rate, several of its samples end at the same one of the source.
        assert all(before < entry.window.end_sample <= lane.reached + 1 for entry in windows)
    before = lane.reached
    assert before >= position - rate // 5
    assert all(before < entry.window.end_sample for entry in lane.flush())


def test_windows_of_a_whole_signal_are_those_of_the_stream() -> None:
    spec = SPECS["odd"]
    frames = StreamingFrontEnd(spec).push(noise(22_050))
    streamed = Windower(spec, 10, 3)
    parts = [
        Frames(frames.first + i, *(getattr(frames, name)[i : i + 1] for name in FIELDS)) for i in range(len(frames))
    ]
    got = [window for part in parts for window in streamed.push(part)]
    expected = windows_of(frames, spec, 10, 3)
    assert [w.first_frame for w in got] == [w.first_frame for w in expected] == list(range(0, len(frames) - 9, 3))
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_array_equal(ours.features, theirs.features)
