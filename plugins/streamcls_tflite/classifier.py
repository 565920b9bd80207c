"""One loaded model, whichever runtime interprets it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamcls import BundleError
from streamcls.inference import Quantisation, dequantise, quantise

if TYPE_CHECKING:
    from streamcls import BundleView, FeatureWindow
    from streamcls.types import FloatArray

__all__ = ["TfliteClassifier"]


class TfliteClassifier:
    """Feeds one window at a time to an interpreter. Used by one thread; an interpreter must not be shared."""

    def __init__(self, interpreter: Any, bundle: BundleView) -> None:
        self._interpreter = interpreter
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        where = str(bundle.path)
        if len(inputs) != 1:
            raise BundleError(f"{where}: the model has {len(inputs)} inputs, expected 1")
        self._input = inputs[0]
        self._output = self._choose(outputs, bundle)
        shape = tuple(int(n) for n in self._input["shape"])
        if shape != bundle.input_shape:
            raise BundleError(
                f"{where}: model.input_shape is {list(bundle.input_shape)}, the model wants {list(shape)}; "
                "the file is another model's: put the whole folder there anew"
            )
        size = int(np.prod(self._output["shape"]))
        if size != bundle.n_labels:
            raise BundleError(f"{where}: model.labels has {bundle.n_labels} labels, the model puts out {size}")
        self._shape = shape
        self._input_quantisation = _quantisation(self._input, where)
        self._output_quantisation = _quantisation(self._output, where)

    @staticmethod
    def _choose(outputs: list[dict[str, Any]], bundle: BundleView) -> dict[str, Any]:
        names = [str(output["name"]) for output in outputs]
        if bundle.output_name is None:
            if len(outputs) != 1:
                raise BundleError(f"{bundle.path}: model.output_name is missing; the model has {', '.join(names)}")
            return outputs[0]
        if bundle.output_name not in names:
            raise BundleError(
                f"{bundle.path}: model.output_name is {bundle.output_name!r}; the model has {', '.join(names)}"
            )
        return outputs[names.index(bundle.output_name)]

    def logits(self, window: FeatureWindow) -> FloatArray:
        """Run the model on one window, from a clean state; return its outputs, shape (n_labels,), float32."""
        values: np.ndarray[Any, Any] = window.features.reshape(self._shape)
        if self._input_quantisation is not None:
            values = quantise(values, self._input_quantisation, self._input["dtype"])
        self._interpreter.reset_all_variables()
        self._interpreter.set_tensor(self._input["index"], values)
        self._interpreter.invoke()
        output = self._interpreter.get_tensor(self._output["index"]).reshape(-1)
        if self._output_quantisation is not None:
            return dequantise(output, self._output_quantisation)
        return np.asarray(output, np.float32)

    def close(self) -> None:
        """Free the interpreter."""
        self._interpreter = None

    @property
    def output_step(self) -> float:
        """Distance of two neighbouring output values of a quantised model; 0 for a float output."""
        return self._output_quantisation.scale if self._output_quantisation else 0.0


def _quantisation(tensor: dict[str, Any], where: str) -> Quantisation | None:
    dtype = np.dtype(tensor["dtype"])
    if dtype == np.float32:
        return None
    if dtype not in (np.dtype(np.int8), np.dtype(np.uint8)):
        raise BundleError(f"{where}: tensor {tensor['name']} is {dtype}, expected float32, int8 or uint8")
    scale, zero_point = tensor["quantization"]
    if not scale > 0:
        raise BundleError(f"{where}: tensor {tensor['name']} is {dtype} without a scale")
    return Quantisation(float(scale), int(zero_point))
