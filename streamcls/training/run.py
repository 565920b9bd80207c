"""One training run, from recipe to bundle."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.errors import TrainingError
from streamcls.inference import Calibration, load_bundle
from streamcls.training.calibrate import fit_temperature, fit_thresholds
from streamcls.training.card import write_card
from streamcls.training.checkpoint import Checkpoint
from streamcls.training.corpora import expand_variables, read_corpora
from streamcls.training.evaluate import evaluate, logits_of, posteriors_of
from streamcls.training.evaluation.taught import taught_figures
from streamcls.training.export import BundleContent, frozen_recipe, replace_folder, write_bundle
from streamcls.training.features import default_cache
from streamcls.training.fit import Fitted, fit, load_network, predict
from streamcls.training.golden import golden_bytes, plain_logits, rounded_windows
from streamcls.training.material import gather
from streamcls.training.progress import note
from streamcls.training.quantise import convert
from streamcls.training.record import RunFolder, data_digests, draw_curves, git_revision, identity_of
from streamcls.training.tensorflow import load_tensorflow
from streamcls.training.validation import labelled_targets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamcls.inference import Bundle
    from streamcls.interfaces import Backend, Classifier
    from streamcls.training.corpora import Clip
    from streamcls.training.evaluate import Evaluation
    from streamcls.training.material import Material
    from streamcls.training.recipe import Recipe
    from streamcls.training.windows import WindowSet
    from streamcls.types import FloatArray

__all__ = ["QUICK_EPOCHS", "TrainOptions", "make_bundle", "train"]

QUICK_EPOCHS: Final = 2
_QUICK_WINDOWS: Final = 256
_GOLDEN_WINDOWS: Final = 8


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """How to run, as against what to train.

    Attributes
    ----------
    output
        Folder of the bundle, replaced when the new one is whole. The record of the run, with the float network, lies beside it in a
        folder of the same name and ``.run``.
    data
        Place of a corpus by its name, instead of the recipe's.
    cache
        Folder of features; None for the user's cache.
    epochs
        Instead of the recipe's.
    quick
        Two short epochs: to see that everything works, not for a model.
    resume
        Go on with the unfinished run of the same recipe and data, if there is one.
    restart
        Discard an unfinished run. Without both, one of the same recipe and data is an error.
    """

    output: Path
    data: Mapping[str, Path] = field(default_factory=dict)
    cache: Path | None = None
    epochs: int | None = None
    quick: bool = False
    quiet: bool = False
    resume: bool = False
    restart: bool = False

    @property
    def folder(self) -> RunFolder:
        """Where the record of the run is kept."""
        return RunFolder(self.output.with_name(f"{self.output.name}.run"))


def train(recipe: Recipe, backend: Backend, options: TrainOptions) -> Path:
    """Train a recipe's model and write its bundle; the backend runs the finished model for calibration, goldens and metrics.

    Raises
    ------
    TrainingError
        TensorFlow is missing, a corpus cannot be used, an unfinished run is in the way, or training failed.
    """
    load_tensorflow()
    recipe = _adjusted(recipe, options)
    clips = read_corpora(recipe, options.data)
    folder, text = options.folder, frozen_recipe(recipe)
    table = folder.data_table(clips)
    checkpoint = Checkpoint(folder.checkpoint, identity_of(text, table))
    checkpoint.prepare(resume=options.resume, restart=options.restart)
    material = gather(recipe, clips, options.cache or default_cache(), options.data)
    folder.begin(text, table)
    start, ensemble = _networks(recipe, options)
    fitted = fit(
        recipe,
        material.sampler,
        material.n_classes,
        material.valid,
        material.space,
        start=start,
        ensemble=ensemble,
        checkpoint=checkpoint,
        quiet=options.quiet,
    )
    fitted.model.save(folder.network)
    folder.write("curves.json", {"best_epoch": fitted.best_epoch, **fitted.curves})
    draw_curves(fitted.curves, folder.path / "curves.png", f"{recipe.name} {recipe.version}")
    made = make_bundle(recipe, backend, options, clips, material, fitted)
    shutil.rmtree(folder.checkpoint, ignore_errors=True)
    return made


def make_bundle(  # noqa: PLR0917 - all of them together are the run
    recipe: Recipe, backend: Backend, options: TrainOptions, clips: list[Clip], material: Material, fitted: Fitted
) -> Path:
    """Quantise, calibrate and measure a fitted network, and write the bundle."""
    representative = material.sampler.plain(recipe.quantisation.representative_windows)
    model = convert(fitted.model, recipe.quantisation, representative)
    labelled = material.labelled
    staging = options.output.with_name(f".{options.output.name}.staging")
    bare = BundleContent(model, 1.0, {}, _provenance(recipe, clips, fitted.best_epoch))
    classifier = backend.load(load_bundle(write_bundle(staging, recipe, bare)))
    try:
        logits = logits_of(classifier, labelled.features)
        content = _calibrated(bare, recipe, material, logits)
        content = replace(content, golden=_golden(labelled, classifier, model, recipe.seed))
        bundle = load_bundle(write_bundle(staging, recipe, content))
        evaluation = _evaluation(bundle, classifier, clips, options)
        taught = _against_teacher(bundle, classifier, material)
        metrics = {
            "evaluation": evaluation.figures if evaluation is not None else None,
            **({"against_teacher": taught} if taught is not None else {}),
            "validation_loss": min(fitted.curves["valid_loss"], default=None),
            "float_to_quantised": _float_difference(fitted.model, labelled, logits),
            "curves": fitted.curves,
            "parameters": int(fitted.model.count_params()),
            "bytes": len(model),
        }
        card = write_card(recipe, clips, evaluation, metrics)
        write_bundle(staging, recipe, replace(content, metrics=metrics, card=card))
        replace_folder(staging, options.output)
    finally:
        classifier.close()
        shutil.rmtree(staging, ignore_errors=True)
    return options.output


def _evaluation(bundle: Bundle, classifier: Classifier, clips: list[Clip], options: TrainOptions) -> Evaluation | None:
    """Measure the bundle on what is labelled; None where nothing is."""
    split = "test" if any(clip.split == "test" for clip in clips) else "valid"
    if all(set(bundle.labels) <= set(clip.unknown) for clip in clips if clip.split == split):
        return None
    try:
        return evaluate(bundle, classifier, clips, options.cache or default_cache(), split)
    except TrainingError as error:  # the training is done: a test that cannot be made must not lose it
        note(f"nothing was measured: {error}")
        return None


def _against_teacher(bundle: Bundle, classifier: Classifier, material: Material) -> dict[str, Any] | None:
    windows, taught = material.unlabelled, material.taught
    if windows is None or taught is None or not len(windows):
        return None
    posteriors = posteriors_of(bundle, logits_of(classifier, windows.features))
    known = np.flatnonzero(taught.weights.max(axis=0) > 0)
    groups = np.array([windows.clips[i].group for i in windows.clip_of])
    labels = tuple(bundle.labels[i] for i in known)
    exclusive = bundle.manifest.calibration.activation == "softmax"
    return taught_figures(posteriors[:, known], taught.targets[:, known], labels, groups, exclusive=exclusive)


def _networks(recipe: Recipe, options: TrainOptions) -> tuple[Any, list[Any]]:
    """Load the network to start from, and those of the ensemble."""

    def load(text: str, key: str) -> Any:
        return load_network(options.data.get(key) or Path(expand_variables(text, key, key)))

    start = load(recipe.network.start, "network.start") if recipe.network.start else None
    members = [load(text, "distillation.ensemble") for text in recipe.distillation.ensemble]
    wanted = (recipe.window.n_frames, recipe.spec.n_features, len(recipe.labels))
    for text, member in zip(recipe.distillation.ensemble, members, strict=True):
        found = (*member.input_shape[1:], member.output_shape[-1])
        if found != wanted:
            raise TrainingError(
                f"distillation.ensemble: {text} takes {found[:-1]} and puts out {found[-1]} values, this recipe says {wanted[:-1]} "
                f"and {wanted[-1]} labels"
            )
    return start, members


def _calibrated(content: BundleContent, recipe: Recipe, material: Material, logits: FloatArray) -> BundleContent:
    """Fit temperature and thresholds to the quantised model's logits on the validation windows; the recipe's own thresholds go first."""
    table, windows = recipe.calibration, material.labelled
    known = labelled_targets(windows, recipe)
    targets, weights = known.targets, known.weights
    if not weights.any():  # nothing but a teacher knows these windows, which come first in the validation set
        targets, weights = material.valid.targets[: len(windows)], material.valid.weights[: len(windows)]
    temperature = fit_temperature(logits, targets, weights, recipe.activation) if table.temperature else 1.0
    stated = table.thresholds or {}
    if recipe.activation == "softmax":
        return replace(content, temperature=temperature, thresholds=stated)
    calibration = Calibration(recipe.activation, temperature)
    posteriors = np.stack([calibration.posterior(row) for row in logits])
    thresholds = fit_thresholds(
        posteriors,
        targets,
        weights,
        tuple(recipe.labels),
        rate=table.false_positive_rate,
        lowest=table.lowest_threshold,
    )
    return replace(content, temperature=temperature, thresholds=thresholds | stated)


def _adjusted(recipe: Recipe, options: TrainOptions) -> Recipe:
    changes: dict[str, Any] = {}
    if options.quick:
        changes |= {
            "epochs": QUICK_EPOCHS,
            "windows_per_epoch": min(_QUICK_WINDOWS, recipe.training.windows_per_epoch),
        }
    if options.epochs is not None:
        changes["epochs"] = options.epochs
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=changes)}) if changes else recipe


def _golden(valid: WindowSet, classifier: Any, model: bytes, seed: int) -> bytes:
    features = rounded_windows(valid.thinned(_GOLDEN_WINDOWS, seed).features)
    return golden_bytes(features, logits_of(classifier, features), plain_logits(model, features))


def _float_difference(model: Any, valid: WindowSet, logits: Any) -> dict[str, float]:
    exact = predict(model, valid.features)
    return {
        "same_top_label": round(float(np.mean(exact.argmax(axis=1) == logits.argmax(axis=1))), 4),
        "mean_logit_difference": round(float(np.abs(exact - logits).mean()), 4),
    }


def _provenance(recipe: Recipe, clips: list[Clip], best_epoch: int) -> dict[str, Any]:
    counts = Counter(clip.corpus for clip in clips if clip.split == "train")
    revision = git_revision()
    return {
        "trained": datetime.now(UTC).strftime("%Y-%m-%d"),
        "tensorflow": str(load_tensorflow().__version__),
        "seed": recipe.seed,
        "best_epoch": best_epoch,
        "training_clips": dict(sorted(counts.items())),
        "data": data_digests(clips),
        **({"revision": revision} if revision else {}),
    }
