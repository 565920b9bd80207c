"""What a network is built from, and the pieces that the networks share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from streamcls.types import FloatArray

__all__ = [
    "EMBEDDING",
    "LOGITS",
    "MOMENTUM",
    "TO_BANDS",
    "Convolution",
    "Design",
    "Pair",
    "convolve",
    "finish",
    "normalise",
    "separable",
    "start",
]

EMBEDDING: Final = "embedding"
"""Layer whose output the heads read."""
LOGITS: Final = "logits"
TO_BANDS: Final = "to_bands"

MOMENTUM: Final = 0.95
"""Of the running statistics; short trainings need them to follow within some tens of steps."""

_LARGEST: Final = 6.0
"""Of an activation (Howard et al. 2017, "MobileNets")."""


Pair: TypeAlias = tuple[int, int]
"""Of time and bands."""
Convolution: TypeAlias = tuple[int, Pair, Pair]
"""Filters, kernel and stride of a standard convolution."""


@dataclass(frozen=True, slots=True)
class Design:
    """What a builder needs to know.

    Attributes
    ----------
    keras
        The module to build with.
    n_bands
        Columns of the linear layer from coefficients to bands; 0 for no such layer.
    inverse_dct
        Shape (n_features, n_bands), the layer's first weights; None where weights are loaded afterwards.
    batch
        Windows at a time; None for any number.
    """

    keras: Any
    size: str
    n_frames: int
    n_features: int
    n_labels: int
    n_bands: int = 0
    inverse_dct: FloatArray | None = None
    dropout: float = 0.0
    batch: int | None = None

    @property
    def layers(self) -> Any:
        """The layers of the module to build with."""
        return self.keras.layers


def start(design: Design) -> tuple[Any, Any]:
    """Return the input, (batch, n_frames, n_features), and the same as bands where the design has a layer for that."""
    inputs = design.keras.Input((design.n_frames, design.n_features), batch_size=design.batch, name="features")
    if not design.n_bands:
        return inputs, inputs
    given = design.inverse_dct
    first = "glorot_uniform" if given is None else design.keras.initializers.Constant(given)
    dense = design.layers.Dense(design.n_bands, use_bias=False, kernel_initializer=first, name=TO_BANDS)
    return inputs, dense(inputs)


def normalise(design: Design, x: Any, name: str) -> Any:
    """Batch normalisation and ReLU up to 6: a bounded range is what 8 bits resolve best."""
    x = design.layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_norm")(x)
    return design.layers.ReLU(_LARGEST, name=f"{name}_relu")(x)


def convolve(design: Design, x: Any, layer: Convolution, name: str) -> Any:
    """Put a standard convolution over time and bands on ``x``, normalised."""
    filters, kernel, strides = layer
    x = design.layers.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=False, name=name)(x)
    return normalise(design, x, name)


def separable(design: Design, x: Any, filters: int, strides: tuple[int, int], number: int) -> Any:
    """Put a depthwise 3 x 3 and a pointwise 1 x 1 convolution on ``x``, each normalised."""
    layers, name = design.layers, f"depthwise_{number}"
    x = layers.DepthwiseConv2D((3, 3), strides=strides, padding="same", use_bias=False, name=name)(x)
    x = normalise(design, x, name)
    name = f"pointwise_{number}"
    x = layers.Conv2D(filters, (1, 1), use_bias=False, name=name)(x)
    return normalise(design, x, name)


def finish(design: Design, inputs: Any, mean: Any, largest: Any, name: str) -> Any:
    """Join mean and maximum, each (batch, n), to the embedding, and put dropout and the dense layer of the logits on it."""
    layers = design.layers
    embedding = layers.Concatenate(name=EMBEDDING)([mean, largest])
    logits = layers.Dense(design.n_labels, name=LOGITS)(layers.Dropout(design.dropout, name="dropout")(embedding))
    return design.keras.Model(inputs, logits, name=name)
