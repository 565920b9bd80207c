"""Pictures of a comparison: confusion matrices, ROC and precision-recall curves, reliability diagrams. Need matplotlib."""

from __future__ import annotations

import importlib.util
import re
from typing import TYPE_CHECKING, Any, Final

from streamcls.errors import TrainingError

if TYPE_CHECKING:
    from pathlib import Path

    from streamcls.training.evaluation.compare import Comparison

__all__ = ["can_draw", "draw"]

_INCHES: Final = 4.5
_DPI: Final = 110
_COLUMNS: Final = 4
_DARK: Final = 0.5
"""Share of a row above which a number in the confusion matrix is written in white."""


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(comparison: Comparison, folder: Path) -> list[Path]:
    """Write the pictures as PNG files into a folder, and return their paths.

    Raises
    ------
    TrainingError
        matplotlib is missing.
    """
    if not can_draw():
        raise TrainingError("pictures need matplotlib, which is not installed: pip install 'streamcls[train]'")
    figures = comparison.figures
    made = [_curves(comparison, folder / "curves.png"), _reliability(figures, folder / "reliability.png")]
    if figures["exclusive"]:
        for name, part in figures["candidates"].items():
            plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
            made.append(
                _confusion(name, list(part["clip"]["per_label"]), part["clip"], folder / f"confusion-{plain}.png")
            )
    return made


def _canvas(rows: int, columns: int) -> tuple[Any, Any]:
    """Make a figure that needs no screen, with a grid of axes, shape (rows, columns)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_INCHES * columns, _INCHES * rows), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _confusion(name: str, labels: list[str], part: dict[str, Any], file: Path) -> Path:
    import numpy as np

    matrix = np.asarray(part["confusion"], float)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1.0)
    figure, axes = _canvas(1, 1)
    axis = axes[0, 0]
    axis.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    for (row, column), share in np.ndenumerate(shares):
        colour = "white" if share > _DARK else "black"
        axis.text(column, row, f"{matrix[row, column]:.0f}", ha="center", va="center", color=colour, fontsize=7)
    axis.set_xticks(range(len(labels)), labels, rotation=60, ha="right", fontsize=7)
    axis.set_yticks(range(len(labels)), labels, fontsize=7)
    axis.set_xlabel("what the model says")
    axis.set_ylabel("what it is")
    low, high = part["accuracy_95"] or (float("nan"), float("nan"))
    axis.set_title(
        f"{name}: {part['count']} clips, {100 * part['accuracy']:.0f} % right ({100 * low:.0f} to {100 * high:.0f})", fontsize=9
    )  # fmt: skip
    figure.savefig(file)
    return file


def _curves(comparison: Comparison, file: Path) -> Path:
    """Draw ROC curves above, precision-recall curves below, one column a model, one line a label."""
    names = list(comparison.curves)
    figure, axes = _canvas(2, len(names))
    for column, name in enumerate(names):
        part = comparison.figures["candidates"][name]
        rows = part["window"]["per_label"] if "window" in part else part["labels"]
        for label, points in comparison.curves[name].items():
            area, precision = rows[label]["roc_auc"], rows[label]["average_precision"]
            axes[0, column].plot(points["false_positive_rate"], points["recall"], lw=1, label=f"{label} {area:.2f}")
            axes[1, column].plot(points["recall"], points["precision"], lw=1, label=f"{label} {precision:.2f}")
        for row, (x, y, what) in enumerate(
            (("false positive rate", "recall", "area"), ("recall", "precision", "average precision"))
        ):
            axis = axes[row, column]
            axis.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
            axis.set_title(f"{name}, windows, {what}", fontsize=9)
            if comparison.curves[name]:
                axis.legend(fontsize=6, loc="lower left" if row else "lower right")
    figure.savefig(file)
    return file


def _reliability(figures: dict[str, Any], file: Path) -> Path:
    """Draw accuracy against posterior: one panel a model, or a label where each stands alone."""
    panels: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for name, part in figures["candidates"].items():
        if figures["exclusive"]:
            panels[name] = [(unit, part[unit]) for unit in ("window", "clip") if part[unit]["count"]]
        else:
            for label, row in part["labels"].items():
                panels.setdefault(label, []).append((name, row))
    columns = min(len(panels), _COLUMNS)
    figure, axes = _canvas(-(-len(panels) // columns), columns)
    for axis, (title, lines) in zip(axes.flat, panels.items(), strict=False):
        axis.plot((0, 1), (0, 1), color="grey", lw=0.8, ls="--")
        for name, row in lines:
            said, right = [one[0] for one in row["reliability"]], [one[1] for one in row["reliability"]]
            axis.plot(said, right, marker="o", ms=3, lw=1, label=f"{name}, error {row['calibration_error']:.3f}")
        axis.set(xlabel="posterior", ylabel="share that was right", xlim=(0, 1), ylim=(0, 1))
        axis.set_title(title, fontsize=9)
        axis.legend(fontsize=6, loc="upper left")
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    figure.savefig(file)
    return file
