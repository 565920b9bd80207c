"""Test programmes: what is said of them is what is heard in them."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamcls.errors import TrainingError
from streamcls.training import parse_recipe
from streamcls.training.corpora import Clip, read_corpora
from streamcls.training.programme.files import make_programme, read_programme
from streamcls.training.programme.material import SignalCache, audible_part, gather, power_of
from streamcls.training.programme.plan import SAMPLE_RATE, ProgrammeOptions, plan_programme
from streamcls.training.programme.render import Writer, render

OPTIONS = ProgrammeOptions(hours=90 / 3_600, seed=4, events_per_hour=160, snr_db=(3.0, 9.0), broadcast_share=0.0)
BEEP_HZ = 6_000.0

RECIPE = """
name = "sounds"
version = "1"
task = "moderation"
activation = "sigmoid"

[labels]
gun_shot = ""
siren = ""
speech = ""
music = ""
other = ""

[window]
n_frames = 43
stride_frames = 22

[[corpus]]
name = "sounds"
path = "{path}"
split = "given"
active_within_db = 20.0

[corpus.labels]
beep = ["gun_shot"]
wail = ["siren"]
jazz = ["music"]
rock = ["music"]
talk = ["speech"]
rain = ["other"]
maybe = ["?siren"]
"""


def tone(seconds: float, hertz: float) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE)).astype(np.float32)


def beep() -> np.ndarray:
    """Three seconds, of which 0.4 s from 1.25 s on are to be heard."""
    signal = np.zeros(3 * SAMPLE_RATE, np.float32)
    start = round(1.25 * SAMPLE_RATE)
    sound = tone(0.4, BEEP_HZ)
    signal[start : start + len(sound)] = sound
    return signal


def low_noise(seconds: float, seed: int) -> np.ndarray:
    """Noise without anything near the beep's frequency."""
    white = np.fft.rfft(np.random.default_rng(seed).standard_normal(round(seconds * SAMPLE_RATE)))
    white[round(2_000 * seconds) :] = 0
    return (0.2 * np.fft.irfft(white)).astype(np.float32)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("material")
    rows = []
    for split in ("train", "valid", "test"):
        for number in range(3):
            made = {
                "beep": beep(), "wail": tone(2.0, 900 + 100 * number), "jazz": low_noise(20.0, number),
                "rock": low_noise(25.0, 10 + number),
                "talk": low_noise(1.5 + number, 20 + number), "rain": low_noise(4.0, 30 + number), "maybe": tone(2.0, 400),
            }  # fmt: skip
            for label, signal in made.items():
                name = f"{label}-{split}-{number}.wav"
                soundfile.write(folder / name, signal, SAMPLE_RATE)
                rows.append([name, label, split, f"{label}{split}{number}"])
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "split", "group"], *rows])
    return parse_recipe(RECIPE.format(path=folder / "manifest.csv"))


@pytest.fixture(scope="module")
def clips(recipe):
    return read_corpora(recipe, {})


@pytest.fixture(scope="module")
def made(recipe, clips, tmp_path_factory):
    return make_programme(recipe, clips, OPTIONS, tmp_path_factory.mktemp("programme") / "new")


def audio(programme) -> np.ndarray:
    return np.concatenate([chunk.samples[:, 0] for chunk in programme.chunks("test")])


def beep_power(signal: np.ndarray, start_s: float, seconds: float = 0.05) -> float:
    part = signal[round(start_s * SAMPLE_RATE) : round((start_s + seconds) * SAMPLE_RATE)]
    wave = np.exp(-2j * np.pi * BEEP_HZ * np.arange(len(part)) / SAMPLE_RATE)
    return float(abs(np.mean(part * wave * np.hanning(len(part)))) ** 2) + 1e-12


def test_the_truth_names_onset_and_end_of_what_is_heard(made):
    signal = audio(made)
    beeps = [event for event in made.truth if event.label == "gun_shot"]
    assert beeps
    for event in beeps:
        assert event.end_s - event.onset_s == pytest.approx(0.4, abs=0.02)
        inside = beep_power(signal, event.onset_s + 0.01)
        assert inside > 100 * beep_power(signal, event.onset_s - 0.07)
        assert beep_power(signal, event.end_s - 0.07) > 100 * beep_power(signal, event.end_s + 0.02)


