"""Every bundle that ships: whole, documented, small, and the same on every runtime."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from streamcls.inference import load_bundle
from streamcls.training.recipe import load_recipe
from streamcls.types import FeatureWindow
from streamcls_tflite import LiteRtBackend, TfliteRuntimeBackend

MODELS = Path(__file__).resolve().parents[2] / "models"
BUNDLES = sorted(path.parent for path in MODELS.glob("*/bundle.toml"))
LARGEST_BYTES = {"S": 100 << 10, "M": 500 << 10, "L": 2 << 20}

pytestmark = pytest.mark.parametrize("folder", BUNDLES, ids=lambda folder: folder.name)


def window(features: np.ndarray) -> FeatureWindow:
    return FeatureWindow("golden", features, 0, 1, 22_050, -20.0)


def goldens(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "golden.npz", allow_pickle=False) as golden:
        return dict(golden)


def test_the_bundle_loads_and_every_file_is_accounted_for(folder):
    bundle = load_bundle(folder)
    assert bundle.name == folder.name
    assert {path.name for path in folder.iterdir()} == {"bundle.toml", *bundle.manifest.files}


def test_it_fits_the_size_of_its_recipe(folder):
    size = load_recipe(folder / "recipe.toml").network.size
    assert (folder / "model.tflite").stat().st_size <= LARGEST_BYTES[size]
    assert sum(path.stat().st_size for path in folder.iterdir()) <= LARGEST_BYTES[size]


def test_its_recipe_is_the_one_it_was_made_by_and_names_no_machine(folder):
    bundle, recipe = load_bundle(folder), load_recipe(folder / "recipe.toml")
    assert (recipe.name, recipe.version, tuple(recipe.labels)) == (
        bundle.name,
        bundle.manifest.version,
        bundle.labels,
    )
    assert recipe.spec == bundle.spec
    assert all(corpus.path.startswith("${") for corpus in recipe.corpus)


@pytest.mark.parametrize(
    ("backend", "kernels"),
    [(LiteRtBackend, "logits"), (TfliteRuntimeBackend, "logits_plain")],
    ids=("litert", "tflite-runtime"),
)
def test_the_goldens_are_reproduced_within_one_step(folder, backend, kernels):
    """litert runs XNNPACK's kernels, tflite-runtime TensorFlow Lite's own: each has its goldens."""
    if reason := backend.unavailable():
        pytest.skip(reason)
    classifier = backend().load(load_bundle(folder))
    golden = goldens(folder)
    assert len(golden["features"]) >= 4
    for one, expected in zip(golden["features"], golden[kernels], strict=True):
        np.testing.assert_allclose(
            classifier.logits(window(one)), expected, rtol=0, atol=classifier.output_step * 1.01 + 1e-4
        )
    classifier.close()


def test_both_kernels_say_the_same(folder):
    calibration, golden = load_bundle(folder).calibration, goldens(folder)
    for fast, plain in zip(golden["logits"], golden["logits_plain"], strict=True):
        np.testing.assert_allclose(calibration.posterior(fast), calibration.posterior(plain), atol=0.06)


@pytest.mark.parametrize("backend", [LiteRtBackend, TfliteRuntimeBackend], ids=lambda backend: backend.name)
def test_interleaved_windows_do_not_influence_each_other(folder, backend):
    if reason := backend.unavailable():
        pytest.skip(reason)
    classifier = backend().load(load_bundle(folder))
    features = goldens(folder)["features"]
    alone = [classifier.logits(window(one)).copy() for one in features]
    for first in range(len(features)):
        for second in reversed(range(len(features))):
            np.testing.assert_array_equal(classifier.logits(window(features[first])), alone[first])
            np.testing.assert_array_equal(classifier.logits(window(features[second])), alone[second])
    classifier.close()


def test_the_goldens_differ_from_each_other(folder):
    assert np.ptp(goldens(folder)["logits"], axis=0).max() > 1.0


def test_the_posterior_is_one_for_every_window(folder):
    bundle = load_bundle(folder)
    for row in goldens(folder)["logits"]:
        values = bundle.calibration.posterior(row)
        assert values.shape == (bundle.n_labels,)
        assert ((values >= 0) & (values <= 1)).all()
        if bundle.info().exclusive:
            assert values.sum() == pytest.approx(1.0, abs=1e-5)


def test_the_card_says_what_it_is_for_what_it_cannot_do_and_what_was_measured(folder):
    card = (folder / "CARD.md").read_text("utf-8")
    for heading in ("## What it cannot do", "## Trained on", "## Measured"):
        assert heading in card
    for label in load_bundle(folder).labels:
        assert label in card
    assert not re.search(r"(?<![\w/.])/(?:home|root|tmp|mnt|work|opt)/", card), "no path of the machine that made it"


def test_the_metrics_come_from_unseen_recordings_with_counts_and_intervals(folder):
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    assert metrics["bytes"] == (folder / "model.tflite").stat().st_size
    figures = metrics["evaluation"]
    if figures is None:  # nobody labelled what it was trained on: it is held against its teacher
        taught = metrics["against_teacher"]
        assert taught["windows"] >= taught["recordings"] > 0
        assert all(len(row["average_precision_95"]) == 2 for row in taught["labels"].values())
        return
    assert figures["split"] == "test"
    assert figures["windows"] >= figures["clips"] > 0
    parts = figures["labels"].values() if "labels" in figures else [figures["window"], figures["clip"]]
    for part in parts:
        assert "recall_95" in part or len(part["accuracy_95"]) == 2
