from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from streamcls.audio import Resampler
from streamcls.audio.decode import read_file
from streamcls.errors import TrainingError
from streamcls.training.broadcast import (
    STAGES,
    Chain,
    Stage,
    change_pitch,
    change_speed,
    change_tempo,
    draw_chain,
    process,
)
from streamcls.training.broadcast.codecs import CODERS, Coder, transcode
from streamcls.training.broadcast.effects import add_noise, compress, equalise, limit_band, reverberate, rms

if TYPE_CHECKING:
    from pathlib import Path

RATE = 22_050
HOP = 512
LOUD = 0.1
CODECS = [(coder.name, kbit_s) for coder in CODERS.values() for kbit_s in (coder.kbit_s[0], coder.kbit_s[-1])]


@pytest.fixture(scope="module")
def music(data: Path) -> np.ndarray:
    """Ten seconds of a real recording, mono at 22 050 Hz."""
    path = min((data / "gtzan_full30" / "rock").iterdir())
    samples, rate = read_file(path)
    resampler = Resampler(rate, RATE)
    return np.concatenate([resampler.push(samples.mean(axis=1)), resampler.flush()])[: 10 * RATE].astype(np.float32)


def bursts(seconds: float = 4.0) -> np.ndarray:
    """Noise that comes and goes at irregular times: its position in time is plain."""
    rng = np.random.default_rng(1)
    signal = 0.002 * rng.standard_normal(round(seconds * RATE))
    for start in np.cumsum(rng.integers(3_000, 9_000, 40)):
        length = len(signal[start : start + 2_000])
        signal[start : start + 2_000] += LOUD * rng.standard_normal(length)
    return signal.astype(np.float32)


def lag(first: np.ndarray, second: np.ndarray, most: int = 4_000) -> int:
    """By how many samples the second signal comes after the first, from the peak of their cross-correlation."""
    size = 2 * len(first)
    product = np.fft.irfft(np.fft.rfft(second, size) * np.conj(np.fft.rfft(first, size)), size)
    return int(np.argmax(np.concatenate([product[-most:], product[:most]]))) - most


def one(name: str, **parameters: object) -> Chain:
    return Chain((Stage(name, parameters),))


def drawn(name: str, count: int = 4) -> list[Chain]:
    rng = np.random.default_rng(7)
    return [draw_chain(rng, stages=(name,), share=1.0) for _ in range(count)]


def gain_db(response: np.ndarray, hertz: float) -> float:
    """What a filter whose response to a unit impulse this is does to a frequency."""
    spectrum = np.abs(np.fft.rfft(response))
    return float(20 * np.log10(spectrum[round(hertz / RATE * len(response))] + 1e-9))


def impulse() -> np.ndarray:
    signal = np.zeros(2 * RATE, np.float32)
    signal[RATE] = 1.0
    return signal


def power_above(signal: np.ndarray, hertz: float) -> float:
    power = np.abs(np.fft.rfft(signal)) ** 2
    return float(power[round(hertz / RATE * len(signal)) :].sum() / power.sum())


def pitch(signal: np.ndarray) -> float:
    """The strongest frequency, in hertz."""
    spectrum = np.abs(np.fft.rfft(signal * np.hanning(len(signal))))
    return float(np.argmax(spectrum) * RATE / len(signal))


# Chains


def test_the_same_generator_draws_the_same_chain_and_another_one_another():
    first, again, other = (draw_chain(np.random.default_rng(seed), share=1.0) for seed in (3, 3, 4))
    assert first == again
    assert first.digest == again.digest
    assert first.digest != other.digest


def test_a_chain_describes_itself_in_json():
    chain = draw_chain(np.random.default_rng(0), share=1.0)
    described = json.loads(json.dumps(chain.describe()))
    assert described == chain.describe()
    assert [stage["stage"] for stage in described] == list(STAGES)


