"""``lstm``: long short-term memory over frames, some of them at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from streamcls.training.networks.design import finish, normalise, start

if TYPE_CHECKING:
    from streamcls.training.networks.design import Design

__all__ = ["build"]

_FRAMES_PER_STEP: Final = 4
"""Frames that one step reads side by side: a fused LSTM's time goes with its steps, and neighbouring frames overlap anyway."""

# Width of the layer that joins the frames of a step, then the units of each recurrent layer.
_SIZES: Final[dict[str, tuple[int, tuple[int, ...]]]] = {
    "S": (64, (96,)),
    "M": (128, (144,)),
    "L": (256, (320, 256)),
}


def build(design: Design) -> Any:
    """Build the network, from (batch, n_frames, n_features) to logits (batch, n_labels).

    A dense layer joins each group of neighbouring frames (what is left over at the end of a window is not read), with batch
    normalisation and ReLU; recurrent layers read these steps; the mean of their outputs over time beside the maximum; a
    dropout; one dense layer.
    """
    layers = design.layers
    inputs, bands = start(design)
    width, units = _SIZES[design.size]
    x = layers.Conv1D(width, _FRAMES_PER_STEP, strides=_FRAMES_PER_STEP, use_bias=False, name="join")(bands)
    x = normalise(design, x, "join")
    for number, count in enumerate(units, 1):
        x = layers.LSTM(count, return_sequences=True, name=f"lstm_{number}")(x)
    mean = layers.GlobalAveragePooling1D(name="mean")(x)
    largest = layers.GlobalMaxPooling1D(name="maximum")(x)
    return finish(design, inputs, mean, largest, f"lstm_{design.size}")
