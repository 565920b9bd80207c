"""The one door to TensorFlow."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from streamcls.errors import TrainingError

__all__ = ["load_tensorflow"]


def load_tensorflow() -> Any:
    """Import TensorFlow quietly and return the module.

    Raises
    ------
    TrainingError
        It is not installed.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise TrainingError("training needs TensorFlow, which is not installed: pip install 'streamcls[train]'")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    return tf
