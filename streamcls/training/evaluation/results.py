"""The folder into which a comparison is written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from streamcls.training.evaluation.plots import can_draw, draw
from streamcls.training.evaluation.tables import comparison_markdown

if TYPE_CHECKING:
    from pathlib import Path

    from streamcls.training.evaluation.compare import Comparison

__all__ = ["write_results"]


def write_results(comparison: Comparison, folder: Path) -> tuple[list[Path], str]:
    """Write ``evaluation.json``, ``evaluation.md``, ``curves.json`` and the pictures.

    Returns
    -------
    The files, and why something was left out; an empty string where nothing was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "evaluation.json": json.dumps(comparison.figures, indent=1, ensure_ascii=False) + "\n",
        "curves.json": json.dumps(comparison.curves, ensure_ascii=False) + "\n",
        "evaluation.md": comparison_markdown(comparison),
    }
    files = []
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
        files.append(folder / name)
    if not can_draw():
        return files, "no pictures: matplotlib is not installed (pip install 'streamcls[train]')"
    return [*files, *draw(comparison, folder)], ""
