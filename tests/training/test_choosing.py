"""Thresholds by false alerts: which is chosen, on what it may be chosen, and how it is written into a bundle."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from realbundle import as_trained

from streamcls.decision import label_map
from streamcls.errors import TrainingError
from streamcls.inference import load_bundle
from streamcls.training.corpora import Clip
from streamcls.training.events.choosing import (
    LOWEST_THRESHOLD,
    Choice,
    check_material,
    check_model,
    choose,
    followed_labels,
)
from streamcls.training.events.measure import Heard, listening, mapped_options
from streamcls.training.events.sweep import sweep, sweep_together
from streamcls.training.events.thresholds import choice_markdown, with_section, write_thresholds
from streamcls.training.programme.files import BedSegment, Programme, TrueEvent
from streamcls.training.recipe import parse_recipe
from streamcls.types import ModelInfo, Posterior

BUNDLE = Path(__file__).resolve().parents[2] / "models" / "moderation-cnn"
RATE = 100
SECONDS = 360
"""A tenth of an hour: one false alert in it is ten an hour."""


def programme(split: str = "valid", seed: int = 1, events: tuple[float, ...] = (100.0,)) -> Programme:
    facts = {
        "recipe": {"name": "mine", "version": "1", "labels": ["siren", "music"]},
        "options": {"split": split, "seed": seed},
        "sample_rate": RATE,
        "audio": [{"file": "a.flac", "samples": SECONDS * RATE, "sha256": "0" * 64}],
        "sources": [{"path": "/there/w.wav", "group": "G"}, {"path": "/there/c.wav", "group": "H"}],
    }
    truth = [TrueEvent(at, at + 5.0, "siren", "w.wav", "G", 6.0) for at in events]
    return Programme(Path("/there") / f"p{seed}", facts, truth, [BedSegment(0.0, SECONDS, "music", "", "c.wav")])


@pytest.fixture(scope="module")
def info() -> ModelInfo:
    return load_bundle(BUNDLE).info()


def heard(info: ModelInfo, peaks: dict[float, float], where: Programme | None = None, label: str = "siren") -> Heard:
    """A model that says nothing but ``label``, with these probabilities for five seconds from these moments."""
    made = Heard(where or programme(), info, policies=listening(info, {}))
    number, stride = info.labels.index(label), 1.0
    for window in range(round(SECONDS / stride)):
        moment = window * stride
        values = np.zeros(len(info.labels), np.float32)
        values[number] = next((p for at, p in peaks.items() if at <= moment < at + 5.0), 0.0)
        first = round(moment * RATE)
        made.posteriors.append(Posterior("programme", info.name, info.labels, values, first, first + RATE, RATE, -20.0))
    return made


def test_the_lowest_threshold_is_chosen_that_keeps_the_false_alerts_to_the_rate(info):
    one = heard(info, {100.0: 0.9, 200.0: 0.6})
    choice = choose([one], 0.0)
    row = choice.rows["siren"]
    assert 0.6 < row["threshold"] < 0.66  # a quarter of a logit above the false alert
    assert (row["recall"], row["false_alerts"], row["events"]) == (1.0, 0, 1)
    assert row["false_alerts_per_hour_95"][1] == pytest.approx(36.9, abs=0.1)
    assert choose([one], 10.0).thresholds["siren"] == LOWEST_THRESHOLD


def test_no_threshold_is_below_the_floor_and_labels_without_events_are_told(info):
    choice = choose([heard(info, {100.0: 0.9})], 0.5)
    assert choice.without_events == ("gun_shot", "explosion", "glass_breaking", "crying_baby", "screaming")
    assert min(row["threshold"] for row in choice.swept["siren"]) == LOWEST_THRESHOLD
    assert choose([heard(info, {100.0: 0.9})], 0.5, lowest=0.4).thresholds["siren"] == 0.4


def test_a_label_without_events_gets_no_lower_threshold_than_it_had(info):
    stated = replace(info, thresholds=dict(info.thresholds) | {"gun_shot": 0.7, "siren": 0.7})
    chosen = choose([heard(stated, {100.0: 0.9})], 0.5).thresholds
    assert chosen["siren"] == LOWEST_THRESHOLD
    assert 0.7 <= chosen["gun_shot"] < 0.76


def test_a_label_that_no_threshold_helps_gets_the_highest_and_is_told(info):
    choice = choose([heard(info, {100.0: 0.9, 200.0: 1.0})], 0.5)
    assert choice.missed == ("siren",)
    assert choice.thresholds["siren"] == max(row["threshold"] for row in choice.swept["siren"]) > 0.999


def test_several_programmes_count_as_one(info):
    with_false = heard(info, {100.0: 0.9, 200.0: 0.6})
    without = heard(info, {100.0: 0.9}, programme(seed=2, events=(100.0, 300.0)))
    assert choose([with_false], 6.0).thresholds["siren"] > 0.6
    choice = choose([with_false, without], 6.0)
    assert choice.thresholds["siren"] == LOWEST_THRESHOLD
    assert (choice.hours, [one["seed"] for one in choice.programmes]) == (0.2, [1, 2])
    (row,) = sweep_together([with_false, without], ["siren"], [0.5])["siren"]
    assert (row["events"], row["recall"], row["false_alerts"], row["false_alerts_per_hour"]) == (3, 0.6667, 1, 5.0)
    assert sweep(with_false, ["siren"], [0.5]) == sweep_together([with_false], ["siren"], [0.5])


def test_only_labels_that_raise_alerts_get_a_threshold(info):
    one = heard(info, {})
    labels = ("gun_shot", "explosion", "siren", "glass_breaking", "crying_baby", "screaming")
    assert followed_labels(one) == labels
    strange = replace(info, labels=tuple(f"my_{label}" for label in info.labels), thresholds={})
    other = heard(strange, {}, label="my_siren")
    with pytest.raises(TrainingError, match="no rule for any label of moderation-cnn: my_gun_shot"):
        choose([other], 0.5)


def clip(split: str, group: str) -> Clip:
    return Clip(Path("/elsewhere/x.wav"), "c", ("siren",), (), "wail", group, split)  # type: ignore[arg-type]


def test_a_programme_of_test_material_is_refused_by_its_own_word_and_by_its_recordings():
    assert check_material(programme(), [clip("valid", "G"), clip("test", "other")]) == []
    with pytest.raises(TrainingError, match=r"p1 was made of the split 'test'.*--split valid"):
        check_material(programme("test"), None)
    with pytest.raises(TrainingError, match=r"holds 1 recordings of the model's test split, /there/c\.wav first"):
        check_material(programme(), [clip("test", "H")])
    (remark,) = check_material(programme("test"), None, allow_test=True)
    assert "no test any more" in remark


def test_sources_that_were_in_training_are_told():
    (remark,) = check_material(programme(), [clip("train", "G")])
    assert "p1: 1 of its sources were in the model's training split" in remark


def test_models_without_alerts_are_refused(info):
    check_model(info)
    with pytest.raises(TrainingError, match="has the task 'genre'"):
        check_model(load_bundle(BUNDLE.with_name("genre-cnn")).info())
    with pytest.raises(TrainingError, match=r"has the task 'tagging'.*enter"):
        check_model(replace(info, task="tagging"))


@pytest.fixture
def copy(tmp_path) -> Path:
    return as_trained(BUNDLE, tmp_path / "mine")


@pytest.fixture(scope="module")
def choice(info) -> Choice:
    return choose([heard(info, {100.0: 0.9, 200.0: 0.6})], 0.5)


def manifest_of(folder: Path) -> dict:
    return tomllib.loads((folder / "bundle.toml").read_text("utf-8"))


def test_a_bundle_with_other_thresholds_is_whole_and_otherwise_the_same(copy, choice):
    before = manifest_of(copy)
    assert write_thresholds(load_bundle(copy), choice) == copy
    after = manifest_of(copy)
    loaded = load_bundle(copy)  # verifies every hash
    assert loaded.manifest.calibration.thresholds == before["calibration"]["thresholds"] | choice.thresholds
    said = after["provenance"].pop("thresholds")
    assert said["labels"]["siren"]["threshold"] == choice.thresholds["siren"]
    assert said["labels"]["siren"]["false_alerts_per_hour_at_most"] == pytest.approx(36.9, abs=0.1)
    assert said["labels"]["siren"]["recall"] == 1.0
    assert "recall" not in said["labels"]["gun_shot"]
    assert said["programmes"] == [
        {"folder": "p1", "recipe": "mine 1", "split": "valid", "seed": 1, "hours": 0.1, "events": 1}
    ]
    assert (said["false_alerts_per_hour"], said["hours"]) == (0.5, 0.1)
    changed = {name for name in after["files"] if after["files"][name] != before["files"][name]}
    assert changed == {"metrics.json", "CARD.md"}
    for part in (before, after):
        del part["files"], part["calibration"]["thresholds"]
    assert after == before
    metrics = json.loads((copy / "metrics.json").read_text("utf-8"))
    assert metrics["thresholds"]["sweep"] == choice.swept
    assert metrics["evaluation"] == json.loads((BUNDLE / "metrics.json").read_text("utf-8"))["evaluation"]


def test_a_second_choice_takes_the_place_of_the_first_and_still_tells_what_training_fitted(copy, choice, info):
    fitted = load_bundle(copy).manifest.calibration.thresholds
    write_thresholds(load_bundle(copy), choice)
    again = choose([heard(info, {100.0: 0.9})], 0.5)
    write_thresholds(load_bundle(copy), again)
    card = (copy / "CARD.md").read_text("utf-8")
    assert card.count("## Thresholds") == 1
    assert f"| siren | 0.2 | {fitted['siren']:.4g} |" in card
    assert manifest_of(copy)["provenance"]["thresholds"]["replaced"]["siren"] == fitted["siren"]
    assert load_bundle(copy).manifest.calibration.thresholds["siren"] == LOWEST_THRESHOLD


def test_an_output_leaves_the_bundle_as_it_was(copy, choice, tmp_path):
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in copy.iterdir()}
    made = write_thresholds(load_bundle(copy), choice, tmp_path / "other" / "mine")
    assert {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in copy.iterdir()} == digests
    assert load_bundle(made).manifest.calibration.thresholds["siren"] == choice.thresholds["siren"]
    with pytest.raises(TrainingError, match="is there already"):
        write_thresholds(load_bundle(copy), choice, made)


def test_what_is_not_the_bundles_is_not_lost(copy, choice):
    (copy / "notes.txt").write_text("mine")
    with pytest.raises(TrainingError, match=r"notes\.txt, not part of the bundle"):
        write_thresholds(load_bundle(copy), choice)
    assert (copy / "notes.txt").read_text() == "mine"


def test_a_section_is_replaced_where_it_stands_and_else_put_at_the_end():
    assert with_section("# A\n\ntext", "B", "new\n") == "# A\n\ntext\n\n## B\n\nnew\n"
    old = "# A\n\n## B\n\nold\n\n### deeper\n\nold\n\n## C\n\nkept\n"
    assert with_section(old, "B", "new") == "# A\n\n## B\n\nnew\n\n## C\n\nkept\n"
    assert with_section(with_section(old, "B", "new"), "B", "new") == with_section(old, "B", "new")


def test_the_table_tells_the_thresholds_before(choice):
    text = choice_markdown(choice, {"siren": 0.8253})
    assert "| 0.8253 | 0.00 | 36.89 | 100.0 % (1) |" in text
    assert f"| gun_shot | {choice.thresholds['gun_shot']:.4g} | - | 0.00 | 36.89 | - (0) | - |" in text


AUDIOSET = ModelInfo(
    name="tagger", version="1", task="tagging", labels=("Speech", "Music", "Siren", "Police car (siren)", "Rain"), exclusive=False,
    window_s=1.0, stride_s=0.5, digest="0" * 64, front_end_digest="1" * 64, taxonomy={}, thresholds={}, background=(),
)  # fmt: skip


def test_a_ready_map_names_the_labels_and_the_thresholds_that_are_reported():
    options = mapped_options(AUDIOSET, "audioset")
    assert set(options) == {"moderation"}  # none of its labels is a genre
    made = Heard(programme(), AUDIOSET, policies=listening(AUDIOSET, options))
    assert made.labels == ("siren",)
    assert made.threshold_of("siren") == label_map(AUDIOSET, "audioset", "moderation").thresholds["siren"]
    assert made.map_of("genre") is None


def test_a_table_as_map_names_the_labels_and_a_rule_its_threshold():
    options = mapped_options(AUDIOSET, {"Siren": "siren", "Rain": "rain"})
    options["moderation"]["labels"] = {"siren": {"enter": 0.4}, "rain": {}}
    made = Heard(programme(), AUDIOSET, policies=listening(AUDIOSET, options))
    assert made.labels == ("siren",)
    assert (made.threshold_of("siren"), made.threshold_of("rain")) == (0.4, None)


def test_a_map_that_fits_nothing_is_told():
    deaf = replace(AUDIOSET, labels=("a", "b", "c", "d", "e"))
    with pytest.raises(TrainingError, match="no label that is one of its classes"):
        mapped_options(deaf, "audioset")
    with pytest.raises(TrainingError, match="map names 'Siren'"):
        mapped_options(deaf, {"Siren": "siren"})
    with pytest.raises(TrainingError, match=r"policy\.moderation and tagger: .*labels names 'rain'"):
        listening(AUDIOSET, {"moderation": {"models": ["tagger"], "map": {"Siren": "siren"}, "labels": {"rain": {}}}})


def test_a_recipe_states_thresholds_for_labels_that_it_has(recipe_text):
    assert parse_recipe(recipe_text).calibration.thresholds is None
    more = "\n[calibration]\nthresholds = { tone = 0.7 }\n"
    assert parse_recipe(recipe_text + more).calibration.thresholds == {"tone": 0.7}
    with pytest.raises(TrainingError, match=r"calibration\.thresholds names 'tune'.*did you mean 'tone'"):
        parse_recipe(recipe_text + more.replace("tone", "tune"))
    with pytest.raises(TrainingError, match=r"calibration\.thresholds\.tone"):
        parse_recipe(recipe_text + more.replace("0.7", "1.7"))