def test_a_digest_depends_on_each_parameter_and_on_the_order():
    chains = [
        one("gain", gain_db=-3.0),
        one("gain", gain_db=-3.001),
        Chain(()),
        Chain((Stage("gain", {"gain_db": -3.0}), Stage("codec", {"codec": "mp3", "kbit_s": 64}))),
        Chain((Stage("codec", {"codec": "mp3", "kbit_s": 64}), Stage("gain", {"gain_db": -3.0}))),
    ]
    assert len({chain.digest for chain in chains}) == len(chains)


def test_each_stage_is_drawn_as_often_as_its_share_says():
    rng = np.random.default_rng(11)
    chains = [draw_chain(rng, share=0.25) for _ in range(2_000)]
    for name in STAGES:
        share = np.mean([any(stage.name == name for stage in chain.stages) for chain in chains])
        assert abs(share - 0.25) < 0.04
    assert draw_chain(rng, share=0.0) == Chain(())


def test_only_the_stages_that_were_asked_for_are_drawn_and_in_the_order_of_a_broadcast():
    chain = draw_chain(np.random.default_rng(0), stages=("codec", "noise"), share=1.0)
    assert [stage.name for stage in chain.stages] == ["noise", "codec"]


def test_every_codec_channel_and_colour_is_drawn():
    for name, key, values in (
        ("codec", "codec", {"mp3", "aac", "opus"}),
        ("band_limit", "channel", {"am", "telephone", "dab", "fm"}),
        ("noise", "colour", {"white", "pink", "hum"}),
    ):
        assert {chain.stages[0].parameters[key] for chain in drawn(name, 60)} == values


@pytest.mark.parametrize(
    ("arguments", "says"), [({"stages": ("reverb",)}, "reverb.*reverberate"), ({"share": 1.5}, "share.*1.5")]
)
def test_a_chain_that_cannot_be_drawn_is_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        draw_chain(np.random.default_rng(0), **arguments)


# What all stages keep


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_keeps_length_and_finiteness_and_is_repeatable(name):
    signal = bursts(1.0)
    before = signal.copy()
    for chain in drawn(name):
        result = process(chain, signal, RATE)
        assert result.dtype == np.float32
        assert result.shape == signal.shape
        assert np.abs(result).max() <= 1.0
        assert not np.array_equal(result, signal)
        np.testing.assert_array_equal(result, process(chain, signal, RATE))
    np.testing.assert_array_equal(signal, before)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_moves_real_music_by_less_than_a_hop(name, music):
    for chain in drawn(name, 3):
        assert abs(lag(music, process(chain, music, RATE))) < HOP


def test_a_whole_chain_moves_nothing_by_a_hop():
    rng = np.random.default_rng(5)
    signal = bursts()
    for _ in range(4):
        assert abs(lag(signal, process(draw_chain(rng, share=1.0), signal, RATE))) < HOP


@pytest.mark.parametrize("length", [1, 3, 700])
@pytest.mark.parametrize("level", [0.0, 0.5, 40.0])
def test_short_silent_and_much_too_loud_signals_survive_every_stage(length, level):
    signal = np.full(length, level, np.float32)
    for name in STAGES:
        for chain in drawn(name):
            result = process(chain, signal, RATE)
            assert result.shape == signal.shape
            assert np.isfinite(result).all()
            assert np.abs(result).max() <= 1.0


def test_an_empty_chain_gives_a_copy():
    signal = bursts(0.1)
    result = process(Chain(()), signal, RATE)
    np.testing.assert_array_equal(result, signal)
    assert not np.shares_memory(result, signal)


@pytest.mark.parametrize(
    ("signal", "says"),
    [
        (np.zeros(0, np.float32), "empty"),
        (np.float32([0.0, np.nan, 0.0]), "not finite, the first is number 1"),
        (np.float32([np.inf]), "not finite"),
        (np.zeros((10, 2), np.float32), "mono"),
    ],
)
def test_a_signal_that_is_none_is_refused(signal, says):
    with pytest.raises(ValueError, match=says):
        process(Chain(()), signal, RATE)
    with pytest.raises(ValueError, match=says):
        change_speed(signal, 1.1)


# What each stage does


