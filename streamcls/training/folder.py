"""A recipe for whoever has a folder of labelled files and no wish to write one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from streamcls.errors import TrainingError
from streamcls.training.corpora import AUDIO_SUFFIXES
from streamcls.training.recipe import CorpusTable, NetworkTable, Recipe, WindowTable

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["recipe_for_folder"]

_FEWEST_LABELS: Final = 2
_N_FRAMES: Final = 130
_STRIDE_FRAMES: Final = 43


def recipe_for_folder(folder: Path, name: str | None = None) -> Recipe:
    """Make a recipe for a folder of ``label/file`` folders: labels that exclude each other, windows of 3.1 s every second.

    Raises
    ------
    TrainingError
        Fewer than two folders with audio files, or a name that no model may have.
    """
    labels = sorted(
        item.name
        for item in folder.iterdir()
        if item.is_dir() and any(f.suffix.lower() in AUDIO_SUFFIXES for f in item.rglob("*"))
    )
    if len(labels) < _FEWEST_LABELS:
        raise TrainingError(
            f"{folder} has {len(labels)} folders with audio files ({', '.join(labels) or 'none'}), expected at least two, one per label"
        )
    chosen = name or re.sub(r"[^a-z0-9._-]+", "-", folder.resolve().name.lower()).strip("-._") or "model"
    try:
        return Recipe(
            name=chosen,
            version="1",
            task="sound",
            description=f"Trained on a folder with the labels {', '.join(labels)}.",
            labels=dict.fromkeys(labels, ""),
            front_end={"normalise": "window"},
            window=WindowTable(n_frames=_N_FRAMES, stride_frames=_STRIDE_FRAMES),
            corpus=(CorpusTable(name="folder", path=str(folder), layout="folder"),),
            network=NetworkTable(size="S"),
        )
    except ValueError as error:
        raise TrainingError(f"no recipe can be made for {folder}: {error}") from error
