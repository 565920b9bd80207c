"""``crnn``: depthwise-separable convolutions that reduce bands and time, then a long short-term memory over what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from streamcls.training.networks.design import convolve, finish, separable, start

if TYPE_CHECKING:
    from streamcls.training.networks.design import Design

__all__ = ["build"]

# Filters of the stem; (filters, stride over time and bands) of each depthwise-separable block; units of the recurrent layer.
_SIZES: Final[dict[str, tuple[int, tuple[tuple[int, tuple[int, int]], ...], int]]] = {
    "S": (12, ((24, (2, 2)), (32, (2, 2)), (24, (1, 2))), 64),
    "M": (16, ((32, (2, 2)), (64, (2, 2)), (48, (1, 2))), 96),
    "L": (32, ((64, (2, 2)), (128, (2, 2)), (128, (1, 2))), 256),
}


def build(design: Design) -> Any:
    """Build the network, from (batch, n_frames, n_features) to logits (batch, n_labels).

    Convolutions leave an eighth of the frames and a sixteenth of the bands; one recurrent layer reads these steps, all bands
    and filters of a step side by side; the mean of its outputs over time beside the maximum; a dropout; one dense layer.
    """
    layers = design.layers
    inputs, bands = start(design)
    stem, blocks, units = _SIZES[design.size]
    x = layers.Reshape((design.n_frames, int(bands.shape[-1]), 1), name="image")(bands)
    x = convolve(design, x, (stem, (3, 3), (2, 2)), "convolution_1")
    for number, (filters, strides) in enumerate(blocks, 1):
        x = separable(design, x, filters, strides, number)
    steps, height, filters = (int(n) for n in x.shape[1:])
    x = layers.Reshape((steps, height * filters), name="steps")(x)
    x = layers.LSTM(units, return_sequences=True, name="lstm_1")(x)
    mean = layers.GlobalAveragePooling1D(name="mean")(x)
    largest = layers.GlobalMaxPooling1D(name="maximum")(x)
    return finish(design, inputs, mean, largest, f"crnn_{design.size}")
