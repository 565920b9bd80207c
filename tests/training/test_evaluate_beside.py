"""Several models on the same files: sounds made here and simple judges, without real audio, TensorFlow or a model file."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamcls.errors import TrainingError
from streamcls.training.corpora import read_corpora, read_plain
from streamcls.training.evaluation.candidates import Candidate, divided_by_means, with_remainder
from streamcls.training.evaluation.compare import Extras, compare, with_means
from streamcls.training.evaluation.labelmap import LabelMap, load_label_map
from streamcls.training.evaluation.measure import aligned
from streamcls.training.evaluation.plots import can_draw
from streamcls.training.evaluation.results import write_results
from streamcls.training.evaluation.seen import count_seen
from streamcls.training.evaluation.tables import comparison_markdown
from streamcls.training.recipe import parse_recipe
from streamcls.training.record import RunFolder
from streamcls.types import FrontEndSpec

LABELS = ("clicks", "noise", "tone")
SPEC = FrontEndSpec(kind="log_mel", n_mels=16, n_mfcc=16, normalise="none")


def crest(windows: np.ndarray) -> np.ndarray:
    """How far the loudest frame and the loudest band stand above the mean, in decibels: shape (n, 2)."""
    mean = windows.mean(axis=(1, 2))
    return np.stack([windows.mean(axis=2).max(axis=1) - mean, windows.mean(axis=1).max(axis=1) - mean], axis=1)


def judge(outputs: np.ndarray) -> np.ndarray:
    frames, bands = outputs[:, 0], outputs[:, 1]
    logits = np.stack([frames - 6.0, np.full(len(outputs), 4.0), bands - 12.0], axis=1)
    values = np.exp(logits - logits.max(axis=1, keepdims=True))
    values /= values.sum(axis=1, keepdims=True)
    return np.pad(values, ((0, 0), (0, 1))).astype(np.float32)


def candidate(name: str, *, exclusive: bool = True, read=judge, n_frames: int = 32, labels=LABELS) -> Candidate:
    return Candidate(name, "1", labels, exclusive, SPEC, n_frames, 16, crest, read)


def always_tone(outputs: np.ndarray) -> np.ndarray:
    return np.tile(np.float32([0.1, 0.1, 0.7, 0.1]), (len(outputs), 1))


@pytest.fixture(scope="module")
def clips(sounds):
    return read_plain(sounds, LABELS)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Features, computed once for all tests here."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def exclusive(clips, cache):
    models = [candidate("judge"), candidate("stubborn", read=always_tone, n_frames=48)]
    return compare(models, clips, cache, "all")


def test_models_are_measured_on_the_same_clips_at_their_own_windows(exclusive):
    first, second = exclusive.figures["candidates"].values()
    assert first["clip"]["count"] == second["clip"]["count"] == exclusive.figures["clips"] == 60
    assert first["window"]["count"] > second["window"]["count"]
    assert first["span"]["count"] == second["span"]["count"]
    assert first["clip"]["accuracy"] > 0.9
    assert second["clip"]["accuracy"] == pytest.approx(1 / 3, abs=1e-4)


def test_the_difference_has_an_interval_of_its_own(exclusive):
    apart = exclusive.figures["candidates"]["stubborn"]["difference"]["clip"]
    first, second = (part["clip"]["accuracy"] for part in exclusive.figures["candidates"].values())
    assert apart["subject_better_by"] == pytest.approx(first - second, abs=2e-4)
    assert 0 < apart["subject_better_by_95"][0] < apart["subject_better_by"] < apart["subject_better_by_95"][1]


def test_generated_sounds_and_speed_stand_beside_the_figures(exclusive):
    part = exclusive.figures["candidates"]["stubborn"]
    assert {row["abstains"] for row in part["generated"].values()} == {0.0}
    timing = part["facts"]["latency"]
    assert 0 < timing["window_ms"]["median"] <= timing["window_ms"]["percentile_95"]
    assert timing["front_end_ms"] > 0


def test_json_markdown_and_pictures_are_written(exclusive, tmp_path):
    files, missing = write_results(exclusive, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text()) == exclusive.figures
    assert "| stubborn | 60 | 60 |" in (tmp_path / "out" / "evaluation.md").read_text()
    pictures = sorted(file.name for file in files if file.suffix == ".png")
    if can_draw():
        assert pictures == ["confusion-judge.png", "confusion-stubborn.png", "curves.png", "reliability.png"]
        assert all(file.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for file in files if file.suffix == ".png")
        assert not missing
    else:
        assert (pictures, "matplotlib" in missing) == ([], True)


def test_in_the_tables_every_share_has_its_interval(exclusive):
    cells = [cell for line in comparison_markdown(exclusive).splitlines() for cell in line.split("|")]
    shares = [cell.strip() for cell in cells if cell.strip().endswith((" %", ")")) and " %" in cell]
    assert len(shares) > 30
    assert all("(" in share for share in shares)


def independent(outputs: np.ndarray) -> np.ndarray:
    return judge(outputs)[:, :-1]


def test_labels_that_stand_alone_get_thresholds_by_one_rule(clips, cache):
    models = [candidate("a", exclusive=False, read=independent), candidate("b", exclusive=False, read=independent)]
    comparison = compare(models, clips, cache, "test", Extras(time=False, false_positive_rate=0.1))
    figures = comparison.figures["candidates"]["b"]
    assert not figures["thresholds_own"]
    assert figures["thresholds"].keys() == set(LABELS)
    assert figures["labels"]["tone"]["roc_auc"] > 0.9
    assert figures["labels"]["tone"]["clip_recall"] > 0.5
    assert figures["difference"]["span"]["same_side"] == 1.0
    assert "| tone | b |" in comparison_markdown(comparison)


def test_a_label_that_a_peer_lacks_is_left_out_and_said(clips, cache):
    whole = candidate("whole", exclusive=False, read=independent)
    part = candidate("part", exclusive=False, read=lambda o: judge(o)[:, [2]], labels=("tone",))
    figures = compare([whole, part], clips, cache, "test", Extras(time=False)).figures
    assert list(figures["candidates"]["part"]["labels"]) == ["tone"]
    assert "part: has no clicks, noise." in figures["remarks"]


def test_what_an_exclusive_model_gives_to_other_labels_counts_as_none():
    wide = candidate("wide", read=lambda o: np.tile(np.float32([0.5, 0.3, 0.2, 0.0]), (len(o), 1)))
    narrow = aligned(wide, ("tone", "clicks"), exclusive=True)
    assert narrow.read(np.zeros((1, 2)))[0] == pytest.approx([0.2, 0.5, 0.3])


def test_models_that_cannot_be_compared_are_refused_by_name(clips, cache):
    with pytest.raises(TrainingError, match="two of the models are called 'a'"):
        compare([candidate("a"), candidate("a")], clips, cache, "test")
    with pytest.raises(TrainingError, match=r"b: its labels each stand alone.*--map b=FILE"):
        compare([candidate("a"), candidate("b", exclusive=False, read=independent)], clips, cache, "test")
    with pytest.raises(TrainingError, match=r"b: it has none of the labels.*--map b=FILE"):
        compare([candidate("a"), candidate("b", labels=("x", "y", "z"))], clips, cache, "test")


def test_scores_that_stand_alone_become_a_distribution_with_a_remainder():
    values = with_remainder(np.float32([[0.2, 0.1], [0.9, 0.6]]))
    assert values == pytest.approx(np.array([[0.2, 0.1, 0.7], [0.6, 0.4, 0.0]]))


def test_division_by_means_takes_out_how_readily_a_label_is_said(clips, cache):
    eager = candidate("eager", read=lambda o: with_remainder(0.3 * judge(o)[:, :-1] + np.float32([0, 0, 0.4])))
    variant = with_means(eager, clips, cache)
    assert variant is not None
    figures = compare([variant, eager], clips, cache, "test", Extras(time=False)).figures["candidates"]
    assert variant.name == "eager / means"
    assert figures["eager / means"]["clip"]["accuracy"] > figures["eager"]["clip"]["accuracy"]
    assert with_means(eager, [], cache) is None
    with pytest.raises(TrainingError, match="exclude each other"):
        divided_by_means(candidate("x", exclusive=False), np.ones(3, np.float32), "here")


def test_a_label_map_adds_or_takes_the_largest(tmp_path):
    values, known = np.float32([[0.5, 0.3, 0.7]]), ("Opera", "Choir", "Dub")
    mapping = {"Opera": "classical", "Choir": "classical", "Dub": "reggae"}
    assert LabelMap(labels=mapping).apply(values, known)[0] == pytest.approx([0.5, 0.7])
    assert LabelMap(labels=mapping, combine="sum").apply(values, known)[0] == pytest.approx([0.8, 0.7])
    file = tmp_path / "map.toml"
    file.write_text('combine = "sum"\n[labels]\nOpera = "classical"\n')
    assert load_label_map(file).targets == ("classical",)
    with pytest.raises(TrainingError, match="m has no label 'Opera'"):
        load_label_map(file).check(("Dub",), "m")
    file.write_text('combine = "mean"\n[labels]\nOpera = "classical"\n')
    with pytest.raises(TrainingError, match=r"map\.toml: combine"):
        load_label_map(file)


def test_a_split_without_clips_is_named_with_where_they_are(clips, cache):
    trained = [clip for clip in clips if clip.split == "train"]
    with pytest.raises(TrainingError, match=r"split 'test' has no clip \(there are: train \d+\); try --split valid"):
        compare([candidate("a")], trained, cache, "test")


@pytest.fixture
def bundle_of_sounds(recipe_text, tmp_path):
    """The folder of a bundle, with nothing but the recipe that reads the sounds."""
    bundle = tmp_path / "mine"
    bundle.mkdir()
    (bundle / "recipe.toml").write_text(recipe_text)
    return bundle


def test_clips_that_training_saw_are_counted_wherever_they_lie(bundle_of_sounds, sounds, recipe_text, tmp_path):
    clips = read_plain(Path(shutil.copytree(sounds, tmp_path / "copied")), LABELS)
    trained = [clip for clip in read_corpora(parse_recipe(recipe_text), {}) if clip.split == "train"]
    assert 0 < len(trained) < len(clips)
    assert count_seen(bundle_of_sounds, clips) == len(trained)


def test_the_record_of_the_run_goes_before_the_recipe(bundle_of_sounds, clips):
    run = RunFolder(bundle_of_sounds.with_name("mine.run"))
    run.path.mkdir()
    some = [replace(clip, split="train") for clip in clips[:3]] + [replace(clips[3], split="valid")]
    (run.path / "data.csv").write_text(run.data_table(some))
    shutil.copy(bundle_of_sounds / "recipe.toml", run.path)
    assert count_seen(bundle_of_sounds, clips) == 3
    (run.path / "recipe.toml").write_text("# of a later run that broke off")
    assert count_seen(bundle_of_sounds, clips) != 3


def test_without_record_and_recipe_nobody_knows(tmp_path, clips):
    with pytest.raises(TrainingError, match="neither the record of its run nor"):
        count_seen(tmp_path / "mine", clips)
