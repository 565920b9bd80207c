"""Tables of an evaluation by event, in Markdown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["markdown_of_events", "markdown_of_sweep", "write_events"]


def markdown_of_events(figures: Mapping[str, Any]) -> str:
    """Write what :func:`~streamcls.training.events.evaluate_programme` returns as Markdown."""
    lines = _head(figures)
    if "alerts" in figures:
        lines += _alerts(figures)
        lines += _false_by_bed(figures["alerts"])
        lines += _by_snr(figures["alerts"])
        lines += _by_broadcast(figures["by_broadcast"])
    if "speech_or_music" in figures:
        part = figures["speech_or_music"]
        lines += [
            "",
            (
                f"Speech against music: right in {_percent(part['right'])} ({_interval(part['right_95'])}) of {part['windows']} windows "
                f"of nothing else; of speech {_percent(part['of_speech'])}, of music {_percent(part['of_music'])}."
            ),
        ]
    if "genre" in figures:
        lines += _genre(figures["genre"])
    return "\n".join(lines) + "\n"


def markdown_of_sweep(swept: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Write what :func:`~streamcls.training.events.sweep.sweep` returns as Markdown."""
    lines = [
        "| label | threshold | recall | false alerts an hour | 95 % interval | time to alert, median |",
        "|---" * 6 + "|",
    ]
    for label, rows in swept.items():
        lines += [
            f"| {label} | {row['threshold']:.4f} | {_percent(row['recall'])} | {_number(row['false_alerts_per_hour'])} | "
            f"{_range(row['false_alerts_per_hour_95'])} | {_seconds(row['time_to_alert_s'], 'median')} |"
            for row in rows
        ]
    return "\n".join(lines) + "\n"


def write_events(figures: Sequence[Mapping[str, Any]], folder: Path) -> tuple[Path, Path]:
    """Write the evaluations of some programmes as ``events.json`` (a list, ``programmes``) and ``events.md``, and return both files."""
    folder.mkdir(parents=True, exist_ok=True)
    as_json, as_text = folder / "events.json", folder / "events.md"
    as_json.write_text(json.dumps({"programmes": list(figures)}, indent=1, ensure_ascii=False) + "\n", "utf-8")
    as_text.write_text("\n".join(map(markdown_of_events, figures)), "utf-8")
    return as_json, as_text


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _interval(bounds: Sequence[float] | None) -> str:
    return "-" if bounds is None else f"{100 * bounds[0]:.0f} to {100 * bounds[1]:.0f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _range(bounds: Sequence[float] | None) -> str:
    return "-" if bounds is None else f"{bounds[0]:.2f} to {bounds[1]:.2f}"


def _seconds(part: Mapping[str, float] | None, name: str) -> str:
    return "-" if part is None else f"{part[name]:.2f} s"


def _head(figures: Mapping[str, Any]) -> list[str]:
    programme, material = figures["programme"], figures["material"]
    options = programme["options"]
    beds = ", ".join(f"{kind.replace('_', ' ')} {hours:.2f} h" for kind, hours in programme["hours_by_bed"].items())
    distinct = ", ".join(
        f"{kind} {part['distinct_hours']:.2f} h ({part['clips']} clips of {part['recordings']} recordings)"
        for kind, part in material.items()
    )
    lines = [
        (
            f"{figures['model']} {figures['version']} on a programme of {programme['hours']:.2f} h (split `{options['split']}`, "
            f"seed {options['seed']}): {beds}."
        ),
        "",
        f"Distinct source material, without repetitions: {distinct}.",
    ]
    if "sources_in_training" in figures:
        part = figures["sources_in_training"]
        lines += ["", f"Of the {part['sources']} sources, {part['in_training']} were in the model's training split."]
    else:
        lines += ["", "It is not known which of the programme's sources were in the model's training split."]
    return lines


