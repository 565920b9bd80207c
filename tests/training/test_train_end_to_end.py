"""From a folder of sounds to a bundle that classifies them, with the real TensorFlow and the real runtime."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
from click.testing import CliRunner

from streamcls.cli.main import cli
from streamcls.errors import TrainingError
from streamcls.inference import load_bundle
from streamcls.training import TrainOptions, evaluate, load_recipe, parse_recipe, train
from streamcls.training.corpora import read_corpora
from streamcls.types import FeatureWindow
from streamcls_tflite import LiteRtBackend

pytestmark = [
    pytest.mark.train,
    pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed here"),
    # Keras and TensorFlow warn of each other's ways.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

MIXED = """
[augmentation]
mix = 0.5
mix_up = 0.0

[training]"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def trained(recipe_text, cache, tmp_path_factory):
    output = tmp_path_factory.mktemp("models") / "three-sounds"
    return train(parse_recipe(recipe_text), LiteRtBackend(), TrainOptions(output, cache=cache, quiet=True))


def test_the_bundle_tells_unseen_sounds_apart(trained, cache):
    bundle = load_bundle(trained)
    classifier = LiteRtBackend().load(bundle)
    result = evaluate(bundle, classifier, read_corpora(load_recipe(trained / "recipe.toml"), {}), cache, "test")
    assert result.figures["clip"]["accuracy"] >= 0.9
    assert result.figures["window"]["count"] > result.figures["clip"]["count"]
    assert result.figures == json.loads((trained / "metrics.json").read_text())["evaluation"]


def test_the_bundle_is_complete_and_quantised(trained):
    bundle = load_bundle(trained)
    names = {
        "bundle.toml",
        "model.tflite",
        "labels.txt",
        "recipe.toml",
        "golden.npz",
        "metrics.json",
        "CARD.md",
    }
    assert {path.name for path in trained.iterdir()} == names
    assert set(bundle.manifest.files) == names - {"bundle.toml"}
    assert bundle.manifest.model.quantisation == "int8"
    assert bundle.labels == ("clicks", "noise", "tone")
    assert bundle.taxonomy == {"noise": "audioset:/m/096m7z"}
    card = (trained / "CARD.md").read_text()
    for phrase in ("## What it cannot do", "## Trained on", "## Measured", "sounds", "not stated"):
        assert phrase in card
    assert sorted(trained.parent.iterdir()) == [trained, trained.with_name("three-sounds.run")]


def test_the_goldens_are_reproduced(trained):
    bundle = load_bundle(trained)
    classifier = LiteRtBackend().load(bundle)
    with np.load(trained / "golden.npz") as golden:
        for features, logits in zip(golden["features"], golden["logits"], strict=True):
            np.testing.assert_array_equal(classifier.logits(FeatureWindow("s", features, 0, 1, 1, 0.0)), logits)


def test_the_same_seed_gives_the_same_model_and_another_seed_another(recipe_text, cache, tmp_path):
    quick = {"cache": cache, "quick": True, "epochs": 1, "quiet": True}
    made = [
        train(parse_recipe(text), LiteRtBackend(), TrainOptions(tmp_path / name, **quick)) / "model.tflite"
        for name, text in (
            ("a", recipe_text),
            ("b", recipe_text),
            ("c", recipe_text.replace("seed = 5", "seed = 6")),
        )
    ]
    assert made[0].read_bytes() == made[1].read_bytes()
    assert made[0].read_bytes() != made[2].read_bytes()


@pytest.mark.parametrize("kind", ["float32", "dynamic_range"])
def test_other_quantisations_and_independent_labels(recipe_text, cache, tmp_path, kind):
    text = recipe_text.replace("seed = 5", 'seed = 5\nactivation = "sigmoid"').replace("[training]", MIXED)
    text = text.replace("[quantisation]", f'[quantisation]\nkind = "{kind}"')
    options = TrainOptions(tmp_path / "m", cache=cache, quick=kind != "float32", quiet=True)
    folder = train(parse_recipe(text), LiteRtBackend(), options)
    bundle = load_bundle(folder)
    figures = json.loads((folder / "metrics.json").read_text())
    assert bundle.manifest.calibration.activation == "sigmoid"
    assert set(bundle.info().thresholds) == {"clicks", "noise", "tone"}
    assert all(0.5 <= value <= 0.99 for value in bundle.info().thresholds.values())
    assert figures["float_to_quantised"]["mean_logit_difference"] < 0.2
    if not options.quick:
        assert figures["evaluation"]["labels"]["tone"]["average_precision"] > 0.9


def test_a_new_training_replaces_the_old_bundle(recipe_text, cache, tmp_path):
    output = tmp_path / "models" / "three-sounds"
    output.mkdir(parents=True)
    (output / "stale.txt").write_text("old")
    train(
        parse_recipe(recipe_text),
        LiteRtBackend(),
        TrainOptions(output, cache=cache, quick=True, epochs=1, quiet=True),
    )
    assert load_bundle(output).name == "three-sounds"
    assert not (output / "stale.txt").exists()
    assert sorted(output.parent.iterdir()) == [output, output.with_name("three-sounds.run")]


def test_a_newcomer_trains_on_a_folder_and_evaluates(sounds, cache, tmp_path):
    output = tmp_path / "mine"
    run = CliRunner()
    done = run.invoke(
        cli, ["train", "--folder", str(sounds), "--quick", "--output", str(output), "--cache", str(cache)]
    )
    assert done.exit_code == 0, done.output
    assert f"wrote {output}" in done.output
    measured = run.invoke(
        cli,
        [
            "evaluate",
            str(output),
            "--data",
            str(sounds),
            "--split",
            "all",
            "--format",
            "json",
            "--cache",
            str(cache),
        ],
    )
    assert json.loads(measured.stdout)["clip"]["count"] == 60
    trained = json.loads((output / "metrics.json").read_text())["evaluation"]["clips"]
    assert f"warning: {output} was trained on " in measured.stderr
    again = run.invoke(cli, ["evaluate", str(output), "--data", str(sounds), "--format", "json", "--cache", str(cache)])
    assert json.loads(again.stdout)["clip"]["count"] == trained
    assert "warning" not in again.stderr


def test_a_quick_try_leaves_the_model_alone(sounds, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["train", "--folder", str(sounds), "--name", "mine", "--quick", "--epochs", "1", "--cache", str(cache)]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert sorted(item.name for item in (tmp_path / "models").iterdir()) == ["mine-quick", "mine-quick.run"]


def test_a_label_without_training_clips_is_named(recipe_text, cache, tmp_path):
    text = recipe_text.replace('tone = ""', 'tone = ""\ntrumpet = ""')
    with pytest.raises(TrainingError, match="no training clip has the label trumpet"):
        train(parse_recipe(text), LiteRtBackend(), TrainOptions(tmp_path / "m", cache=cache, quiet=True))


def test_a_front_end_that_drops_coefficients_is_refused(recipe_text, cache, tmp_path):
    text = recipe_text.replace("n_mfcc = 32", "n_mfcc = 13")
    with pytest.raises(TrainingError, match="set n_mfcc to n_mels"):
        train(parse_recipe(text), LiteRtBackend(), TrainOptions(tmp_path / "m", cache=cache, quiet=True))