def test_an_event_has_the_stated_level_above_the_bed(recipe, clips):
    cache, material = SignalCache(SAMPLE_RATE), gather(clips, recipe, "test")
    options = replace(OPTIONS, snr_db=(-3.0, 3.0))
    plan = plan_programme(material, options, cache)
    bed = plan_programme(material, replace(options, events_per_hour=0), cache)
    mixed, alone = (np.concatenate([piece.samples for piece in render(p, cache)]) for p in (plan, bed))
    loud = [event for event in plan.events if power_of(alone[event.onset : event.end]) > 1e-3]
    assert loud
    for event in loud:
        added = power_of((mixed - alone)[event.onset : event.end])
        under = power_of(alone[event.onset : event.end])
        assert 10 * np.log10(added / under) == pytest.approx(event.snr_db, abs=0.3)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(made, recipe, clips, tmp_path):
    again = make_programme(recipe, clips, OPTIONS, tmp_path / "again")
    for name in ("audio-000.flac", "truth.csv", "bed.csv", "programme.json"):
        assert (again.folder / name).read_bytes() == (made.folder / name).read_bytes()
    other = make_programme(recipe, clips, replace(OPTIONS, seed=5), tmp_path / "other")
    assert other.truth != made.truth
    assert other.facts["audio"][0]["sha256"] != made.facts["audio"][0]["sha256"]


def test_only_clips_of_the_split_are_heard_and_none_that_may_hide_an_event(made, recipe, clips, tmp_path):
    for programme, split in (
        (made, "test"),
        (make_programme(recipe, clips, replace(OPTIONS, split="valid"), tmp_path / "v"), "valid"),
    ):
        names = {Path(source["path"]).name for source in programme.facts["sources"]}
        assert names
        assert all(f"-{split}-" in name and not name.startswith("maybe") for name in names)


def test_events_keep_their_distance_and_the_labels_take_turns(made):
    assert len(made.truth) == 4
    assert all(b.onset_s - a.end_s >= 9.99 for a, b in pairwise(made.truth))
    assert sorted(event.label for event in made.truth) == ["gun_shot", "gun_shot", "siren", "siren"]


def test_the_bed_covers_the_programme_without_overlap_and_knows_the_genre(made):
    assert made.bed[0].start_s == 0.0
    assert made.bed[-1].end_s == pytest.approx(90.0)
    assert all(a.end_s == b.start_s and a.start_s < a.end_s for a, b in pairwise(made.bed))
    assert {segment.label for segment in made.bed if segment.kind == "music"} <= {"jazz", "rock"}
    assert made.seconds == pytest.approx(90.0)


def test_repetitions_do_not_count_as_material(recipe, clips, tmp_path):
    few = [clip for clip in clips if clip.found == "jazz" or clip.path.name == "beep-test-0.wav"]
    programme = make_programme(recipe, few, replace(OPTIONS, hours=180 / 3_600), tmp_path / "few")
    event, music = (programme.facts["material"][kind] for kind in ("event", "music"))
    assert event["heard_hours"] > 7.5 * event["distinct_hours"]
    assert event["distinct_hours"] * 3_600 == pytest.approx(0.4, abs=0.2)
    assert (event["clips"], event["recordings"]) == (1, 1)
    assert 0.9 * 60 < music["distinct_hours"] * 3_600 <= 60.2
    assert music["heard_hours"] * 3_600 > 150


def test_a_programme_of_music_alone_has_nothing_else(recipe, clips, tmp_path):
    programme = make_programme(recipe, clips, replace(OPTIONS, only="music"), tmp_path / "music")
    assert not programme.truth
    assert {segment.kind for segment in programme.bed} == {"music"}
    assert set(programme.facts["material"]) == {"music"}


def test_a_broadcast_chain_changes_the_sound_and_moves_no_event(recipe, clips, tmp_path):
    options = replace(OPTIONS, hours=60 / 3_600, seed=7, broadcast_share=0.6)
    plain = make_programme(recipe, clips, replace(options, broadcast_share=0.0), tmp_path / "plain")
    sent = make_programme(recipe, clips, options, tmp_path / "sent")
    assert sent.truth == plain.truth
    assert [stretch["chain"] for stretch in plain.facts["stretches"]] == [None]
    assert sent.facts["stretches"][0]["chain"]
    first, second = audio(plain), audio(sent)
    assert len(first) == len(second)
    assert not np.allclose(first, second, atol=0.01)
    wails = [event for event in sent.truth if event.label == "siren"]
    assert wails
    for event in wails:
        place = round(event.onset_s * SAMPLE_RATE)
        parts = [signal[place : place + SAMPLE_RATE] for signal in (first, second)]
        spectra = [np.fft.rfft(part, 2 * SAMPLE_RATE) for part in parts]
        lag = int(np.argmax(np.fft.irfft(spectra[0] * np.conj(spectra[1]))))
        assert min(lag, 2 * SAMPLE_RATE - lag) < 0.02 * SAMPLE_RATE


