"""The record of a run, in a folder beside its bundle: recipe, data, versions, curves, float network, unfinished state."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import platform
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from streamcls.errors import TrainingError
from streamcls.training.features import file_hash
from streamcls.training.tensorflow import load_tensorflow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamcls.training.corpora import Clip

__all__ = ["DATA_FILE", "RunFolder", "data_digests", "draw_curves", "git_revision", "identity_of", "machine"]

DATA_FILE: Final = "data.csv"
_DIGEST_DIGITS: Final = 16


class RunFolder:
    """``recipe.toml``, ``data.csv``, ``run.json``, ``curves.json``, ``curves.png``, ``float.keras`` and ``checkpoint/``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.network = path / "float.keras"
        self.checkpoint = path / "checkpoint"

    @staticmethod
    def data_table(clips: Sequence[Clip]) -> str:
        """Return the content of ``data.csv``."""
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("corpus", "split", "label", "group", "path", "row", "sha256"))
        hashes: dict[Path, str] = {}
        for clip in clips:
            digest = hashes.setdefault(clip.path, "") or file_hash(clip.path)
            hashes[clip.path] = digest
            row = "" if clip.row is None else clip.row
            writer.writerow((clip.corpus, clip.split, clip.found, clip.group, clip.path, row, digest))
        return table.getvalue()

    def begin(self, recipe_text: str, table: str) -> None:
        """Write down what is about to be trained on what.

        Parameters
        ----------
        table
            Content of ``data.csv``.

        Raises
        ------
        TrainingError
            The folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for stale in (self.network, self.path / "curves.json", self.path / "curves.png"):
                stale.unlink(missing_ok=True)  # of an earlier run, which the rest of the folder no longer tells of
            (self.path / "recipe.toml").write_text(recipe_text, "utf-8")
            (self.path / DATA_FILE).write_text(table, "utf-8")
            self.write("run.json", machine())
        except OSError as error:
            raise TrainingError(f"{self.path} cannot be written: {error.strerror}") from error

    def write(self, name: str, facts: dict[str, Any]) -> None:
        """Write a JSON file."""
        (self.path / name).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", "utf-8")


def identity_of(recipe_text: str, table: str) -> str:
    """Return a digest of a recipe and the content of ``data.csv``: what must be the same for an unfinished run to go on."""
    return hashlib.sha256((recipe_text + table).encode()).hexdigest()


def data_digests(clips: Sequence[Clip]) -> dict[str, str]:
    """Return a short hash per corpus of the content, labels and splits of its clips, whatever their place on the disk."""
    parts: dict[str, list[str]] = defaultdict(list)
    hashes: dict[Path, str] = {}
    for clip in clips:
        hashes[clip.path] = hashes.get(clip.path) or file_hash(clip.path)
        parts[clip.corpus].append(f"{hashes[clip.path]} {clip.row} {clip.split} {clip.found} {clip.group}")
    return {
        name: hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:_DIGEST_DIGITS]
        for name, lines in sorted(parts.items())
    }


def git_revision() -> str:
    """Return the revision of the checkout that this code runs from, with ``+`` where files differ from it; or an empty string."""
    here = str(Path(__file__).parents[1])

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(  # noqa: S603 - fixed commands
                ["git", "-C", here, *arguments],  # noqa: S607
                capture_output=True, text=True, check=False, timeout=10,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    revision = git("rev-parse", "--short=12", "HEAD")
    if not revision:
        return ""
    return revision + ("+" if git("status", "--porcelain", "--untracked-files=no", "--", here) else "")


def machine() -> dict[str, Any]:
    """Return what the run is made with: revision, versions, devices."""
    import av

    tf = load_tensorflow()
    return {
        "revision": git_revision(),
        "python": platform.python_version(),
        "tensorflow": str(tf.__version__),
        "pyav": str(av.__version__),
        "devices": [device.name for device in tf.config.list_physical_devices()],
    }


def draw_curves(curves: dict[str, list[float]], path: Path, title: str) -> bool:
    """Draw loss over epochs as a PNG file; False where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss in nats")
    right = axes.twinx() if any(curves.get("teacher_loss", [])) else None
    lines = []
    for name, values in curves.items():
        if not any(values):
            continue
        target = right if right is not None and name == "teacher_loss" else axes
        style = ":" if target is right else "-"
        lines += target.plot(range(1, len(values) + 1), values, style, label=name.replace("_", " "))
    if right is not None:
        right.set_ylabel("teacher loss in nats, summed over its classes")
    axes.legend(handles=lines)
    figure.savefig(path, dpi=100)
    return True
