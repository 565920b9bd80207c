"""Networks: ``ds_cnn``, ``lstm`` and ``crnn``, each in the sizes S, M and L."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from streamcls.errors import TrainingError
from streamcls.training.networks import crnn as _crnn
from streamcls.training.networks import ds_cnn as _ds_cnn
from streamcls.training.networks import lstm as _lstm
from streamcls.training.networks.design import EMBEDDING, TO_BANDS, Design
from streamcls.training.tensorflow import load_tensorflow

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamcls.types import FloatArray

__all__ = ["RECURRENT", "build_network", "kind_of", "rebuild", "with_teacher_head"]

RECURRENT: Final = frozenset({"lstm", "crnn"})
"""Kinds that carry a state from step to step."""

_BUILDERS: Final[dict[str, Callable[[Design], Any]]] = {
    "ds_cnn": _ds_cnn.build,
    "lstm": _lstm.build,
    "crnn": _crnn.build,
}


def build_network(
    kind: str,
    size: str,
    n_frames: int,
    n_features: int,
    n_labels: int,
    *,
    inverse_dct: FloatArray | None,
    dropout: float,
) -> Any:
    """Build a network for training.

    Parameters
    ----------
    kind
        ``ds_cnn``, ``lstm`` or ``crnn``.
    size
        S, M or L: at most 100 KB, 500 KB and 2 MB once quantised.
    inverse_dct
        Shape (n_features, n_bands). Where it is given, the network begins with a trainable linear layer over the coefficients
        that starts as this matrix, so that convolutions see neighbouring bands side by side.
    dropout
        Share of the embedding's values that training leaves out, 0 to 1.

    Returns
    -------
    The model, from (batch, n_frames, n_features) to logits (batch, n_labels), named ``kind_size``; its layer ``embedding`` is
    what the logits are made from.
    """
    n_bands = 0 if inverse_dct is None else int(inverse_dct.shape[1])
    keras = load_tensorflow().keras
    design = Design(keras, size, n_frames, n_features, n_labels, n_bands, inverse_dct, dropout)
    return _BUILDERS[kind](design)


def kind_of(model: Any) -> tuple[str, str]:
    """Return kind and size of a model of :func:`build_network`, from its name.

    Raises
    ------
    TrainingError
        The name is of another form.
    """
    kind, _, size = str(model.name).rpartition("_")
    if kind not in _BUILDERS:
        raise TrainingError(f"the model {model.name!r} is none of {', '.join(_BUILDERS)}: build it with build_network")
    return kind, size


def rebuild(model: Any, keras: Any, batch: int) -> Any:
    """Build a model of :func:`build_network` once more, by a Keras of choice and for a fixed number of windows, with its weights."""
    kind, size = kind_of(model)
    _, n_frames, n_features = model.input_shape
    names = {layer.name for layer in model.layers}
    n_bands = int(model.get_layer(TO_BANDS).get_weights()[0].shape[1]) if TO_BANDS in names else 0
    n_labels = int(model.output_shape[-1])
    copy = _BUILDERS[kind](Design(keras, size, n_frames, n_features, n_labels, n_bands, batch=batch))
    for layer in copy.layers:
        if layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return copy


def with_teacher_head(model: Any, n_classes: int) -> Any:
    """Return a model with a second output for the teacher's classes, logits (batch, n_classes), that shares everything else."""
    keras = load_tensorflow().keras
    embedding = model.get_layer(EMBEDDING).output
    head = keras.layers.Dense(n_classes, name="teacher")(embedding)
    return keras.Model(model.input, [model.output, head], name=f"{model.name}_taught")