def test_an_equaliser_has_its_gains_at_its_frequencies_and_does_not_delay():
    response = equalise(impulse(), RATE, gains_db=(4.0, -8.0, 8.0, -8.0, 8.0, 0.0))
    assert int(np.argmax(np.abs(response))) == RATE
    for hertz, gain in ((180, -8.0), (540, 8.0), (1_620, -8.0), (4_860, 8.0)):
        assert abs(gain_db(response, hertz) - gain) < 0.7


def test_a_compressor_brings_loud_and_soft_nearer_to_each_other_and_reaches_its_loudness():
    signal = np.random.default_rng(0).standard_normal(4 * RATE).astype(np.float32) * np.float32(0.05)
    signal[2 * RATE :] *= 0.1
    squeezed = compress(signal, RATE, threshold_db=-35.0, ratio=4.0, attack_ms=5.0, release_ms=50.0, loudness_db=-18.0)
    before, after = (20 * np.log10(rms(s[:RATE]) / rms(s[-RATE:])) for s in (signal, squeezed))
    assert abs(before - 20.0) < 0.5
    # 18 dB above the threshold become 4.5; the soft half lies below it.
    assert 4.0 < after < 9.0
    assert abs(20 * np.log10(rms(squeezed)) + 18.0) < 0.5
    assert np.abs(squeezed).max() <= 10 ** (-1 / 20) + 1e-6


@pytest.mark.parametrize("rt60_s", [0.3, 1.0])
def test_a_room_decays_by_sixty_decibels_in_its_reverberation_time(rt60_s):
    response = reverberate(impulse(), RATE, rt60_s=rt60_s, pre_delay_ms=10.0, wet=0.4, seed=3)
    assert abs(response[RATE] - 0.6) < 0.01
    assert np.abs(response[RATE + 1 : RATE + 200]).max() < 1e-6
    tail = response[RATE + 220 : RATE + round(0.9 * rt60_s * RATE)]
    tenth = len(tail) // 10
    fall = 20 * np.log10(rms(tail[:tenth]) / rms(tail[-tenth:]))
    seconds = (len(tail) - tenth) / RATE
    assert abs(fall / seconds * rt60_s - 60.0) < 6.0


def test_a_telephone_keeps_its_band_and_loses_the_rest():
    response = limit_band(impulse(), RATE, low_hz=300.0, high_hz=3_400.0)
    assert abs(gain_db(response, 1_000)) < 0.5
    assert abs(gain_db(response, 3_400) + 3.0) < 0.5
    assert gain_db(response, 75) < -20
    assert gain_db(response, 6_800) < -45


def test_a_channel_wider_than_the_signal_leaves_the_treble():
    response = limit_band(impulse(), RATE, low_hz=30.0, high_hz=15_000.0)
    assert abs(gain_db(response, 10_500)) < 0.1


@pytest.mark.parametrize("colour", ["white", "pink", "hum"])
def test_noise_is_as_far_below_the_signal_as_was_asked(colour):
    signal = bursts()
    noise = add_noise(signal, RATE, colour=colour, snr_db=20.0, seed=1) - signal
    assert abs(20 * np.log10(rms(signal) / rms(noise)) - 20.0) < 0.1


def test_noises_have_their_colours_and_differ_by_seed():
    signal = bursts()
    white, pink, hum = (
        add_noise(signal, RATE, colour=colour, snr_db=15.0, seed=1) - signal for colour in ("white", "pink", "hum")
    )
    assert abs(power_above(white, RATE / 4) - 0.5) < 0.02
    assert 0.05 < power_above(pink, RATE / 4) < 0.2
    assert power_above(hum, 450) < 0.001
    for colour in ("white", "pink", "hum"):
        first, other = (add_noise(signal, RATE, colour=colour, snr_db=15.0, seed=seed) for seed in (1, 2))
        assert not np.allclose(first, other)


