"""From a Keras model to TensorFlow Lite."""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import numpy as np

from streamcls.errors import TrainingError
from streamcls.training.networks import RECURRENT, kind_of, rebuild
from streamcls.training.tensorflow import load_tensorflow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamcls.training.recipe_tables import QuantisationTable
    from streamcls.types import FloatArray

__all__ = ["convert"]


def convert(model: Any, table: QuantisationTable, representative: FloatArray) -> bytes:
    """Convert a model of one window at a time.

    A recurrent network is built once more for a batch of one: only so does TensorFlow's converter turn it into the fused
    operation ``UNIDIRECTIONAL_SEQUENCE_LSTM``, whose state whoever runs it must reset before every window.

    Parameters
    ----------
    model
        Of :func:`streamcls.training.networks.build_network`; its name tells its kind.
    representative
        Shape (n, n_frames, n_features): windows of the training split, from which ``int8`` takes the range of every tensor.

    Returns
    -------
    The TensorFlow Lite file. ``int8``: integers throughout, input and output too; ``dynamic_range``: 8-bit weights, float
    tensors; ``float32``: as trained.

    Raises
    ------
    TrainingError
        ``int8`` of a recurrent network, which runs several times slower than ``dynamic_range``.
    """
    tf = load_tensorflow()
    kind, _ = kind_of(model)
    if kind in RECURRENT:
        if table.kind == "int8":
            raise TrainingError(
                f"quantisation.kind is 'int8', which a network of kind {kind!r} cannot have: a recurrent layer in integers "
                'takes several times as long; set quantisation.kind = "dynamic_range"'
            )
        converter = tf.lite.TFLiteConverter.from_keras_model(rebuild(model, tf.keras, batch=1))
    else:
        inputs = tf.keras.Input(model.input_shape[1:], batch_size=1, name="features")
        converter = tf.lite.TFLiteConverter.from_keras_model(tf.keras.Model(inputs, model(inputs, training=False)))
    if table.kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        # One scale for the whole of a dense layer: tflite-runtime 2.14 does not know them with a scale for each output.
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True  # noqa: SLF001 - no public name
    if table.kind == "int8":
        limit = float(np.percentile(np.abs(representative), table.clip_percentile))
        clipped = np.clip(representative, -limit, limit).astype(np.float32)

        def samples() -> Iterator[list[FloatArray]]:
            for window in clipped:
                yield [window[None]]

        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
    # The converter prints its paths, and warns of statistics that it then gathers from the representative data.
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content: bytes = converter.convert()
    return content
