"""A recipe for whoever has a folder of labelled files and no wish to write one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from streamcls.errors import TrainingError
from streamcls.training.corpora import AUDIO_SUFFIXES, FOLDER
from streamcls.training.progress import note
from streamcls.training.recipe import Recipe
from streamcls.training.recipe_tables import LABEL, NAME, CorpusTable, NetworkTable, TrainingTable, WindowTable

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["recipe_for_folder"]

_FEWEST_LABELS: Final = 2
_N_FRAMES: Final = 130
_STRIDE_FRAMES: Final = 43
_EPOCHS: Final = 30
_WINDOWS_PER_EPOCH: Final = 2_048
"""Some minutes on two processor cores."""


def recipe_for_folder(folder: Path, name: str | None = None) -> Recipe:
    """Make a recipe for a folder of ``label/file`` folders: labels that exclude each other, windows of 3.1 s every second.

    How many files are passed over, not being audio by their names, is said on stderr; hidden files do not count.

    Raises
    ------
    TrainingError
        Fewer than two folders with audio files, or a name that no label or no model may have.
    """
    files = {item: [f for f in item.rglob("*") if f.is_file()] for item in sorted(folder.iterdir()) if item.is_dir()}
    labels = [item.name for item, found in files.items() if any(map(_is_audio, found))]
    if len(labels) < _FEWEST_LABELS:
        raise TrainingError(
            f"{folder} has {len(labels)} folders with audio files ({', '.join(labels) or 'none'}), expected at least two, one per label"
        )
    for label in labels:
        if not re.search(LABEL, label):
            raise TrainingError(
                f"{folder / label}: a folder's name is its label, which begins with a letter or digit of ASCII and goes on with these, "
                "spaces, '_', '.' and '-', 64 characters at most: give it another name"
            )
    chosen = name or re.sub(r"[^a-z0-9._-]+", "-", folder.resolve().name.lower()).strip("-._") or "model"
    if not re.search(NAME, chosen):
        raise TrainingError(
            f"{chosen!r} cannot be a model's name, which begins with a-z or 0-9 and goes on with these, '.', '_' and '-', "
            "64 characters at most: give another with --name"
        )
    others = [file for label in labels for file in files[folder / label] if not _is_audio(file)]
    passed_over = sum(not file.name.startswith(".") for file in others)
    if passed_over:
        endings = " ".join(sorted(AUDIO_SUFFIXES))
        note(f"{folder}: {passed_over} files passed over, their names end in none of {endings}")
    try:
        return Recipe(
            name=chosen,
            version="1",
            task="sound",
            description=f"Trained on a folder with the labels {', '.join(labels)}.",
            labels=dict.fromkeys(labels, ""),
            front_end={"normalise": "window"},
            window=WindowTable(n_frames=_N_FRAMES, stride_frames=_STRIDE_FRAMES),
            corpus=(CorpusTable(name=FOLDER, path=str(folder), layout="folder"),),
            network=NetworkTable(size="S"),
            training=TrainingTable(epochs=_EPOCHS, windows_per_epoch=_WINDOWS_PER_EPOCH),
        )
    except ValueError as error:
        raise TrainingError(f"no recipe can be made for {folder}: {error}") from error


def _is_audio(file: Path) -> bool:
    return file.suffix.lower() in AUDIO_SUFFIXES