def test_a_gain_is_exact_below_full_scale_and_limited_above_it():
    signal = bursts()
    np.testing.assert_allclose(process(one("gain", gain_db=-20.0), signal, RATE), signal * 0.1, rtol=1e-5)
    loud = signal / np.abs(signal).max()
    raised = process(one("gain", gain_db=6.0), loud, RATE)
    assert np.abs(raised).max() <= 1.0
    assert rms(raised) > 1.3 * rms(loud)


@pytest.mark.parametrize(("codec", "kbit_s"), CODECS)
def test_a_codec_changes_music_without_moving_it(codec, kbit_s, music):
    decoded = process(one("codec", codec=codec, kbit_s=kbit_s), music, RATE)
    assert abs(lag(music, decoded)) <= 1
    error = rms(decoded - music) / rms(music)
    assert 0.01 < error < 0.6


@pytest.mark.parametrize("codec", list(CODERS))
def test_a_lower_bit_rate_costs_more_of_the_music(codec, music):
    rates = CODERS[codec].kbit_s
    low, high = (rms(transcode(music, RATE, CODERS[codec], kbit_s) - music) for kbit_s in (rates[0], rates[-1]))
    assert low > 1.2 * high


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("codec", list(CODERS))
def test_a_codec_takes_every_rate(codec, rate):
    signal = bursts(1.0)
    decoded = transcode(signal, rate, CODERS[codec], 64)
    assert decoded.shape == signal.shape
    assert abs(lag(signal, decoded)) <= 1


def test_an_encoder_that_ffmpeg_lacks_is_named_with_what_to_do():
    absent = Coder("fdk-aac", "libfdk_aac_absent", "fltp", (64,))
    with pytest.raises(TrainingError, match=r"fdk-aac.*libfdk_aac_absent.*pip install"):
        transcode(bursts(0.1), RATE, absent, 64)


@pytest.mark.parametrize(
    ("chain", "error", "says"),
    [
        (one("codec", codec="vorbis", kbit_s=64), TrainingError, "vorbis.*mp3"),
        (one("gain", decibels=3.0), TrainingError, "gain.*decibels"),
        (one("reverb"), ValueError, "reverb"),
        (
            one("compress", threshold_db=-90.0, ratio=4, attack_ms=5, release_ms=50, loudness_db=-20),
            TrainingError,
            "acompressor",
        ),
    ],
)
def test_a_stage_that_cannot_work_is_named(chain, error, says):
    with pytest.raises(error, match=says):
        process(chain, bursts(0.1), RATE)


# Speed


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_changed_speed_changes_length_and_pitch(factor):
    tone = np.sin(2 * np.pi * 1_000 * np.arange(2 * RATE) / RATE).astype(np.float32)
    played = change_speed(tone, factor)
    assert abs(len(played) - len(tone) / factor) <= 1
    assert abs(pitch(played) - 1_000 * factor) < 2


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_changed_tempo_changes_the_length_alone(factor):
    tone = np.sin(2 * np.pi * 1_000 * np.arange(2 * RATE) / RATE).astype(np.float32)
    played = change_tempo(tone, RATE, factor)
    assert abs(len(played) - len(tone) / factor) <= 1
    assert abs(pitch(played) - 1_000) < 3


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_changed_pitch_changes_the_pitch_alone(factor):
    tone = np.sin(2 * np.pi * 1_000 * np.arange(2 * RATE) / RATE).astype(np.float32)
    played = change_pitch(tone, RATE, factor)
    assert len(played) == len(tone)
    assert abs(pitch(played) - 1_000 * factor) < 4


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_an_event_moves_with_the_tempo_and_stays_with_the_pitch(factor):
    signal = 0.001 * np.random.default_rng(0).standard_normal(6 * RATE).astype(np.float32)
    signal[4 * RATE : 4 * RATE + 4_000] *= 200
    for played, expected in (
        (change_tempo(signal, RATE, factor), 4 * RATE / factor),
        (change_pitch(signal, RATE, factor), 4 * RATE),
    ):
        onset = int(np.argmax(np.abs(played) > 0.05))
        assert abs(onset - expected) < 0.06 * RATE


def test_a_factor_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"factor.*3"):
        change_speed(bursts(0.1), 3.0)
