"""The one door to TensorFlow."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from streamcls.errors import TrainingError

__all__ = ["load_tensorflow"]


def load_tensorflow() -> Any:
    """Import TensorFlow quietly, with tf-keras as its Keras, and return the module.

    tf-keras has fused batch normalisation (half the time of a training step on a CPU) and converts an LSTM into one fused operation.

    Raises
    ------
    TrainingError
        One of the two is not installed.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise TrainingError("training needs TensorFlow, which is not installed: pip install 'streamcls[train]'")
    if importlib.util.find_spec("tf_keras") is None:
        raise TrainingError("training needs tf-keras beside TensorFlow: pip install 'streamcls[train]'")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["TF_USE_LEGACY_KERAS"] = "1"  # tf.keras is tf_keras: see docs/decisions
    import tensorflow as tf

    return tf