def _alerts(figures: Mapping[str, Any]) -> list[str]:
    tolerance = figures["tolerance_s"]
    lines = [
        "",
        (
            f"An alert counts for an event if it opens between {tolerance['before_onset']:g} s before its onset and "
            f"{tolerance['after_end']:g} s after its end. Time to alert: from the audible onset to the end of the window that opened it."
        ),
        "",
        (
            "| label | threshold | events (recordings, distinct time) | recall | 95 % interval | time to alert, median | 90th percentile | "
            "false alerts | an hour | 95 % interval | precision | further alerts for an event | mostly from |"
        ),
        "|---" * 13 + "|",
    ]
    for label, row in figures["alerts"].items():
        threshold = "-" if row["threshold"] is None else f"{row['threshold']:.4g}"
        causes = ", ".join(f"{name} {count}" for name, count in list(row["false_from"].items())[:3]) or "-"
        lines.append(
            f"| {label} | {threshold} | {row['events']} ({row['recordings']}, {3_600 * row['distinct_hours']:.0f} s) | "
            f"{_percent(row['recall'])} | {_interval(row['recall_95'])} | {_seconds(row['time_to_alert_s'], 'median')} | "
            f"{_seconds(row['time_to_alert_s'], 'p90')} | {row['false_alerts']} | {_number(row['false_alerts_per_hour'])} | "
            f"{_range(row['false_alerts_per_hour_95'])} | {_percent(row['precision'])} | {row['duplicates']} | {causes} |"
        )
    covered = {
        label: row["covered_by_open_alert"] for label, row in figures["alerts"].items() if row["covered_by_open_alert"]
    }
    after = {label: row["continuations"] for label, row in figures["alerts"].items() if row["continuations"]}
    if covered:
        said = ", ".join(f"{label} {count}" for label, count in covered.items())
        lines += ["", f"Missed events during which an alert of their label was open already: {said}."]
    if after:
        said = ", ".join(f"{label} {count}" for label, count in after.items())
        lines += ["", f"False alerts that opened within 10 s after an event of their label: {said}."]
    return lines


def _false_by_bed(alerts: Mapping[str, Any]) -> list[str]:
    kinds = list(next(iter(alerts.values()))["false_by_bed"]) if alerts else []
    if not kinds:
        return []
    lines = ["", "False alerts an hour, by what was heard (95 % interval):", ""]
    lines += [
        "| label | " + " | ".join(kind.replace("_", " ") for kind in kinds) + " |",
        "|---" * (len(kinds) + 1) + "|",
    ]
    for label, row in alerts.items():
        cells = [
            f"{_number(row['false_by_bed'][kind]['per_hour'])} ({_range(row['false_by_bed'][kind]['per_hour_95'])})"
            for kind in kinds
        ]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return lines


def _by_snr(alerts: Mapping[str, Any]) -> list[str]:
    bins = sorted({part["from_db"] for row in alerts.values() for part in row["by_snr"]})
    if not bins:
        return []
    lines = ["", "Recall by the event's level above the bed (events), in dB from:", ""]
    lines += ["| label | " + " | ".join(f"{low:+.0f}" for low in bins) + " |", "|---" * (len(bins) + 1) + "|"]
    for label, row in alerts.items():
        found = {part["from_db"]: f"{_percent(part['recall'])} ({part['events']})" for part in row["by_snr"]}
        lines.append(f"| {label} | " + " | ".join(found.get(low, "-") for low in bins) + " |")
    return lines


def _by_broadcast(stages: Mapping[str, Any]) -> list[str]:
    lines = ["", "All labels, by what is in the broadcast chain (the rows overlap):", ""]
    lines += [
        "| in the chain | hours | events | recall | 95 % interval | false alerts an hour | 95 % interval |",
        "|---" * 7 + "|",
    ]
    for name, row in stages.items():
        lines.append(
            f"| {name} | {row['hours']:.2f} | {row['events']} | {_percent(row['recall'])} | {_interval(row['recall_95'])} | "
            f"{_number(row['false_alerts_per_hour'])} | {_range(row['false_alerts_per_hour_95'])} |"
        )
    return lines


def _genre(figures: Mapping[str, Any]) -> list[str]:
    after = figures["after_a_change"]
    lines = [
        "",
        (
            f"Genre, over {figures['music_hours']:.2f} h of music whose genre is known: right {_percent(figures['right'])} of the "
            f"time, wrong {_percent(figures['wrong'])}, unsure {_percent(figures['unsure'])}. "
            f"{_number(figures['segments_per_hour'])} segments an hour, and "
            f"{_number(figures['unsure_segments_per_hour'])} of `unsure`."
        ),
        "",
        (
            f"Of {after['stretches']} stretches of one genre (10 s or longer) the right one was reached in "
            f"{_percent(after['reached_share'])} ({_interval(after['reached_95'])}), after {_seconds(after['time_to_genre_s'], 'median')} "
            f"(median; 90th percentile {_seconds(after['time_to_genre_s'], 'p90')})."
        ),
        "",
        "| genre | hours | right | wrong | unsure | mostly called |",
        "|---" * 6 + "|",
    ]
    for label, row in figures["by_genre"].items():
        called = ", ".join(f"{name} {_percent(share)}" for name, share in row["mostly_called"].items()) or "-"
        lines.append(
            f"| {label} | {row['hours']:.2f} | {_percent(row['right'])} | {_percent(row['wrong'])} | {_percent(row['unsure'])} | {called} |"
        )
    lines += ["", "| other sound | hours | called a genre |", "|---|---|---|"]
    for kind, row in figures["called_a_genre"].items():
        lines.append(f"| {kind.replace('_', ' ')} | {row['hours']:.2f} | {_percent(row['share'])} of the time |")
    return lines
