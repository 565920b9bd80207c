"""Fitting a network: batches from the sampler, AdamW, the epoch that is best on the validation split."""

from __future__ import annotations

import math
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.errors import TrainingError
from streamcls.training.networks import ds_cnn, with_teacher_head
from streamcls.training.sampling import targets_of
from streamcls.training.tensorflow import load_tensorflow

if TYPE_CHECKING:
    from streamcls.training.recipe import Recipe
    from streamcls.training.sampling import Batch, Sampler
    from streamcls.training.space import FeatureSpace
    from streamcls.training.windows import WindowSet
    from streamcls.types import FloatArray

__all__ = ["Fitted", "fit", "loss_of", "predict", "window_targets"]

_WARM_UP: Final = 0.05
"""Part of all steps during which the learning rate rises from zero."""
_PREDICT_BATCH: Final = 256


@dataclass(slots=True)
class Fitted:
    """A fitted network and how it got there. ``curves`` has one list per quantity, one value per epoch."""

    model: Any
    curves: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int = 0


def window_targets(windows: WindowSet, recipe: Recipe) -> tuple[FloatArray, FloatArray]:
    """Return targets and weights of windows, each of shape (n, n_labels).

    Where labels exclude each other, all labels weigh the same however many windows they have.
    """
    exclusive = recipe.activation == "softmax"
    pairs = [targets_of(clip, tuple(recipe.labels), exclusive=exclusive) for clip in windows.clips]
    targets, weights = (np.stack(part)[windows.clip_of] for part in zip(*pairs, strict=True))
    if exclusive:
        known = weights.max(axis=1)
        totals = (targets * known[:, None]).sum(axis=0)
        weights = weights * (targets @ (1.0 / np.maximum(totals, 1.0)).astype(np.float32))[:, None]
        weights *= np.float32(known.sum() / max(float(weights.max(axis=1).sum()), 1e-12))
    return targets, weights


def loss_of(logits: FloatArray, targets: FloatArray, weights: FloatArray, activation: str) -> float:
    """Return the mean cross-entropy in nats per window (softmax) or per known label (sigmoid)."""
    values = logits.astype(np.float64)
    if activation == "softmax":
        known = weights.max(axis=1)
        values = values - values.max(axis=1, keepdims=True)
        log_p = values - np.log(np.exp(values).sum(axis=1, keepdims=True))
        return float(-(known * (targets * log_p).sum(axis=1)).sum() / max(known.sum(), 1.0))
    entropy = np.maximum(values, 0) - values * targets + np.log1p(np.exp(-np.abs(values)))
    return float((weights * entropy).sum() / max(weights.sum(), 1.0))


def predict(model: Any, features: FloatArray) -> FloatArray:
    """Run a float model over windows, shape (n, n_frames, n_features), and return its logits, shape (n, n_labels)."""
    parts = [
        np.asarray(model(features[start : start + _PREDICT_BATCH], training=False))
        for start in range(0, len(features), _PREDICT_BATCH)
    ]
    return np.concatenate(parts)


