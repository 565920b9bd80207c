"""What a TensorFlow Lite file says of itself: its input, its outputs, and how it is quantised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from streamcls.errors import BundleError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ModelFacts", "read_model"]

Kind = Literal["int8", "dynamic_range", "float16", "float32"]
_INTEGERS = (np.dtype(np.int8), np.dtype(np.uint8))


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model's file and its tensors.

    Attributes
    ----------
    input_shape
        The batch of one included.
    input_type
        ``float32``, ``int8`` or ``uint8``.
    outputs
        Number of values by the output's name, in the model's order.
    quantisation
        ``int8`` where input or output are integers, else by the type of the weights.
    """

    content: bytes
    input_shape: tuple[int, ...]
    input_type: str
    outputs: dict[str, int]
    quantisation: Kind

    def output_for(self, n_labels: int, name: str | None, where: str) -> str | None:
        """Choose the output that the labels belong to; None where there is one only.

        Raises
        ------
        BundleError
            No output, or not exactly one, has as many values as there are labels.
        """
        shown = ", ".join(f"{output} ({size})" for output, size in self.outputs.items())
        if name is not None and name not in self.outputs:
            raise BundleError(f"{where}: it has no output {name!r}; it has {shown}")
        fitting = [output for output, size in self.outputs.items() if size == n_labels and name in (None, output)]
        if not fitting:
            raise BundleError(f"{where}: there are {n_labels} labels, but the model's outputs have the sizes {shown}")
        if len(fitting) > 1:
            raise BundleError(
                f"{where}: several outputs have {n_labels} values: {shown}; choose one with --output-name"
            )
        return fitting[0] if len(self.outputs) > 1 else None


def read_model(path: Path) -> ModelFacts:
    """Read a model's file and ask the interpreter what it wants and gives.

    Raises
    ------
    BundleError
        It is no model, or one that cannot be run window by window; the message says which tensor is the reason.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from error
    try:
        interpreter: Any = Interpreter(model_content=content, num_threads=1)
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        tensors = interpreter.get_tensor_details()
    except (ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise BundleError(f"{path}: it is no TensorFlow Lite model that can be run here: {reason}") from error
    if len(inputs) != 1:
        names = ", ".join(f"{one['name']} {list(map(int, one['shape']))}" for one in inputs) or "none"
        raise BundleError(f"{path}: it has {len(inputs)} inputs ({names}), expected one: a window of audio or features")
    source = inputs[0]
    _check_type(path, "input", source)
    if -1 in source["shape_signature"][1:] or (len(source["shape"]) == 1 and -1 in source["shape_signature"]):
        signature = [int(size) for size in source["shape_signature"]]
        raise BundleError(
            f"{path}: its input {source['name']} has no fixed length ({signature}); convert it again with the length of one window"
        )
    if len(source["shape"]) > 1 and int(source["shape"][0]) != 1:
        shape = list(map(int, source["shape"]))
        raise BundleError(f"{path}: its input {source['name']} is {shape}, expected one window at a time: [1, ...]")
    for one in outputs:
        _check_type(path, "output", one)
    kinds = {np.dtype(source["dtype"]), *(np.dtype(one["dtype"]) for one in outputs)}
    return ModelFacts(
        content,
        tuple(int(size) for size in source["shape"]),
        np.dtype(source["dtype"]).name,
        {str(one["name"]): int(np.prod(one["shape"])) for one in outputs},
        "int8" if kinds & set(_INTEGERS) else _of_weights(tensors),
    )


def _check_type(path: Path, what: str, tensor: dict[str, Any]) -> None:
    dtype = np.dtype(tensor["dtype"])
    if dtype != np.float32 and dtype not in _INTEGERS:
        raise BundleError(f"{path}: its {what} {tensor['name']} is {dtype}, expected float32, int8 or uint8")
    if dtype in _INTEGERS and not tensor["quantization"][0] > 0:
        raise BundleError(
            f"{path}: its {what} {tensor['name']} is {dtype} without a scale, so that its values mean nothing"
        )


def _of_weights(tensors: list[dict[str, Any]]) -> Kind:
    """Tell how the weights of a model with float input and output are kept, by which types there are at all."""
    types = {np.dtype(tensor["dtype"]) for tensor in tensors}
    if types & set(_INTEGERS):
        return "dynamic_range"
    return "float16" if np.dtype(np.float16) in types else "float32"
