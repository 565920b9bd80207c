"""From a Keras model to TensorFlow Lite."""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import numpy as np

from streamcls.training.tensorflow import load_tensorflow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamcls.training.recipe import QuantisationTable
    from streamcls.types import FloatArray

__all__ = ["convert"]


def convert(model: Any, table: QuantisationTable, representative: FloatArray) -> bytes:
    """Convert a model of one window at a time.

    Parameters
    ----------
    representative
        Shape (n, n_frames, n_features): windows of the training split, from which ``int8`` takes the range of every tensor.

    Returns
    -------
    The TensorFlow Lite file. ``int8``: integers throughout, input and output too; ``dynamic_range``: 8-bit weights, float
    tensors; ``float32``: as trained.
    """
    tf = load_tensorflow()
    inputs = tf.keras.Input(model.input_shape[1:], batch_size=1, name="features")
    converter = tf.lite.TFLiteConverter.from_keras_model(tf.keras.Model(inputs, model(inputs, training=False)))
    if table.kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
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
