"""Tables of an evaluation, in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from streamcls.training.evaluate import Evaluation

__all__ = ["markdown"]

_CORPORA_NAMED: Final = 10


def markdown(evaluation: Evaluation) -> str:
    """Write an evaluation as Markdown."""
    figures = evaluation.figures
    counts = sorted(figures["corpora"].items(), key=lambda pair: -pair[1])
    corpora = ", ".join(f"{name} ({count})" for name, count in counts[:_CORPORA_NAMED])
    if len(counts) > _CORPORA_NAMED:
        rest = counts[_CORPORA_NAMED:]
        corpora += f", and {len(rest)} more ({sum(count for _, count in rest)})"
    head = f"{figures['model']} {figures['version']}, split `{figures['split']}`: {figures['clips']} clips, "
    head += f"{figures['windows']} windows of {figures['window_s']:.2f} s. Clips per corpus: {corpora}."
    lines = [head, ""]
    lines += _independent(figures["labels"]) if "labels" in figures else _exclusive(figures)
    return "\n".join(lines) + "\n"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _interval(bounds: list[float] | None) -> str:
    return "-" if bounds is None else f"{100 * bounds[0]:.0f} to {100 * bounds[1]:.0f} %"


def _exclusive(figures: dict[str, Any]) -> list[str]:
    lines = [
        "| per | count | accuracy | 95 % interval | mean recall of the labels | calibration error |",
        "|---|---|---|---|---|---|",
    ]
    for name in ("window", "clip"):
        part = figures[name]
        lines.append(
            f"| {name} | {part['count']} | {_percent(part['accuracy'])} | {_interval(part['accuracy_95'])} | "
            f"{_percent(part['mean_recall'])} | {part['calibration_error']:.3f} |"
        )
    lines += ["", "| corpus | windows | accuracy | clips | clip accuracy |", "|---|---|---|---|---|"]
    for name, row in figures["by_corpus"].items():
        lines.append(
            f"| {name} | {row['windows']} | {_percent(row['window_accuracy'])} | {row['clips']} | {_percent(row['clip_accuracy'])} |"
        )
    lines += [
        "",
        "| label | windows | recall | precision | F1 | clips | clip recall | clip precision |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for label, row in figures["window"]["per_label"].items():
        clip = figures["clip"]["per_label"][label]
        lines.append(
            f"| {label} | {row['count']} | {_percent(row['recall'])} | {_percent(row['precision'])} | {_percent(row['f1'])} | "
            f"{clip['count']} | {_percent(clip['recall'])} | {_percent(clip['precision'])} |"
        )
    labels = list(figures["clip"]["per_label"])
    lines += ["", "Clips, rows are the truth, columns what the model says:", ""]
    lines += ["| | " + " | ".join(labels) + " |", "|---" * (len(labels) + 1) + "|"]
    lines += [
        f"| {label} | " + " | ".join(map(str, row)) + " |"
        for label, row in zip(labels, figures["clip"]["confusion"], strict=True)
    ]
    if "without_label" in figures:
        part = figures["without_label"]
        lines += [
            "",
            f"Windows without a label: {part['count']}; the largest posterior is {part['mean_largest_posterior']:.2f} on average.",
        ]
    return lines


def _independent(labels: dict[str, Any]) -> list[str]:
    head = "| label | threshold | positive windows (recordings) | recall | 95 % interval | clip recall | average precision | "
    lines = [head + "negative windows | above the threshold | mostly from |", "|---" * 10 + "|"]
    for label, row in labels.items():
        wrong = ", ".join(f"{name} {count}" for name, count in list(row["false_from"].items())[:3]) or "-"
        rate, per_hour = row["false_positive_rate"], row["false_windows_per_hour"]
        false = "-" if rate is None else f"{100 * rate:.2f} % ({per_hour:.1f} an hour)"
        lines.append(
            f"| {label} | {row['threshold']:.2f} | {row['positives']} ({row['recordings']}) | {_percent(row['recall'])} | "
            f"{_interval(row['recall_95'])} | {_percent(row['clip_recall'])} | {_percent(row['average_precision'])} | "
            f"{row['negatives']} | {false} | {wrong} |"
        )
    return lines