def fit(
    recipe: Recipe,
    sampler: Sampler,
    n_classes: int,
    valid: WindowSet,
    space: FeatureSpace,
    *,
    quiet: bool = False,
) -> Fitted:
    """Train the recipe's network.

    Parameters
    ----------
    n_classes
        Classes of the teacher, 0 for none.
    valid
        Windows of the validation split, from which the best epoch is chosen.

    Raises
    ------
    TrainingError
        TensorFlow is missing, or the loss is no longer finite.
    """
    tf = load_tensorflow()
    tf.keras.utils.clear_session()  # also of the counters in layers' names, which end up in the file
    tf.keras.utils.set_random_seed(recipe.seed)
    tf.config.experimental.enable_op_determinism()
    table = recipe.training
    model, _ = ds_cnn(
        recipe.network.size,
        recipe.window.n_frames,
        recipe.spec.n_features,
        len(recipe.labels),
        inverse_dct=space.inverse_dct,
        dropout=recipe.network.dropout,
    )
    trained = with_teacher_head(model, n_classes) if n_classes else model
    steps = max(1, table.windows_per_epoch // table.batch_size)
    optimiser = tf.keras.optimizers.AdamW(
        _schedule(tf, table.learning_rate, table.epochs * steps),
        weight_decay=table.weight_decay,
        clipnorm=1.0,
    )
    step = _make_step(tf, trained, optimiser, recipe, n_classes)
    targets, weights = window_targets(valid, recipe)
    fitted = Fitted(model, {"loss": [], "teacher_loss": [], "valid_loss": []})
    best, best_weights = math.inf, model.get_weights()
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(sampler.batch, table.batch_size)
        for epoch in range(table.epochs):
            sums = np.zeros(2)
            for _ in _bar(range(steps), f"epoch {epoch + 1}/{table.epochs}", quiet=quiet):
                batch: Batch = following.result()
                following = pool.submit(sampler.batch, table.batch_size)
                sums += [float(v) for v in step(batch.features, batch.targets, batch.weights, batch.teacher)]
            if not np.isfinite(sums).all():
                raise TrainingError(
                    f"the loss is {sums[0]} in epoch {epoch + 1}: lower training.learning_rate ({table.learning_rate:g})"
                )
            loss = loss_of(predict(model, valid.features), targets, weights, recipe.activation)
            for name, value in zip(fitted.curves, (*(sums / steps), loss), strict=True):
                fitted.curves[name].append(round(float(value), 5))
            if loss < best:
                best, best_weights, fitted.best_epoch = loss, model.get_weights(), epoch + 1
            if not quiet:
                print(  # noqa: T201 - progress for whoever trains
                    f"epoch {epoch + 1}: "
                    + ", ".join(f"{name} {values[-1]:.4f}" for name, values in fitted.curves.items()),
                    file=sys.stderr,
                    flush=True,
                )
        following.result()
    model.set_weights(best_weights)
    return fitted


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


def _make_step(tf: Any, model: Any, optimiser: Any, recipe: Recipe, n_classes: int) -> Any:
    smoothing, teacher_weight = recipe.training.label_smoothing, recipe.distillation.weight
    exclusive = recipe.activation == "softmax"
    optimiser.build(model.trainable_variables)

    def losses(features: Any, targets: Any, weights: Any, teacher: Any) -> tuple[Any, Any]:
        outputs = model(features, training=True)
        logits, head = outputs if n_classes else (outputs, None)
        if exclusive:
            soft = targets * (1.0 - smoothing) + smoothing / len(recipe.labels)
            known = tf.reduce_max(weights, axis=1)
            entropy = tf.nn.softmax_cross_entropy_with_logits(soft, logits)
        else:
            soft = targets * (1.0 - smoothing) + smoothing / 2.0
            known = weights
            entropy = tf.nn.sigmoid_cross_entropy_with_logits(soft, logits)
        loss = tf.reduce_sum(known * entropy) / tf.maximum(tf.reduce_sum(known), 1.0)
        if head is None:
            return loss, tf.constant(0.0)
        heard = tf.math.is_finite(teacher)
        per_class = tf.nn.sigmoid_cross_entropy_with_logits(tf.where(heard, teacher, 0.0), head)
        per_window = tf.reduce_sum(tf.where(heard, per_class, 0.0), axis=1)
        return loss, tf.reduce_sum(per_window) / tf.maximum(tf.reduce_sum(tf.cast(heard[:, 0], tf.float32)), 1.0)

    @tf.function  # type: ignore[untyped-decorator]
    def step(features: Any, targets: Any, weights: Any, teacher: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            loss, teacher_loss = losses(features, targets, weights, teacher)
            total = loss + teacher_weight * teacher_loss
        optimiser.apply_gradients(
            zip(tape.gradient(total, model.trainable_variables), model.trainable_variables, strict=True)
        )
        return loss, teacher_loss

    return step
