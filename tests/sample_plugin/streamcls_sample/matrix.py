"""A backend whose models are a matrix in JSON: the logits are its product with the mean of the window's frames."""

from __future__ import annotations

import json

import numpy as np

from streamcls import BundleError

__all__ = ["MatrixBackend"]


class MatrixClassifier:
    """One loaded matrix, shape (n_labels, n_features)."""

    def __init__(self, matrix):
        self._matrix = matrix

    def logits(self, window):
        """Return shape (n_labels,), float32."""
        return self._matrix @ window.features.mean(axis=0)

    def close(self):
        """Free the matrix."""
        self._matrix = None


class MatrixBackend:
    """Needs nothing but numpy."""

    name = "matrix"

    @classmethod
    def unavailable(cls):
        """It is always available."""
        return ""

    def load(self, bundle):
        """Read the matrix and check its shape."""
        try:
            matrix = np.array(json.loads(bundle.model_bytes), np.float32)
        except ValueError as error:
            raise BundleError(f"{bundle.path}: the model is no matrix in JSON: {error}") from error
        wanted = (bundle.n_labels, bundle.input_shape[-1])
        if matrix.shape != wanted:
            raise BundleError(f"{bundle.path}: the matrix has the shape {matrix.shape}, expected {wanted}")
        return MatrixClassifier(matrix)
