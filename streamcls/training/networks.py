"""Networks. ``ds_cnn``: the depthwise-separable convolutional network of keyword spotting (Zhang et al. 2017, "Hello Edge")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from streamcls.training.tensorflow import load_tensorflow

if TYPE_CHECKING:
    from streamcls.types import FloatArray

__all__ = ["ds_cnn", "with_teacher_head"]

# Filters of the stem, then (filters, stride over time and bands) of each depthwise-separable block.
_SIZES: Final[dict[str, tuple[int, tuple[tuple[int, tuple[int, int]], ...]]]] = {
    "S": (16, ((48, (2, 2)), (64, (1, 1)), (96, (2, 2)), (96, (1, 1)))),
    "M": (24, ((64, (2, 2)), (96, (1, 1)), (160, (2, 2)), (160, (1, 1)), (192, (1, 1)))),
    "L": (32, ((96, (2, 2)), (128, (1, 1)), (256, (2, 2)), (256, (1, 1)), (256, (1, 1)), (320, (1, 1)))),
}

_MOMENTUM: Final = 0.95
"""Of the running statistics; short trainings need them to follow within some tens of steps."""


def ds_cnn(
    size: str, n_frames: int, n_features: int, n_labels: int, *, inverse_dct: FloatArray | None, dropout: float
) -> tuple[Any, Any]:
    """Build the network.

    A standard convolution over time and bands, then depthwise 3 x 3 and pointwise 1 x 1 convolutions, each with batch
    normalisation and ReLU; the mean over time and bands beside the maximum (a shot is short); a dropout; one dense layer.

    Parameters
    ----------
    size
        S, M or L: about 30, 95 and 290 thousand parameters.
    inverse_dct
        Shape (n_features, n_bands). Where it is given, the network begins with a trainable linear layer over the coefficients
        that starts as this matrix, so that the convolutions see neighbouring bands side by side.

    Returns
    -------
    The model, from (batch, n_frames, n_features) to logits (batch, n_labels), and a model from the same input to the embedding.
    """
    layers = load_tensorflow().keras.layers
    models = load_tensorflow().keras
    inputs = models.Input((n_frames, n_features), name="features")
    x = inputs
    if inverse_dct is not None:
        constant = models.initializers.Constant(inverse_dct)
        x = layers.Dense(inverse_dct.shape[1], use_bias=False, kernel_initializer=constant, name="to_bands")(x)
    x = layers.Reshape((n_frames, -1, 1), name="image")(x)
    stem, blocks = _SIZES[size]
    x = layers.Conv2D(stem, (3, 3), strides=(2, 2), padding="same", use_bias=False, name="stem")(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=_MOMENTUM)(x))
    for number, (filters, strides) in enumerate(blocks, 1):
        x = layers.DepthwiseConv2D((3, 3), strides=strides, padding="same", use_bias=False, name=f"depthwise_{number}")(
            x
        )
        x = layers.ReLU()(layers.BatchNormalization(momentum=_MOMENTUM)(x))
        x = layers.Conv2D(filters, (1, 1), use_bias=False, name=f"pointwise_{number}")(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=_MOMENTUM)(x))
    area = tuple(int(n) for n in x.shape[1:3])
    mean = layers.Flatten()(layers.AveragePooling2D(area, name="mean")(x))
    largest = layers.Flatten()(layers.MaxPooling2D(area, name="maximum")(x))
    embedding = layers.Concatenate(name="embedding")([mean, largest])
    logits = layers.Dense(n_labels, name="logits")(layers.Dropout(dropout)(embedding))
    return models.Model(inputs, logits, name=f"ds_cnn_{size}"), models.Model(inputs, embedding)


def with_teacher_head(model: Any, n_classes: int) -> Any:
    """Return a model with a second output for the teacher's classes, logits (batch, n_classes), that shares everything else."""
    keras = load_tensorflow().keras
    embedding = model.get_layer("embedding").output
    head = keras.layers.Dense(n_classes, name="teacher")(embedding)
    return keras.Model(model.inputs, [model.outputs[0], head])
