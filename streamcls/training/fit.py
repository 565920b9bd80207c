"""Fitting a network: batches from the sampler, AdamW, the epoch that is best on the validation windows."""

from __future__ import annotations

import math
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.errors import TrainingError
from streamcls.training.losses import loss_of, make_step
from streamcls.training.networks import build_network, with_teacher_head
from streamcls.training.tensorflow import load_tensorflow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from streamcls.training.checkpoint import Checkpoint
    from streamcls.training.recipe import Recipe
    from streamcls.training.sampling import Sampler
    from streamcls.training.space import FeatureSpace
    from streamcls.training.validation import ValidationSet
    from streamcls.types import FloatArray

__all__ = ["Fitted", "Trained", "fit", "load_network", "predict"]

_WARM_UP: Final = 0.05
"""Part of all steps during which the learning rate rises from zero."""
_PREDICT_BATCH: Final = 256


@dataclass(slots=True)
class Fitted:
    """A fitted network and how it got there. ``curves`` has one list per quantity, one value per epoch."""

    model: Any
    curves: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int = 0


@dataclass(slots=True)
class Trained:
    """What changes while a network is fitted, and what a checkpoint keeps."""

    model: Any
    whole: Any
    """The model with the teacher's head, or the model itself."""
    optimiser: Any
    curves: dict[str, list[float]]
    best: float = math.inf
    best_epoch: int = 0
    best_weights: list[Any] = field(default_factory=list)
    epochs_done: int = 0


def predict(model: Any, features: FloatArray) -> FloatArray:
    """Run a float model over windows, shape (n, n_frames, n_features), and return its logits, shape (n, n_labels)."""
    parts = [
        np.asarray(model(features[start : start + _PREDICT_BATCH], training=False))
        for start in range(0, len(features), _PREDICT_BATCH)
    ]
    return np.concatenate(parts)


def load_network(path: Path) -> Any:
    """Load a float network that an earlier run kept.

    Raises
    ------
    TrainingError
        The file is not there or is no such network.
    """
    keras = load_tensorflow().keras
    try:
        return keras.models.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise TrainingError(f"{path}: no float network of an earlier run: {error}") from error


def start_from(model: Any, other: Any) -> int:
    """Give layers of the same name and shapes the weights of another network, and return how many."""
    theirs = {layer.name: layer for layer in other.layers if layer.weights}
    taken = 0
    for layer in model.layers:
        source = theirs.get(layer.name)
        if layer.weights and source is not None:
            weights = source.get_weights()
            if [w.shape for w in weights] == [tuple(w.shape) for w in layer.weights]:
                layer.set_weights(weights)
                taken += 1
    return taken


def fit(
    recipe: Recipe,
    sampler: Sampler,
    n_classes: int,
    valid: ValidationSet,
    space: FeatureSpace,
    *,
    start: Any = None,
    ensemble: Sequence[Any] = (),
    checkpoint: Checkpoint | None = None,
    quiet: bool = False,
) -> Fitted:
    """Train the recipe's network.

    Parameters
    ----------
    n_classes
        Classes of the teacher, 0 for none.
    valid
        Windows from which the best epoch is chosen.
    start
        A network whose weights it begins with where names and shapes agree.
    ensemble
        Networks whose posteriors take part in the targets.
    checkpoint
        Where each finished epoch is kept, and from where an unfinished run goes on.

    Raises
    ------
    TrainingError
        TensorFlow is missing, the network to start from has nothing in common with this one, or the loss is no longer finite.
    """
    tf = load_tensorflow()
    tf.keras.backend.clear_session()  # also of the counters in layers' names, which end up in the file
    tf.keras.utils.set_random_seed(recipe.seed)
    tf.config.experimental.enable_op_determinism()
    table = recipe.training
    steps = max(1, table.windows_per_epoch // table.batch_size)
    state = _begin(recipe, space, n_classes, steps, start)
    step: Any = None
    if checkpoint is not None:
        checkpoint.restore(state, sampler)
    with ThreadPoolExecutor(1) as pool:
        for epoch in range(state.epochs_done, table.epochs):
            if step is None or recipe.network.dropout:
                # Dropout draws from a state of its own that no checkpoint keeps: each epoch begins one anew.
                tf.random.set_seed(recipe.seed + epoch)
                step = make_step(state.whole, state.optimiser, recipe, n_classes, ensemble)
            sums = np.zeros(2)
            following = pool.submit(sampler.batch, table.batch_size)
            for number in _bar(range(steps), f"epoch {epoch + 1}/{table.epochs}", quiet=quiet):
                batch = following.result()
                if number + 1 < steps:
                    following = pool.submit(sampler.batch, table.batch_size)
                sums += [float(v) for v in step(batch.features, batch.targets, batch.weights, batch.teacher)]
            if not np.isfinite(sums).all():
                raise TrainingError(
                    f"the loss is {sums[0]} in epoch {epoch + 1}: lower training.learning_rate ({table.learning_rate:g})"
                )
            _close_epoch(state, epoch, np.asarray(sums / steps, np.float32), valid, recipe.activation)
            if checkpoint is not None:
                checkpoint.save(state, sampler)
            if not quiet:
                values = ", ".join(f"{name} {values[-1]:.4f}" for name, values in state.curves.items())
                print(f"epoch {epoch + 1}: {values}", file=sys.stderr, flush=True)  # noqa: T201 - progress
    state.model.set_weights(state.best_weights)
    return Fitted(state.model, state.curves, state.best_epoch)


def _begin(recipe: Recipe, space: FeatureSpace, n_classes: int, steps: int, start: Any) -> Trained:
    tf, network, table = load_tensorflow(), recipe.network, recipe.training
    model = build_network(
        network.kind,
        network.size,
        recipe.window.n_frames,
        recipe.spec.n_features,
        len(recipe.labels),
        inverse_dct=space.inverse_dct,
        dropout=network.dropout,
    )
    whole = with_teacher_head(model, n_classes) if n_classes else model
    if start is not None and not start_from(whole, start):
        raise TrainingError(
            f"network.start: {network.start} has no layer in common with a {network.kind} of size {network.size}"
        )
    optimiser = tf.keras.optimizers.AdamW(
        _schedule(tf, table.learning_rate, table.epochs * steps), weight_decay=table.weight_decay, clipnorm=1.0
    )
    optimiser.build(whole.trainable_variables)
    curves: dict[str, list[float]] = {"loss": [], "teacher_loss": [], "valid_loss": []}
    return Trained(model, whole, optimiser, curves, best_weights=model.get_weights())


def _close_epoch(state: Trained, epoch: int, means: FloatArray, valid: ValidationSet, activation: str) -> None:
    loss = loss_of(predict(state.model, valid.features), valid.targets, valid.weights, activation)
    for name, value in zip(state.curves, (*means, loss), strict=True):
        state.curves[name].append(round(float(value), 5))
    if loss < state.best:
        state.best, state.best_weights, state.best_epoch = loss, state.model.get_weights(), epoch + 1
    state.epochs_done = epoch + 1


def _bar(steps: range, title: str, *, quiet: bool) -> Any:
    from tqdm import tqdm

    return tqdm(steps, desc=title, unit="step", leave=False, disable=quiet or not sys.stderr.isatty())


def _schedule(tf: Any, peak: float, steps: int) -> Any:
    warm = max(1, round(_WARM_UP * steps))
    return tf.keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=peak / warm,
        decay_steps=max(1, steps - warm),
        alpha=0.01,
        warmup_target=peak,
        warmup_steps=warm,
    )
