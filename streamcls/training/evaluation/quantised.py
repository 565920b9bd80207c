"""A float network beside the quantised model that was made from it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.errors import TrainingError
from streamcls.training.tensorflow import load_tensorflow

if TYPE_CHECKING:
    from pathlib import Path

    from streamcls.training.evaluation.candidates import Candidate
    from streamcls.types import FloatArray

__all__ = ["float_candidate"]

_BATCH: Final = 256


def float_candidate(quantised: Candidate, n_outputs: int, file: Path) -> Candidate:
    """Make a candidate of the network in a ``.keras`` file, with the bundle's front end, windows and calibration.

    Raises
    ------
    TrainingError
        TensorFlow is missing, or the file holds no network of this shape.
    """
    tensorflow = load_tensorflow()
    try:
        model: Any = tensorflow.keras.models.load_model(file, compile=False)
    except (OSError, ValueError, TypeError) as error:
        raise TrainingError(f"--float {file}: no network can be read from it: {error}") from error
    expected, actual = (quantised.n_frames, quantised.spec.n_features), tuple(model.input_shape[1:3])
    if actual != expected or model.output_shape[-1] != n_outputs:
        raise TrainingError(
            f"--float {file}: takes {actual} and gives {model.output_shape[-1]} outputs, "
            f"{quantised.name} takes {expected} and gives {n_outputs}"
        )

    def run(features: FloatArray) -> FloatArray:
        parts = [
            np.asarray(model(features[start : start + _BATCH], training=False))
            for start in range(0, len(features), _BATCH)
        ]
        return np.concatenate(parts)

    facts = {"bytes": file.stat().st_size, "parameters": int(model.count_params()), "quantisation": "float32"}
    name = f"{quantised.name} (float)"
    return replace(quantised, name=name, run=run, facts=facts, remarks=(f"{name}: the network in {file.name}.",))
