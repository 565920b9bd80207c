"""Writing a bundle: a folder that is either whole or not there."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from streamcls.inference.bundle import BUNDLE_FORMAT
from streamcls.inference.search import BUNDLE_FILE
from streamcls.training.toml import dump_toml

if TYPE_CHECKING:
    from streamcls.training.recipe import Recipe

__all__ = ["BundleContent", "frozen_recipe", "replace_folder", "write_bundle", "write_files"]

_MODEL: Final = "model.tflite"
_LABELS: Final = "labels.txt"


@dataclass(frozen=True, slots=True)
class BundleContent:
    """What goes into a bundle besides its recipe.

    Attributes
    ----------
    golden, metrics, card
        Contents of ``golden.npz``, ``metrics.json`` and ``CARD.md``; None where they do not exist yet.
    """

    model: bytes
    temperature: float
    thresholds: dict[str, float]
    provenance: dict[str, Any]
    golden: bytes | None = None
    metrics: dict[str, Any] | None = None
    card: str | None = None


def frozen_recipe(recipe: Recipe) -> str:
    """Write a recipe with every default spelt out; reading it gives the same recipe."""
    data = recipe.model_dump(mode="json")
    data["front_end"] = asdict(recipe.spec)
    return dump_toml(data)


def write_bundle(folder: Path, recipe: Recipe, content: BundleContent) -> Path:
    """Write a bundle, replacing what was there, and return its folder."""
    files = {
        _MODEL: content.model,
        _LABELS: "".join(f"{label}\t{taxonomy}".rstrip() + "\n" for label, taxonomy in recipe.labels.items()).encode(),
        "recipe.toml": frozen_recipe(recipe).encode(),
    }
    if content.golden is not None:
        files["golden.npz"] = content.golden
    if content.metrics is not None:
        files["metrics.json"] = (json.dumps(content.metrics, indent=1, ensure_ascii=False) + "\n").encode()
    if content.card is not None:
        files["CARD.md"] = content.card.encode()
    spec = recipe.spec
    manifest = {
        "format": BUNDLE_FORMAT,
        "name": recipe.name,
        "version": recipe.version,
        "task": recipe.task,
        "description": recipe.description,
        "model": {
            "file": _MODEL,
            "labels": _LABELS,
            "input_shape": [1, recipe.window.n_frames, spec.n_features],
            "quantisation": recipe.quantisation.kind,
        },
        "front_end": asdict(spec),
        "window": recipe.window.model_dump(),
        "calibration": {
            "activation": recipe.activation,
            "temperature": content.temperature,
            "thresholds": content.thresholds,
            **({"background": list(recipe.background)} if recipe.background else {}),
        },
        "provenance": content.provenance,
    }
    return write_files(folder, manifest, files)


def write_files(folder: Path, manifest: dict[str, Any], files: dict[str, bytes]) -> Path:
    """Write a bundle of a manifest without its table ``files`` and the files by name; replace what was there, and return the folder."""
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    made.chmod(0o755)
    for name, data in {**files, BUNDLE_FILE: dump_toml({**manifest, "files": hashes}).encode()}.items():
        (made / name).write_bytes(data)
    replace_folder(made, folder)
    return folder


def replace_folder(made: Path, folder: Path) -> None:
    """Put a finished folder in the place of another; a reader sees the old one, for an instant none, or the new one."""
    old = made.with_name(made.name + ".old")
    if folder.exists():
        folder.rename(old)
    made.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
