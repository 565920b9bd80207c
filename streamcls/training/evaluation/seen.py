"""Whether a model was trained on what it is measured on."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from streamcls.errors import TrainingError
from streamcls.training.corpora import read_corpora
from streamcls.training.features import file_hash
from streamcls.training.recipe import load_recipe
from streamcls.training.record import DATA_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from streamcls.training.corpora import Clip

__all__ = ["count_seen"]


def count_seen(bundle: Path, clips: Sequence[Clip]) -> int:
    """Return how many clips the model of a bundle was trained on, by the content of their files.

    The record of its run beside the bundle says what that was; where there is none, the recipe in the bundle, if its corpora lie here.

    Raises
    ------
    TrainingError
        There is neither.
    """
    record = bundle.with_name(f"{bundle.name}.run") / DATA_FILE
    seen = _recorded(record) if _is_of(bundle, record) else _recomputed(bundle / "recipe.toml", clips)
    hashes: dict[Path, str] = {}
    for clip in clips:
        if clip.path.is_file():
            hashes[clip.path] = hashes.get(clip.path) or file_hash(clip.path)
    return sum((hashes.get(clip.path, ""), clip.row) in seen for clip in clips)


def _is_of(bundle: Path, record: Path) -> bool:
    """Tell whether a record is of the run that made the bundle, and not of a later one."""
    recipes = (record.with_name("recipe.toml"), bundle / "recipe.toml")
    return (
        record.is_file()
        and all(path.is_file() for path in recipes)
        and recipes[0].read_bytes() == recipes[1].read_bytes()
    )


def _recorded(record: Path) -> set[tuple[str, int | None]]:
    """Return SHA-256 and row of what a run trained on."""
    try:
        with record.open(encoding="utf-8", newline="") as file:
            return {
                (row["sha256"], int(row["row"]) if row["row"] else None)
                for row in csv.DictReader(file)
                if row["split"] == "train"
            }
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, TypeError) as error:
        raise TrainingError(f"{record} is no record of a run: {error}") from error


def _recomputed(recipe: Path, clips: Sequence[Clip]) -> set[tuple[str, int | None]]:
    """Return SHA-256 and row of what a recipe trains on, of files that have the size of one of the clips' files."""
    if not recipe.is_file():
        raise TrainingError(f"there is neither the record of its run nor {recipe}")
    trained = [clip for clip in read_corpora(load_recipe(recipe), {}) if clip.split == "train" and clip.path.is_file()]
    sizes = {clip.path.stat().st_size for clip in clips if clip.path.is_file()}
    near = {clip.path for clip in trained if clip.path.stat().st_size in sizes}
    hashes = {path: file_hash(path) for path in near}
    return {(hashes[clip.path], clip.row) for clip in trained if clip.path in near}
