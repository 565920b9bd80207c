"""Tables of several models side by side, in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamcls.training.evaluation.cells import listed, per_cent, plain, table
from streamcls.training.evaluation.report import confusion_table, label_table

if TYPE_CHECKING:
    from streamcls.training.evaluation.compare import Comparison

__all__ = ["comparison_markdown"]

_KIB = 1024


def comparison_markdown(comparison: Comparison) -> str:
    """Write a comparison as Markdown: a figure stands with its 95 % interval over recordings and the count behind it."""
    figures = comparison.figures
    candidates: dict[str, Any] = figures["candidates"]
    head = f"Split `{figures['split']}`: {figures['clips']} clips of {figures['recordings']} recordings that all models hear. "
    head += f"Clips per corpus: {listed(figures['corpora'])}. In brackets, 95 % intervals over recordings."
    lines = [f"# {figures['subject']}: evaluation", "", head, *(f"- {remark}" for remark in figures["remarks"])]
    lines[3:3] = [""] if figures["remarks"] else []
    if figures["exclusive"]:
        lines += _exclusive(candidates)
        lines += _precomputed(figures)
        lines += _abstention(candidates)
        lines += _agreement(figures)
        subject = candidates[figures["subject"]]
        lines += ["", f"## {figures['subject']}, clip by clip"]
        lines += confusion_table(list(subject["clip"]["per_label"]), subject["clip"]["confusion"], "Clips")
    else:
        lines += _independent(figures["labels"], candidates)
    lines += _broadcast(figures)
    lines += _facts(candidates)
    return "\n".join(lines) + "\n"


def _exclusive(candidates: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    titles = {"clip": "Per clip", "span": "Per 3 s, the same spans for all", "window": "Per window, each model's own"}
    head = ["model", "count", "recordings", "accuracy", "mean recall", "calibration error"]
    head += ["named one", "right of those", "the first is better by"]
    for unit, title in titles.items():
        rows = []
        for name, part in candidates.items():
            row, apart = part[unit], part.get("difference", {}).get(unit, {})
            cells = [name, row["count"], row["recordings"], per_cent(row, "accuracy"), per_cent(row, "mean_recall")]
            cells += [plain(row, "calibration_error"), per_cent(row["answered"], "coverage")]
            rows.append([*cells, per_cent(row["answered"], "accuracy"), per_cent(apart, "subject_better_by")])
        lines += ["", f"## {title}", *table(head, rows)]
    lines += ["", "## Per corpus, per clip", *_by_corpus(candidates)]
    lines += ["", "## Per label, per clip", *_by_label(candidates, "clip", ("recall", "precision", "f1"), per_cent)]
    lines += ["", "## Ranking, per 3 s span", *_by_label(candidates, "span", ("roc_auc", "average_precision"), plain)]
    return lines


def _by_label(candidates: dict[str, Any], unit: str, names: tuple[str, ...], write: Any) -> list[str]:
    titles = {"f1": "F1", "roc_auc": "ROC AUC"}
    head = ["label", f"{unit}s"]
    head += [f"{name}: {titles.get(key, key.replace('_', ' '))}" for key in names for name in candidates]
    first = next(iter(candidates.values()))[unit]["per_label"]
    rows = [
        [label, row["count"], *(write(part[unit]["per_label"][label], key) for key in names for part in candidates.values())]
        for label, row in first.items()
    ]  # fmt: skip
    return table(head, rows)


def _by_corpus(candidates: dict[str, Any]) -> list[str]:
    first = next(iter(candidates.values()))["by_corpus"]
    rows = [
        [corpus, row["clips"], *(per_cent(part["by_corpus"][corpus], "clip_accuracy") for part in candidates.values())]
        for corpus, row in first.items()
    ]
    return table(["corpus", "clips", *(f"{name}: accuracy" for name in candidates)], rows)


def _precomputed(figures: dict[str, Any]) -> list[str]:
    part = figures.get("precomputed")
    if not part:
        return []
    rows = []
    for name, one in part["candidates"].items():
        row, apart = one["window"], one.get("difference", {}).get("clip", {})
        cells = [name, row["count"], row["recordings"], per_cent(row, "accuracy"), per_cent(row, "mean_recall")]
        rows.append([*cells, plain(row, "calibration_error"), per_cent(apart, "subject_better_by")])
    head = ["model", "windows", "recordings", "accuracy", "mean recall", "calibration error", "the first is better by"]
    return ["", "## Precomputed features, which models of the waveform cannot hear", *table(head, rows)]


def _abstention(candidates: dict[str, Any]) -> list[str]:
    rows: dict[str, list[object]] = {}
    counts: dict[str, str] = {}
    for number, (_, part) in enumerate(candidates.items()):
        silent = part.get("without_label", {"kinds": {}, "found": {}})
        named = {f"generated: {name}": row for name, row in part.get("generated", {}).items()}
        named |= silent["kinds"] | silent["found"]
        for name, row in named.items():
            cells = rows.setdefault(name, ["-"] * len(candidates))
            cells[number] = f"{per_cent(row, 'abstains')} of {row['count']}"
            counts.setdefault(name, str(row["recordings"]))
    head = ["sound", "recordings", *candidates]
    body = [[name, counts[name], *cells] for name, cells in rows.items()]
    return ["", "## Left unnamed where there is nothing to name, share of windows", *table(head, body)] if body else []


def _agreement(figures: dict[str, Any]) -> list[str]:
    rows, ranks = [], []
    for place, peers in figures.get("agreement", {}).items():
        for peer, part in peers.items():
            for which in ("all", "confident"):
                row = part[which]
                shares = [per_cent(row, name) for name in ("same", "in_best_two")]
                rows.append([place, peer, which, row["count"], row.get("recordings", 0), *shares])
            ranks.append(
                [
                    place,
                    peer,
                    part["all"]["count"],
                    *(plain(row, "correlation", 2) for row in part["correlation"].values()),
                ]
            )
    if not rows:
        return []
    head = ["music", "peer", "clips on which the peer is", "clips", "recordings", "same label", "among the best two"]
    lines = ["", f"## Agreement of {figures['subject']} on music without labels", *table(head, rows)]
    return [
        *lines,
        "",
        "Rank correlation of the clips' posteriors:",
        *table(["music", "peer", "clips", *figures["labels"]], ranks),
    ]


def _independent(labels: list[str], candidates: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    wanted = (
        ("span_labels", "Per 3 s, the same spans for all"),
        ("clip_labels", "Per clip, by its largest posterior"),
        ("labels", "Per window, each model's own"),
    )
    for part, title in wanted:
        rows = []
        for label in labels:
            for name, one in candidates.items():
                row = one[part].get(label)
                if row:
                    cells: list[object] = [
                        label,
                        name,
                        f"{row['positives']} ({row['recordings']})",
                        per_cent(row, "recall"),
                    ]
                    cells += [per_cent(row, "precision"), plain(row, "average_precision"), plain(row, "roc_auc")]
                    cells += [
                        f"{row['negatives']} ({row['negative_recordings']})",
                        per_cent(row, "false_positive_rate"),
                    ]
                    rows.append([*cells, plain(row, "calibration_error"), f"{row['threshold']:.3f}"])
        head = ["label", "model", "with it (recordings)", "recall", "precision", "average precision", "ROC AUC"]
        head += ["without it (recordings)", "above the threshold", "calibration error", "threshold"]
        lines += ["", f"## {title}", *table(head, rows)]
    rows = [
        [sound, name, row["count"], row["recordings"], per_cent(row, "right")]
        for name, one in candidates.items()
        for sound, row in one.get("speech_against_music", {}).items()
    ]
    if rows:
        lines += ["", "## Speech against music, by the larger posterior"]
        lines += table(["sound", "model", "windows", "recordings", "right"], rows)
    for name, one in candidates.items():
        lines += ["", f"## {name}, window by window", *label_table(one["labels"])]
    return lines


def _broadcast(figures: dict[str, Any]) -> list[str]:
    part = figures.get("broadcast")
    if not part:
        return []
    rows = [
        [stage, name, row["count"], row["recordings"], plain(row, "mean_change"), plain(row, "largest_change"), per_cent(row, "same_top"),
         per_cent(row, "same_side")]
        for name, stages in part["candidates"].items()
        for stage, row in stages.items()
    ]  # fmt: skip
    rows.sort(key=lambda row: str(row[0]))
    head = [
        "stage",
        "model",
        "windows",
        "recordings",
        "mean change",
        "largest change",
        "same label",
        "same side of the threshold",
    ]
    title = f"## Through a broadcast chain: change of the posteriors on {part['clips']} clips"
    return ["", title, *table(head, rows)]


def _facts(candidates: dict[str, Any]) -> list[str]:
    rows = []
    for name, one in candidates.items():
        facts, timing = one["facts"], one["facts"].get("latency", {})
        size, spent = facts.get("bytes"), timing.get("window_ms", {})
        cells: list[object] = [
            name,
            facts["version"],
            facts.get("quantisation", "-"),
            f"{size / _KIB:.0f} KiB" if size else "-",
        ]
        cells += [facts.get("parameters") or "-", f"{facts['window_s']:.2f} s every {facts['stride_s']:.2f} s"]
        cells += [f"{spent[key]:.3f}" if spent else "-" for key in ("median", "percentile_95")]
        rows.append([*cells, f"{timing['front_end_ms']:.3f}" if timing else "-", timing.get("windows", "-")])
    head = ["model", "version", "numbers", "file", "parameters", "hears", "ms a window, median", "95th percentile"]
    lines = table([*head, "front end, ms a stride", "windows timed"], rows)
    return ["", "## Size and speed, on one thread", *lines]
