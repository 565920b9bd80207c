"""A real model to test with: a bundle that ships with streamcls, or YAMNet from the labelled audio."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import pytest
from yamnet import write_yamnet_bundle

from streamcls.inference import bundled_model_paths, find_bundles
from streamcls.training.export import write_files

__all__ = ["as_trained", "real_bundle"]


def real_bundle(folder: Path, name: str = "genre-cnn") -> Path:
    """Return the folder of a bundle, writing one into ``folder`` where none of that name ships; skip where there is none at all."""
    shipped = find_bundles(bundled_model_paths())
    if name in shipped:
        return shipped[name]
    data = os.environ.get("STREAMCLS_DATA")
    if not data:
        pytest.skip(f"no bundle {name} ships with this checkout, and STREAMCLS_DATA is not set")
    return write_yamnet_bundle(Path(data), folder)


def as_trained(bundle: Path, folder: Path) -> Path:
    """Copy a bundle as training left it, without the thresholds that were chosen on programmes afterwards, and return its folder."""
    manifest = tomllib.loads((bundle / "bundle.toml").read_text("utf-8"))
    chosen = manifest["provenance"].pop("thresholds", {"replaced": {}})
    manifest["calibration"]["thresholds"] |= chosen["replaced"]
    files = {name: (bundle / name).read_bytes() for name in manifest.pop("files")}
    files["CARD.md"] = files["CARD.md"].partition(b"\n## Thresholds")[0]
    metrics = json.loads(files["metrics.json"])
    metrics.pop("thresholds", None)
    files["metrics.json"] = json.dumps(metrics).encode()
    return write_files(folder, manifest, files)
