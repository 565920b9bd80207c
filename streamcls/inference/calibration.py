"""From a model's outputs to probabilities that mean what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from streamcls.errors import BundleError
from streamcls.types import read_only

if TYPE_CHECKING:
    from streamcls.types import FloatArray

__all__ = ["Calibration"]

_LARGEST: Final = 1e6
"""Scaled outputs beyond it, infinity included, count as it: no probability can tell them apart."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Temperature or vector scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks"), then the activation.

    Attributes
    ----------
    activation
        ``softmax`` (labels exclude each other), ``sigmoid`` (each stands alone), ``identity`` (the model puts out probabilities).
    temperature
        Divides every output; above 0. Above 1 it makes the model less sure.
    bias
        Added per label after that; empty for none.
    """

    activation: Literal["softmax", "sigmoid", "identity"]
    temperature: float = 1.0
    bias: tuple[float, ...] = ()

    def posterior(self, logits: FloatArray) -> FloatArray:
        """Return probabilities, shape (n_labels,), float32, each 0 to 1.

        Raises
        ------
        BundleError
            The model put out NaN.
        """
        with np.errstate(over="ignore"):
            values = logits.astype(np.float64) / self.temperature
            if self.bias:
                values = values + np.asarray(self.bias)
        if np.isnan(values).any():
            number = int(np.argmax(np.isnan(values)))
            raise BundleError(
                f"the model put out NaN for label {number}: it is damaged, or its input is not what it expects"
            )
        values = np.clip(values, -_LARGEST, _LARGEST)
        if self.activation == "softmax":
            values = np.exp(values - values.max())
            values /= values.sum()
        elif self.activation == "sigmoid":
            values = 0.5 * (1.0 + np.tanh(0.5 * values))
        return read_only(np.clip(values, 0.0, 1.0).astype(np.float32))
