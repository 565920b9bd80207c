"""``ds_cnn``: the depthwise-separable convolutional network of keyword spotting (Zhang et al. 2017, "Hello Edge")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from streamcls.training.networks.design import convolve, finish, separable, start

if TYPE_CHECKING:
    from streamcls.training.networks.design import Convolution, Design, Pair

__all__ = ["build"]

# (filters, (kernel, strides) over time and bands) of the standard convolutions; (filters, strides) of each separable block.
# Where TensorFlow trains on a processor, a depthwise convolution over a large map takes longest: M and L have none of these, so that a
# step of training takes no longer than one of a network with half its parameters.
_SIZES: Final[dict[str, tuple[tuple[Convolution, ...], tuple[tuple[int, Pair], ...]]]] = {
    "S": (((16, (3, 3), (2, 2)),), ((48, (2, 2)), (64, (1, 1)), (96, (2, 2)), (96, (1, 1)))),
    "M": (((24, (5, 3), (4, 2)), (64, (3, 3), (1, 2)), (128, (3, 3), (2, 2))), ((192, (1, 1)), (256, (1, 1)))),
    "L": (
        ((32, (5, 3), (4, 2)), (96, (3, 3), (1, 2)), (192, (3, 3), (2, 2))),
        ((320, (1, 1)), (384, (1, 1)), (512, (1, 1))),
    ),
}


def build(design: Design) -> Any:
    """Build the network, from (batch, n_frames, n_features) to logits (batch, n_labels).

    Standard convolutions over time and bands, then depthwise 3 x 3 and pointwise 1 x 1 convolutions, each with batch
    normalisation and ReLU; the mean over time and bands beside the maximum (a shot is short); a dropout; one dense layer.
    """
    layers = design.layers
    inputs, bands = start(design)
    standard, blocks = _SIZES[design.size]
    x = layers.Reshape((design.n_frames, int(bands.shape[-1]), 1), name="image")(bands)
    for number, layer in enumerate(standard, 1):
        x = convolve(design, x, layer, f"convolution_{number}")
    for number, (filters, strides) in enumerate(blocks, 1):
        x = separable(design, x, filters, strides, number)
    area = tuple(int(n) for n in x.shape[1:3])
    mean = layers.Flatten(name="mean_flat")(layers.AveragePooling2D(area, name="mean")(x))
    largest = layers.Flatten(name="maximum_flat")(layers.MaxPooling2D(area, name="maximum")(x))
    return finish(design, inputs, mean, largest, f"ds_cnn_{design.size}")
