"""Affine quantisation, ``real = scale * (integer - zero_point)``, as TensorFlow Lite defines it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from streamcls.types import FloatArray

__all__ = ["Quantisation", "dequantise", "quantise"]


@dataclass(frozen=True, slots=True)
class Quantisation:
    """One tensor's parameters: ``scale`` above zero, ``zero_point`` an integer of the tensor's type."""

    scale: float
    zero_point: int


def quantise(values: FloatArray, parameters: Quantisation, dtype: Any) -> np.ndarray[Any, Any]:
    """Round real values to the nearest integer of ``dtype`` (int8 or uint8); what lies outside its range is clipped."""
    limits = np.iinfo(dtype)
    scaled = np.rint(values / np.float32(parameters.scale)) + parameters.zero_point
    integers: np.ndarray[Any, Any] = np.clip(scaled, limits.min, limits.max).astype(dtype)
    return integers


def dequantise(integers: np.ndarray[Any, Any], parameters: Quantisation) -> FloatArray:
    """Return the real values that integers stand for, float32."""
    return (integers.astype(np.float32) - np.float32(parameters.zero_point)) * np.float32(parameters.scale)