def test_the_audio_goes_on_from_file_to_file(made, tmp_path):
    signal = np.linspace(-0.5, 0.5, 10_000, dtype=np.float32)
    writer = Writer(tmp_path, file_samples=4_000)
    for part in np.array_split(signal, 7):
        writer.write(part)
    writer.close()
    assert writer.lengths == [4_000, 4_000, 2_000]
    facts = made.facts | {
        "audio": [{"file": n, "samples": s} for n, s in zip(writer.names, writer.lengths, strict=True)]
    }
    programme = replace(made, folder=tmp_path, facts=facts)
    chunks = list(programme.chunks("test"))
    assert chunks[0].first_sample == 0
    assert all(a.end_sample == b.first_sample for a, b in pairwise(chunks))
    np.testing.assert_allclose(audio(programme), signal, atol=1e-4)


@pytest.mark.parametrize(
    ("bursts", "expected"),
    [
        ([(1.0, 0.2, 1.0)], (1.0, 1.2)),
        ([(1.0, 0.2, 1.0), (1.7, 0.2, 0.5)], (1.0, 1.9)),
        ([(0.2, 0.2, 0.5), (2.5, 0.2, 1.0)], (2.5, 2.7)),
        ([(1.0, 0.2, 1.0), (1.7, 0.2, 0.05)], (1.0, 1.2)),
    ],
    ids=["one", "a short pause", "the loudest of two far apart", "too soft"],
)
def test_the_audible_part_is_about_the_loudest(bursts, expected):
    signal = np.zeros(3 * SAMPLE_RATE, np.float32)
    for start, seconds, level in bursts:
        sound = level * tone(seconds, 1_000.0)
        signal[round(start * SAMPLE_RATE) : round(start * SAMPLE_RATE) + len(sound)] = sound
    first, end, power = audible_part(signal, SAMPLE_RATE, 30.0)
    assert (first / SAMPLE_RATE, end / SAMPLE_RATE) == pytest.approx(expected, abs=0.011)
    assert power > 0


def test_clips_are_sorted_by_what_a_genre_recipe_knows_of_them(recipe):
    genres = recipe.model_copy(update={"task": "genre", "labels": {"jazz": "", "rock": ""}})
    base = Clip(Path("a.wav"), "c", (), (), "", "g", "test")
    found = {
        "music": replace(base, labels=("jazz",), found="jazz"),
        "speech": replace(base, found="speech"),
        "noise": replace(base, found="rain"),
    }
    left_out = [
        replace(base, unknown=("jazz", "rock"), found="misc"),
        replace(base, labels=("jazz",), split="train"),
        replace(base, row=3),
    ]
    material = gather([*found.values(), *left_out], genres, "test")
    assert material.bed == {kind: [clip] for kind, clip in found.items()}
    assert not material.events


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"events_per_hour": 400}, "ask for fewer"),
        ({"split": "none"}, "no clip that a programme"),
    ],
)
def test_what_cannot_be_is_said(recipe, clips, tmp_path, change, message):
    with pytest.raises(TrainingError, match=message):
        make_programme(recipe, clips, replace(OPTIONS, **change), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_missing_material_and_a_full_folder_are_refused(recipe, clips, tmp_path):
    beeps, rest = ([clip for clip in clips if (clip.found in ("beep", "wail")) is wanted] for wanted in (True, False))
    with pytest.raises(TrainingError, match="no music, speech and other sounds"):
        make_programme(recipe, beeps, OPTIONS, tmp_path / "new")
    with pytest.raises(TrainingError, match="no clip of an event"):
        make_programme(recipe, rest, OPTIONS, tmp_path / "new")
    (tmp_path / "mine.txt").write_text("here before")
    with pytest.raises(TrainingError, match="not empty"):
        make_programme(recipe, clips, OPTIONS, tmp_path)
    with pytest.raises(TrainingError, match="holds no programme"):
        read_programme(tmp_path)


def test_a_programme_of_another_format_is_refused(made, tmp_path):
    for name in ("truth.csv", "bed.csv"):
        (tmp_path / name).write_bytes((made.folder / name).read_bytes())
    (tmp_path / "programme.json").write_text(json.dumps(made.facts | {"format": 99}))
    with pytest.raises(TrainingError, match="format 99"):
        read_programme(tmp_path)


def test_the_command_makes_a_programme(recipe, tmp_path):
    from click.testing import CliRunner

    from streamcls.cli.main import cli

    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.format(path=recipe.corpus[0].path))
    arguments = [
        "programme",
        str(path),
        "--hours",
        "0.02",
        "--events-per-hour",
        "100",
        "--broadcast-share",
        "0",
        "--output",
    ]
    done = CliRunner().invoke(cli, [*arguments, str(tmp_path / "out")], catch_exceptions=False)
    assert done.exit_code == 0
    assert "2 events" in done.output
    assert len(read_programme(tmp_path / "out").truth) == 2
