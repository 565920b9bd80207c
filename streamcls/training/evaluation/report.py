"""Tables of one model's evaluation, in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamcls.training.evaluation.cells import listed, per_cent, per_hour, plain, table

if TYPE_CHECKING:
    from streamcls.training.evaluate import Evaluation

__all__ = ["abstention_rows", "confusion_table", "label_table", "markdown"]

_UNITS = ("window", "clip", "span")


def markdown(evaluation: Evaluation) -> str:
    """Write an evaluation as Markdown."""
    figures = evaluation.figures
    head = f"{figures['model']} {figures['version']}, split `{figures['split']}`: {figures['clips']} clips, "
    head += (
        f"{figures['windows']} windows of {figures['window_s']:.2f} s. Clips per corpus: {listed(figures['corpora'])}. "
    )
    head += "In brackets, 95 % intervals over recordings."
    lines = [head, *(_independent(figures) if "labels" in figures else _exclusive(figures))]
    return "\n".join(lines) + "\n"


def confusion_table(labels: list[str], matrix: list[list[int]], unit: str) -> list[str]:
    """Write a confusion matrix."""
    rows = [[label, *row] for label, row in zip(labels, matrix, strict=True)]
    return ["", f"{unit}, rows are the truth, columns what the model says:", *table(["", *labels], rows)]


def label_table(labels: dict[str, Any]) -> list[str]:
    """Write the figures of labels that each stand alone."""
    head = ["label", "threshold", "positive windows (recordings)", "recall", "precision", "clips", "clip recall"]
    head += ["average precision", "ROC AUC", "calibration error", "negative windows", "above the threshold", "an hour"]
    rows = []
    for label, row in labels.items():
        positives = f"{row['positives']} ({row['recordings']})"
        cells: list[object] = [label, f"{row['threshold']:.2f}", positives]
        cells += [
            per_cent(row, "recall"),
            per_cent(row, "precision"),
            row.get("clips", "-"),
            per_cent(row, "clip_recall"),
        ]
        cells += [
            plain(row, "average_precision"),
            plain(row, "roc_auc"),
            plain(row, "calibration_error"),
            row["negatives"],
        ]
        rows.append([*cells, per_cent(row, "false_positive_rate"), per_hour(row, "false_windows_per_hour")])
    lines = table(head, rows)
    wrong = [f"{label}: {listed(row['false_from'], 3)}" for label, row in labels.items() if row["false_from"]]
    return [*lines, *(["", "False windows are mostly from: " + "; ".join(wrong) + "."] if wrong else [])]


def abstention_rows(silent: dict[str, Any]) -> list[list[object]]:
    """Return rows of sound, windows, recordings and the share that is left unnamed, from all of them to each corpus and label."""
    parts = [("all without a label", silent["all"]), *silent["kinds"].items(), *silent["found"].items()]
    return [[name, row["count"], row["recordings"], per_cent(row, "abstains")] for name, row in parts]


def _exclusive(figures: dict[str, Any]) -> list[str]:
    head = ["per", "count", "recordings", "accuracy", "mean recall of the labels", "calibration error"]
    units = {name: figures[name] for name in _UNITS if figures.get(name, {}).get("count")}
    rows = []
    for name, part in units.items():
        cells = [name, part["count"], part["recordings"], per_cent(part, "accuracy")]
        rows.append([*cells, per_cent(part, "mean_recall"), plain(part, "calibration_error")])
    lines = table(head, rows)
    head = ["per", "count", "named one of the labels", "right of those", "wrong of all"]
    rows = [
        [name, part["count"], *(per_cent(part["answered"], key) for key in ("coverage", "accuracy", "wrong_of_all"))]
        for name, part in units.items()
    ]
    enter = figures["window"]["answered"]["enter"]
    lines += ["", f"Where it may abstain (none is likelier, or the largest posterior is below {enter:g}):"]
    lines += table(head, rows)
    rows = [
        [name, row.get("windows", "-"), per_cent(row, "window_accuracy"), row.get("clips", "-"), per_cent(row, "clip_accuracy")]
        for name, row in figures["by_corpus"].items()
    ]  # fmt: skip
    lines += table(["corpus", "windows", "accuracy", "clips", "clip accuracy"], rows)
    lines += table(
        ["label", "windows", "recall", "precision", "F1", "ROC AUC", "average precision", "clips", "clip recall", "clip precision"],
        [_label_row(label, row, figures["clip"]["per_label"][label]) for label, row in figures["window"]["per_label"].items()],
    )  # fmt: skip
    lines += confusion_table(list(figures["clip"]["per_label"]), figures["clip"]["confusion"], "Clips")
    if "without_label" in figures:
        lines += ["", "Left unnamed:"]
        lines += table(
            ["sound without a label", "windows", "recordings", "abstains"], abstention_rows(figures["without_label"])
        )
    return lines


def _label_row(label: str, row: dict[str, Any], clip: dict[str, Any]) -> list[object]:
    shares = [per_cent(row, name) for name in ("recall", "precision", "f1")]
    ranks = [plain(row, name) for name in ("roc_auc", "average_precision")]
    return [label, row["count"], *shares, *ranks, clip["count"], per_cent(clip, "recall"), per_cent(clip, "precision")]


def _independent(figures: dict[str, Any]) -> list[str]:
    lines = label_table(figures["labels"])
    apart = figures.get("speech_against_music")
    if apart:
        rows = [[name, row["count"], row["recordings"], per_cent(row, "right")] for name, row in apart.items()]
        lines += ["", "Speech against music, by the larger posterior:"]
        lines += table(["sound", "windows", "recordings", "right"], rows)
    return lines
