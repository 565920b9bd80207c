from __future__ import annotations

import io

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streamcls.audio.capture import CaptureRing, ClipBuffer, PcmArray, Stretch, to_s16
from streamcls.audio.flac import MOST_CHANNELS, encode_flac
from streamcls.errors import AudioError

CAPACITY = 500
CHANNELS = 2


def samples_at(first: int, n: int) -> PcmArray:
    """Return samples that tell their own index, and are never zero."""
    index = np.arange(first, first + n)
    return np.stack([index % 30_000 + 1, -(index % 30_000) - 1], axis=1).astype(np.int16)


def check(stretch: Stretch | None, held: set[int], first: int, end: int) -> None:
    """Compare a stretch with the indices that should be in it."""
    inside = sorted(index for index in held if first <= index < end)
    if not inside:
        assert stretch is None
        return
    assert stretch is not None
    assert (stretch.first_sample, stretch.end_sample) == (inside[0], inside[-1] + 1)
    expected = samples_at(stretch.first_sample, len(stretch.samples))
    missing = np.array([index not in held for index in range(stretch.first_sample, stretch.end_sample)])
    expected[missing] = 0
    np.testing.assert_array_equal(stretch.samples, expected)
    told = {index for a, b in stretch.gaps for index in range(a, b)}
    assert told == {stretch.first_sample + int(at) for at in np.flatnonzero(missing)}
    assert all(a < b for a, b in stretch.gaps)


class RingAgainstSet(RuleBasedStateMachine):
    """The ring holds the newest indices, each sample in its place, and knows which are missing."""

    def __init__(self) -> None:
        super().__init__()
        self.ring = CaptureRing(CAPACITY, CHANNELS)
        self.held: set[int] = set()
        self.next = 0

    @rule(n=st.integers(0, 1_200), jump=st.sampled_from([0, 0, 0, 1, 37, 499, 500, 10_000]))
    def write(self, n: int, jump: int) -> None:
        first = self.next + jump
        self.ring.write(first, samples_at(first, n))
        if n:
            self.held |= set(range(first, first + n))
            self.next = first + n
            self.held = {index for index in self.held if index >= self.next - CAPACITY}

    @rule(back=st.integers(0, 700), length=st.integers(0, 900))
    def read(self, back: int, length: int) -> None:
        first = max(0, self.next - back)
        check(self.ring.read(first, first + length), self.held, first, first + length)

    @rule(back=st.integers(1, 50))
    def overlap_is_refused(self, back: int) -> None:
        if self.held and back <= self.next:
            with pytest.raises(ValueError, match="expected"):
                self.ring.write(self.next - back, samples_at(self.next - back, 3))

    @invariant()
    def ends_are_known(self) -> None:
        assert self.ring.first_sample == (min(self.held) if self.held else None)
        assert self.ring.end_sample == (max(self.held) + 1 if self.held else None)


TestRingAgainstSet = RingAgainstSet.TestCase


@given(
    chunks=st.lists(st.tuples(st.sampled_from([0, 0, 1, 20]), st.integers(0, 120)), max_size=20),
    begin=st.integers(0, 300),
    longest=st.integers(1, 400),
    end=st.integers(0, 900),
)
def test_a_clip_holds_exactly_what_was_delivered_from_its_beginning_on(
    chunks: list[tuple[int, int]], begin: int, longest: int, end: int
) -> None:
    buffer, held, at = ClipBuffer(begin, longest, CHANNELS), set(), 0
    for jump, n in chunks:
        at += jump
        buffer.add(at, samples_at(at, n))
        held |= set(range(at, at + n))
        at += n
    held = {index for index in held if begin <= index < begin + longest}
    check(buffer.stretch(end), held, begin, end)


def test_what_comes_twice_is_taken_once() -> None:
    buffer = ClipBuffer(10, 100, CHANNELS)
    buffer.add(0, samples_at(0, 40))
    buffer.add(20, samples_at(20, 40))
    buffer.add(5, samples_at(5, 20))
    check(buffer.stretch(1_000), set(range(10, 60)), 10, 1_000)


def test_audio_in_very_many_pieces_bounds_the_ring_and_fills_the_clip() -> None:
    ring, buffer = CaptureRing(100_000, 1), ClipBuffer(0, 100_000, 1)
    one = np.ones((1, 1), np.int16)
    for index in range(0, 6_000, 2):
        ring.write(index, one)
        buffer.add(index, one)
    held = ring.read(0, 6_000)
    assert held is not None
    assert len(held.gaps) == 999
    assert ring.end_sample == 5_999
    assert buffer.full
    clip = buffer.stretch(6_000)
    assert clip is not None
    assert len(clip.gaps) == 999


def test_every_16_bit_value_survives_floats() -> None:
    values = np.arange(-(1 << 15), 1 << 15, dtype=np.int32)
    floats = (values / (1 << 15)).astype(np.float32).reshape(-1, 1)
    np.testing.assert_array_equal(to_s16(floats)[:, 0], values)


def test_what_is_no_sample_or_too_loud_becomes_one() -> None:
    strange = np.array([[np.nan], [np.inf], [-np.inf], [5.0], [-5.0], [1.0]], np.float32)
    assert to_s16(strange)[:, 0].tolist() == [0, 32_767, -32_768, 32_767, -32_768, 32_767]


def decoded(file: bytes) -> tuple[PcmArray, int]:
    with av.open(io.BytesIO(file)) as container:
        frames = list(container.decode(audio=0))
    assert {frame.format.name for frame in frames} == {"s16"}
    channels = len(frames[0].layout.channels)
    return np.concatenate([frame.to_ndarray().reshape(-1, channels) for frame in frames]), frames[0].sample_rate


@pytest.mark.parametrize("channels", range(1, MOST_CHANNELS + 1))
@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_001, 192_000])
def test_flac_gives_back_every_sample_of_every_channel(channels: int, rate: int) -> None:
    samples = np.random.default_rng(rate).integers(-(1 << 15), 1 << 15, (9_001, channels)).astype(np.int16)
    back, back_rate = decoded(encode_flac(samples, rate, {"title": "radio-1: siren"}))
    np.testing.assert_array_equal(back, samples)
    assert back_rate == rate


def test_the_same_samples_give_the_same_file() -> None:
    samples = samples_at(0, 10_000)
    assert encode_flac(samples, 48_000) == encode_flac(samples.copy(), 48_000)


@pytest.mark.parametrize("n", [1, 15, 4_096, 4_097])
def test_a_clip_of_any_length_can_be_written(n: int) -> None:
    np.testing.assert_array_equal(decoded(encode_flac(samples_at(0, n), 8_000))[0], samples_at(0, n))


@pytest.mark.parametrize(("shape", "why"), [((10, 9), "9 channels"), ((0, 1), "no sample")])
def test_what_flac_cannot_hold_is_refused_with_the_reason(shape: tuple[int, int], why: str) -> None:
    with pytest.raises(AudioError, match=why):
        encode_flac(np.zeros(shape, np.int16), 8_000)
