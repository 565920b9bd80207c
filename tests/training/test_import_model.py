"""A model file, a table of labels and a front end become a bundle that the daemon runs; what does not fit leaves nothing behind."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from streamcls.errors import BundleError
from streamcls.inference import Bundle, load_bundle
from streamcls.training.importing import ImportOptions, import_model, read_model
from streamcls.training.importing.card import suggested_configuration
from streamcls.types import FeatureWindow
from streamcls_tflite.backends import LiteRtBackend

if TYPE_CHECKING:
    from collections.abc import Iterator

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "genre-cnn"

pytestmark = pytest.mark.skipif(bool(LiteRtBackend.unavailable()), reason=LiteRtBackend.unavailable())


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return load_bundle(SHIPPED)


@pytest.fixture
def labels(tmp_path: Path, shipped: Bundle) -> Path:
    path = tmp_path / "labels.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "taxonomy_id"])
        writer.writerows((label, shipped.taxonomy.get(label, "")) for label in shipped.labels)
    return path


@pytest.fixture
def options(tmp_path: Path, shipped: Bundle) -> ImportOptions:
    return ImportOptions(
        tmp_path / "models" / "mine",
        task="genre",
        activation="softmax",
        values={key: getattr(shipped.spec, key) for key in shipped.spec.field_names()},
    )


def _import(labels: Path, options: ImportOptions, model: Path = SHIPPED / "model.tflite") -> Any:
    return import_model(model, labels, "mfcc", LiteRtBackend(), options)


def _left(folder: Path) -> Iterator[str]:
    return (path.name for path in folder.iterdir()) if folder.exists() else iter(())


def test_the_bundle_is_whole_and_says_of_the_model_what_its_own_bundle_says(
    labels: Path, options: ImportOptions, shipped: Bundle
) -> None:
    made = _import(labels, options).bundle
    bundle = load_bundle(options.output)
    assert made.path == options.output
    assert {path.name for path in options.output.iterdir()} == {"bundle.toml", *bundle.manifest.files}
    assert (bundle.name, bundle.labels, bundle.taxonomy) == ("mine", shipped.labels, shipped.taxonomy)
    assert (bundle.spec, bundle.input_shape) == (shipped.spec, shipped.input_shape)
    assert bundle.manifest.model.quantisation == shipped.manifest.model.quantisation
    assert bundle.manifest.window.n_frames == shipped.manifest.window.n_frames
    assert list(_left(options.output.parent)) == ["mine"]


def test_it_says_what_the_model_says_in_its_own_bundle(labels: Path, options: ImportOptions, shipped: Bundle) -> None:
    """Both are run on the same windows, those of the shipped goldens."""
    with np.load(SHIPPED / "golden.npz", allow_pickle=False) as golden:
        windows = [FeatureWindow("golden", one, 0, 1, 22_050, -20.0) for one in golden["features"]]
    ours, theirs = (LiteRtBackend().load(bundle) for bundle in (_import(labels, options).bundle, shipped))
    for window in windows:
        np.testing.assert_array_equal(ours.logits(window), theirs.logits(window))


def test_its_goldens_are_what_the_backend_says_of_four_different_signals(labels: Path, options: ImportOptions) -> None:
    bundle = _import(labels, options).bundle
    with np.load(bundle.path / "golden.npz", allow_pickle=False) as golden:
        features, logits, plain = golden["features"], golden["logits"], golden["logits_plain"]
    assert features.shape == (4, bundle.manifest.window.n_frames, bundle.spec.n_features)
    classifier = LiteRtBackend().load(bundle)
    for window, expected in zip(features, logits, strict=True):
        np.testing.assert_array_equal(classifier.logits(FeatureWindow("golden", window, 0, 1, 1, 0.0)), expected)
    np.testing.assert_allclose(plain, logits, atol=30 * classifier.output_step)
    assert np.ptp(logits, axis=0).max() > 0


def test_its_card_says_that_nothing_was_measured_and_what_models_do_not_hear(
    labels: Path, options: ImportOptions
) -> None:
    bundle = _import(labels, options).bundle
    card = (bundle.path / "CARD.md").read_text(encoding="utf-8")
    assert "**Nothing was measured.**" in card
    assert (
        "Models hear sounds, not words or meaning. Explicit lyrics, hate speech and sexual content are not covered."
        in card
    )
    assert f"hop_length = {bundle.spec.hop_length}" in card
    assert str(options.output.parent) not in card


def test_a_genre_model_of_ones_own_is_suggested_to_the_genre_policy(labels: Path, options: ImportOptions) -> None:
    text = suggested_configuration(_import(labels, options).bundle)
    assert f'model.mine.bundle = "{options.output}"' in text
    assert 'policy.genre = { models = ["mine"]' in text
    assert "moderation" not in text


def test_labels_that_are_too_few_are_counted_against_the_outputs(labels: Path, options: ImportOptions) -> None:
    lines = labels.read_text(encoding="utf-8").splitlines()
    labels.write_text("\n".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(BundleError, match=r"there are 10 labels, but the model's outputs have the sizes .* \(11\)"):
        _import(labels, options)
    assert list(_left(options.output.parent)) == []


def test_logits_without_an_activation_are_refused_and_leave_nothing(labels: Path, options: ImportOptions) -> None:
    with pytest.raises(
        BundleError, match=r"its outputs lie between .* --activation softmax .* or --activation sigmoid"
    ):
        _import(labels, replace(options, activation=None))
    assert list(_left(options.output.parent)) == []


def test_a_bundle_that_is_there_is_replaced_only_where_that_is_said(labels: Path, options: ImportOptions) -> None:
    _import(labels, options)
    with pytest.raises(BundleError, match="is a bundle already; replace it with --replace"):
        _import(labels, replace(options, version="2"))
    assert load_bundle(options.output).manifest.version == "1"
    _import(labels, replace(options, version="2", replace=True))
    assert load_bundle(options.output).manifest.version == "2"
    assert list(_left(options.output.parent)) == ["mine"]


def test_a_folder_that_is_no_bundle_is_never_replaced(labels: Path, options: ImportOptions) -> None:
    options.output.mkdir(parents=True)
    (options.output / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="exists and is no bundle"):
        _import(labels, replace(options, replace=True))
    assert (options.output / "thesis.txt").exists()


def test_a_name_that_no_bundle_may_have_is_refused(labels: Path, options: ImportOptions) -> None:
    with pytest.raises(BundleError, match="the name 'Mein Modell' has to be small letters"):
        _import(labels, replace(options, name="Mein Modell"))


def test_a_file_that_is_no_model_is_refused_by_name(labels: Path, options: ImportOptions, tmp_path: Path) -> None:
    for content in (b"", b"no model", (SHIPPED / "model.tflite").read_bytes()[:2000]):
        path = tmp_path / "broken.tflite"
        path.write_bytes(content)
        with pytest.raises(BundleError, match=r"broken\.tflite: it is no TensorFlow Lite model"):
            _import(labels, options, path)
    with pytest.raises(BundleError, match=r"gone\.tflite: No such file"):
        _import(labels, options, tmp_path / "gone.tflite")


def test_an_output_is_chosen_by_its_number_of_values_or_by_name() -> None:
    facts = replace(read_model(SHIPPED / "model.tflite"), outputs={"scores": 10, "more": 10, "embedding": 1024})
    assert facts.output_for(1024, None, "m") == "embedding"
    assert facts.output_for(10, "more", "m") == "more"
    for n_labels, name, message in (
        (10, None, "several outputs have 10 values: .* choose one with --output-name"),
        (7, None, r"there are 7 labels, but .* scores \(10\), more \(10\), embedding \(1024\)"),
        (10, "embedding", "there are 10 labels"),
        (10, "logits", "it has no output 'logits'"),
    ):
        with pytest.raises(BundleError, match=message):
            facts.output_for(n_labels, name, "m")


@pytest.fixture(scope="module")
def yamnet(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    options = ImportOptions(tmp_path_factory.mktemp("models") / "yamnet", values={"sample_rate": 16_000})
    model, labels = (data / "reference" / name for name in ("yamnet.tflite", "yamnet_class_map.csv"))
    made = import_model(model, labels, "waveform", LiteRtBackend(), options)
    assert made.remarks == (
        "its outputs are probabilities (activation identity); on test signals they stand each for itself",
    )
    return made.bundle


def test_yamnet_is_imported_as_one_would_write_it_by_hand(yamnet: Bundle, data: Path, tmp_path: Path) -> None:
    from yamnet import write_yamnet_bundle

    by_hand = load_bundle(write_yamnet_bundle(data, tmp_path))
    ours, theirs = yamnet.info(), by_hand.info()
    for fact in ("name", "task", "labels", "taxonomy", "exclusive", "window_s", "stride_s", "digest"):
        assert getattr(ours, fact) == getattr(theirs, fact), fact
    assert yamnet.manifest.model == by_hand.manifest.model
    assert yamnet.manifest.window == by_hand.manifest.window


def test_yamnet_is_suggested_to_both_policies_with_the_ready_map(yamnet: Bundle) -> None:
    lines = suggested_configuration(yamnet).splitlines()
    assert len(lines) == 8
    assert 'policy.genre = { models = ["yamnet"], map = "audioset" }' in lines
    assert 'policy.moderation = { models = ["yamnet"], map = "audioset" }' in lines
