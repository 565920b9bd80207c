"""Goldens: a few real windows, and the logits that a model gives for them, so that every runtime can be held against them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from streamcls.inference import Quantisation, dequantise, quantise

if TYPE_CHECKING:
    from streamcls.types import FloatArray

__all__ = ["golden_bytes", "plain_logits", "rounded_windows"]


def rounded_windows(features: FloatArray) -> FloatArray:
    """Round windows to half precision, so that the file stays small, and return them as float32 again."""
    return features.astype(np.float16).astype(np.float32)


def plain_logits(model: bytes, features: FloatArray, output: str | None = None) -> FloatArray:
    """Run a model by TensorFlow Lite's own kernels, without the XNNPACK delegate: as tflite-runtime and small boxes do.

    XNNPACK rounds otherwise. Each integer layer may differ by one step now and then, and after a dozen layers the outputs do, by
    some steps.

    Parameters
    ----------
    features
        Shape (n, n_frames, n_features).
    output
        Name of the output, where the model has several.

    Returns
    -------
    Logits, shape (n, n_labels).
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter: Any = Interpreter(
        model_content=model,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    target: Any = next(one for one in interpreter.get_output_details() if output in (None, one["name"]))
    rows = []
    for window in features:
        values: np.ndarray[Any, Any] = window.reshape(source["shape"])
        if source["dtype"] != np.float32:
            values = quantise(window.reshape(source["shape"]), Quantisation(*source["quantization"]), source["dtype"])
        interpreter.reset_all_variables()
        interpreter.set_tensor(source["index"], values)
        interpreter.invoke()
        row: np.ndarray[Any, Any] = interpreter.get_tensor(target["index"]).reshape(-1)
        rows.append(row if row.dtype == np.float32 else dequantise(row, Quantisation(*target["quantization"])))
    return np.stack(rows).astype(np.float32)


def golden_bytes(features: FloatArray, logits: FloatArray, logits_plain: FloatArray) -> bytes:
    """Pack windows, shape (n, n_frames, n_features), and both kernels' logits, shape (n, n_labels), as an NPZ file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, features=features, logits=logits, logits_plain=logits_plain)
    return buffer.getvalue()
