"""A real model to test with: a bundle that ships with streamcls, or YAMNet from the labelled audio."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from yamnet import write_yamnet_bundle

from streamcls.inference import bundled_model_paths, find_bundles

__all__ = ["real_bundle"]


def real_bundle(folder: Path, name: str = "genre-cnn") -> Path:
    """Return the folder of a bundle, writing one into ``folder`` where none of that name ships; skip where there is none at all."""
    shipped = find_bundles(bundled_model_paths())
    if name in shipped:
        return shipped[name]
    data = os.environ.get("STREAMCLS_DATA")
    if not data:
        pytest.skip(f"no bundle {name} ships with this checkout, and STREAMCLS_DATA is not set")
    return write_yamnet_bundle(Path(data), folder)
