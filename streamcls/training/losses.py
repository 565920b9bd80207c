"""Losses of a training step and of a set of windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamcls.training.tensorflow import load_tensorflow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamcls.training.recipe import Recipe
    from streamcls.types import FloatArray

__all__ = ["loss_of", "make_step"]


def loss_of(logits: FloatArray, targets: FloatArray, weights: FloatArray, activation: str) -> float:
    """Return the mean cross-entropy in nats per window (softmax) or per known label (sigmoid)."""
    values = logits.astype(np.float64)
    if activation == "softmax":
        known = weights.max(axis=1)
        values = values - values.max(axis=1, keepdims=True)
        log_p = values - np.log(np.exp(values).sum(axis=1, keepdims=True))
        return float(-(known * (targets * log_p).sum(axis=1)).sum() / max(known.sum(), 1e-12))
    entropy = np.maximum(values, 0) - values * targets + np.log1p(np.exp(-np.abs(values)))
    return float((weights * entropy).sum() / max(weights.sum(), 1e-12))


def make_step(model: Any, optimiser: Any, recipe: Recipe, n_classes: int, ensemble: Sequence[Any]) -> Any:
    """Return a function that takes a batch (features, targets, weights, teacher), makes one step and returns both losses."""
    tf = load_tensorflow()
    smoothing, teacher_weight = recipe.training.label_smoothing, recipe.distillation.weight
    share = recipe.distillation.ensemble_share if ensemble else 0.0
    exclusive = recipe.activation == "softmax"
    activate = tf.nn.softmax if exclusive else tf.nn.sigmoid

    def label_loss(logits: Any, targets: Any, weights: Any) -> Any:
        if exclusive:
            known = tf.reduce_max(weights, axis=1)
            entropy = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
        else:
            known = weights
            entropy = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
        return tf.reduce_sum(known * entropy) / tf.maximum(tf.reduce_sum(known), 1.0)

    def softened(features: Any, targets: Any) -> Any:
        """Smooth the targets, and mix in what the ensemble says of the very windows."""
        targets = targets * (1.0 - smoothing) + smoothing / (len(recipe.labels) if exclusive else 2.0)
        if not ensemble:
            return targets
        said = tf.add_n([activate(member(features, training=False)) for member in ensemble]) / float(len(ensemble))
        return targets * (1.0 - share) + tf.stop_gradient(said) * share

    def losses(features: Any, targets: Any, weights: Any, teacher: Any) -> tuple[Any, Any]:
        outputs = model(features, training=True)
        logits, head = outputs if n_classes else (outputs, None)
        loss = label_loss(logits, softened(features, targets), weights)
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
        variables = model.trainable_variables
        gradients = tape.gradient(total, variables)
        pairs = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
        optimiser.apply_gradients(pairs)
        return loss, teacher_loss

    return step
