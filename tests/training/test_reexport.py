"""One trained network, several bundles: each quantised, calibrated and measured for itself."""

from __future__ import annotations

import importlib.util
import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner

from streamcls.cli.main import cli
from streamcls.errors import TrainingError
from streamcls.inference import load_bundle
from streamcls.training import TrainOptions, parse_recipe, train
from streamcls.training.reexport import reexport
from streamcls_tflite import LiteRtBackend

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.train,
    pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed here"),
    # Keras and TensorFlow warn of each other's ways.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def trained(recipe_text: str, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("models") / "three-sounds"
    return train(parse_recipe(recipe_text), LiteRtBackend(), TrainOptions(output, cache=cache, quiet=True, quick=True))


@pytest.fixture
def run(trained: Path) -> Path:
    return trained.with_name(f"{trained.name}.run")


def test_the_other_bundle_is_whole_and_its_figures_are_its_own(
    trained: Path, run: Path, cache: Path, tmp_path: Path
) -> None:
    output = tmp_path / "exact"
    result = CliRunner().invoke(
        cli, ["export", str(run), "--quantisation", "float32", "--output", str(output), "--cache", str(cache)]
    )
    assert result.exit_code == 0, result.exception
    before, after = load_bundle(trained), load_bundle(output)
    assert (before.manifest.model.quantisation, after.manifest.model.quantisation) == ("int8", "float32")
    assert (before.labels, before.spec) == (after.labels, after.spec)
    assert set(after.manifest.files) == set(before.manifest.files)
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["bytes"] == len(after.model_bytes)
    assert metrics["curves"] == json.loads((trained / "metrics.json").read_text())["curves"]
    assert metrics["float_to_quantised"]["same_top_label"] == 1.0
    assert metrics["float_to_quantised"]["mean_logit_difference"] < 1e-3


def test_the_same_quantisation_gives_the_same_model(trained: Path, run: Path, cache: Path, tmp_path: Path) -> None:
    again = reexport(run, "int8", LiteRtBackend(), TrainOptions(tmp_path / "again", cache=cache))
    with np.load(again / "golden.npz") as made, np.load(trained / "golden.npz") as first:
        for name in ("features", "logits", "logits_plain"):
            np.testing.assert_array_equal(made[name], first[name])


def test_a_run_that_is_not_whole_is_refused_with_what_is_missing(run: Path, tmp_path: Path) -> None:
    options = TrainOptions(tmp_path / "out")
    with pytest.raises(TrainingError, match=r"float\.keras is missing"):
        reexport(tmp_path, "float32", LiteRtBackend(), options)
    shutil.copy(run / "float.keras", tmp_path / "float.keras")
    with pytest.raises(TrainingError, match=r"recipe\.toml is missing"):
        reexport(tmp_path / "float.keras", "float32", LiteRtBackend(), options)
    assert not options.output.exists()


def test_a_network_of_another_recipe_is_refused_with_both_sizes(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "mixed.run")
    text = (copy / "recipe.toml").read_text()
    n_frames = parse_recipe(text).window.n_frames
    (copy / "recipe.toml").write_text(text.replace(f"n_frames = {n_frames}", f"n_frames = {n_frames + 1}"))
    with pytest.raises(
        TrainingError, match=rf"the network takes \({n_frames}, \d+\) .* its recipe says \({n_frames + 1},"
    ):
        reexport(copy, "float32", LiteRtBackend(), TrainOptions(tmp_path / "out"))
