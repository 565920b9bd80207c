"""One training run, from recipe to bundle."""

from __future__ import annotations

import shutil
import subprocess
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
from streamcls.training.corpora import expand_variables, read_corpora
from streamcls.training.evaluate import evaluate, logits_of
from streamcls.training.export import BundleContent, replace_folder, write_bundle
from streamcls.training.features import FeatureCache, default_cache
from streamcls.training.fit import fit, predict, window_targets
from streamcls.training.golden import golden_bytes, plain_logits, rounded_windows
from streamcls.training.quantise import convert
from streamcls.training.sampling import Sampler, make_examples
from streamcls.training.space import FeatureSpace
from streamcls.training.teacher import Teacher
from streamcls.training.tensorflow import load_tensorflow
from streamcls.training.windows import cut_windows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamcls.interfaces import Backend
    from streamcls.training.corpora import Clip
    from streamcls.training.recipe import Recipe
    from streamcls.training.windows import WindowSet
    from streamcls.types import FloatArray

__all__ = ["QUICK_EPOCHS", "TrainOptions", "train"]

QUICK_EPOCHS: Final = 2
_QUICK_WINDOWS: Final = 256
_MOST_VALIDATION_WINDOWS: Final = 4_000
_GOLDEN_WINDOWS: Final = 8


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """How to run, as against what to train.

    Attributes
    ----------
    output
        Folder of the bundle, replaced when the new one is whole.
    data
        Place of a corpus by its name, instead of the recipe's.
    cache
        Folder of features; None for the user's cache.
    epochs
        Instead of the recipe's.
    quick
        Two short epochs: to see that everything works, not for a model.
    weights
        Keras file (``.keras``) to which the float network is saved too, for work on it beyond this run; None for none.
    """

    output: Path
    data: Mapping[str, Path] = field(default_factory=dict)
    cache: Path | None = None
    epochs: int | None = None
    quick: bool = False
    quiet: bool = False
    weights: Path | None = None


def train(recipe: Recipe, backend: Backend, options: TrainOptions) -> Path:
    """Train a recipe's model and write its bundle; the backend runs the finished model for calibration, goldens and metrics.

    Raises
    ------
    TrainingError
        TensorFlow is missing, a corpus cannot be used, or training failed.
    """
    load_tensorflow()
    recipe = _adjusted(recipe, options)
    space = FeatureSpace(recipe.spec)
    cache = options.cache or default_cache()
    clips = read_corpora(recipe, options.data)
    parts = {split: [clip for clip in clips if clip.split == split] for split in ("train", "valid", "test")}
    for split in ("train", "valid"):
        if not parts[split]:
            raise TrainingError(f"the split {split!r} has no clip: give the corpora more recordings, or other groups")
    store = FeatureCache(cache, recipe.spec, recipe.window.n_frames)
    sampler, n_classes = _sampler(recipe, options, parts["train"], store, space)
    valid = _windows(recipe, parts["valid"], store).thinned(_MOST_VALIDATION_WINDOWS, recipe.seed)
    fitted = fit(recipe, sampler, n_classes, valid, space, quiet=options.quiet)
    if options.weights is not None:
        fitted.model.save(options.weights)
    model = convert(fitted.model, recipe.quantisation, sampler.plain(recipe.quantisation.representative_windows))

    staging = options.output.with_name(f".{options.output.name}.staging")
    bare = BundleContent(model, 1.0, {}, _provenance(recipe, clips, fitted.best_epoch))
    classifier = backend.load(load_bundle(write_bundle(staging, recipe, bare)))
    try:
        logits = logits_of(classifier, valid.features)
        content = _calibrated(bare, recipe, valid, logits)
        content = replace(content, golden=_golden(valid, classifier, model, recipe.seed))
        bundle = load_bundle(write_bundle(staging, recipe, content))
        evaluation = evaluate(bundle, classifier, clips, cache, "test" if parts["test"] else "valid")
        metrics = {
            "evaluation": evaluation.figures,
            "validation_loss": min(fitted.curves["valid_loss"]),
            "float_to_quantised": _float_difference(fitted.model, valid, logits),
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


def _calibrated(content: BundleContent, recipe: Recipe, valid: WindowSet, logits: FloatArray) -> BundleContent:
    """Fit temperature and thresholds to the quantised model's logits on the validation windows."""
    table = recipe.calibration
    targets, weights = window_targets(valid, recipe)
    temperature = fit_temperature(logits, targets, weights, recipe.activation) if table.temperature else 1.0
    if recipe.activation == "softmax":
        return replace(content, temperature=temperature)
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
    return replace(content, temperature=temperature, thresholds=thresholds)


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


def _sampler(
    recipe: Recipe,
    options: TrainOptions,
    clips: list[Clip],
    store: FeatureCache,
    space: FeatureSpace,
) -> tuple[Sampler, int]:
    frames = store.all_frames(clips)
    tracks, n_classes = None, 0
    table = recipe.distillation
    if table.teacher:
        model = options.data.get("teacher") or Path(expand_variables(table.teacher, "distillation.teacher", "teacher"))
        teacher = Teacher(model, table.sample_rate, options.cache or default_cache())
        tracks, n_classes = teacher.tracks(clips), teacher.n_classes
    return Sampler(make_examples(clips, frames, tracks, recipe, space), recipe, space, n_classes), n_classes


def _windows(recipe: Recipe, clips: list[Clip], store: FeatureCache) -> WindowSet:
    known = [clip for clip in clips if len(clip.unknown) < len(recipe.labels)]
    return cut_windows(known, store.all_frames(known), recipe.spec, recipe.window.n_frames, recipe.window.stride_frames)


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
    revision = _revision()
    return {
        "trained": datetime.now(UTC).strftime("%Y-%m-%d"),
        "tensorflow": str(load_tensorflow().__version__),
        "seed": recipe.seed,
        "best_epoch": best_epoch,
        "training_clips": dict(sorted(counts.items())),
        **({"revision": revision} if revision else {}),
    }


def _revision() -> str:
    """Return the revision of the checkout that this code runs from, or an empty string."""
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"],  # noqa: S607
            capture_output=True, text=True, check=False, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
