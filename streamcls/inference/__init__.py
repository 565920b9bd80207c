"""Model bundles, quantised tensors and calibrated posteriors. Running a model is a backend's work, a plugin's."""

from __future__ import annotations

from streamcls.inference.bundle import Bundle, load_bundle
from streamcls.inference.calibration import Calibration
from streamcls.inference.quant import Quantisation, dequantise, quantise
from streamcls.inference.search import bundled_model_paths, find_bundles

__all__ = [
    "Bundle",
    "Calibration",
    "Quantisation",
    "bundled_model_paths",
    "dequantise",
    "find_bundles",
    "load_bundle",
    "quantise",
]
