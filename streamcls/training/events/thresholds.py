"""Thresholds that were chosen, written into a bundle: its manifest, its metrics and its card; all else stays as it is."""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from streamcls.errors import TrainingError
from streamcls.inference.search import BUNDLE_FILE
from streamcls.training.export import write_files

if TYPE_CHECKING:
    from pathlib import Path

    from streamcls.inference import Bundle
    from streamcls.training.events.choosing import Choice

__all__ = ["check_target", "choice_markdown", "with_section", "write_thresholds"]

_CARD: Final = "CARD.md"
_METRICS: Final = "metrics.json"
_KEY: Final = "thresholds"
_TITLE: Final = "Thresholds"


def write_thresholds(bundle: Bundle, choice: Choice, output: Path | None = None) -> Path:
    """Write a bundle with other thresholds and return its folder, which is either the new one or, on failure, as it was.

    ``[calibration]`` gets the thresholds, ``[provenance]`` what they rest on, ``metrics.json`` the sweep and ``CARD.md`` a section, which
    replaces that of an earlier choice.

    Parameters
    ----------
    output
        A new or empty folder; None for the bundle's own.

    Raises
    ------
    TrainingError
        The folder holds something that is not the bundle's and would be lost, or ``metrics.json`` is damaged.
    """
    source, target = bundle.path.resolve(), check_target(bundle, output)
    manifest = tomllib.loads((source / BUNDLE_FILE).read_text("utf-8"))
    files = {name: (source / name).read_bytes() for name in manifest.pop("files")}
    provenance = manifest.setdefault("provenance", {})
    calibration = manifest["calibration"]
    before = _before(calibration, provenance)
    calibration[_KEY] = {**calibration.get(_KEY, {}), **choice.thresholds}
    provenance[_KEY] = _provenance(choice, before)
    files[_METRICS] = _metrics(files.get(_METRICS, b"{}"), choice, before)
    kept = [label for label in bundle.labels if label in calibration[_KEY] and label not in choice.rows]
    text = files.get(_CARD, f"# {bundle.name} {bundle.manifest.version}\n".encode()).decode("utf-8")
    files[_CARD] = with_section(text, _TITLE, _section(choice, before, kept)).encode()
    return write_files(target, manifest, files)


def choice_markdown(choice: Choice, before: dict[str, float]) -> str:
    """Write the thresholds that were chosen as a table, beside those before."""
    lines = [
        "| label | threshold | before | false alerts an hour | upper end of the 95 % interval | recall (events) | time to alert, median |",
        "|---" * 7 + "|",
    ]
    for label, row in choice.rows.items():
        upper, old = row["false_alerts_per_hour_95"], before.get(label)
        recall = "-" if row["recall"] is None else f"{100 * row['recall']:.1f} %"
        delay = "-" if row["time_to_alert_s"] is None else f"{row['time_to_alert_s']['median']:.2f} s"
        lines.append(
            f"| {label} | {row['threshold']:.4g} | {'-' if old is None else f'{old:.4g}'} | "
            f"{row['false_alerts_per_hour'] or 0.0:.2f} | {'-' if upper is None else f'{upper[1]:.2f}'} | "
            f"{recall} ({row['events']}) | {delay} |"
        )
    return "\n".join(lines) + "\n"


def with_section(text: str, title: str, body: str) -> str:
    """Return a Markdown text with a section of the second level: in the place of the one of that title, else at the end."""
    lines, heading = text.rstrip().splitlines(), f"## {title}"
    first = lines.index(heading) if heading in lines else len(lines)
    end = next((i for i in range(first + 1, len(lines)) if lines[i].startswith(("# ", "## "))), len(lines))
    parts = ("\n".join(lines[:first]).rstrip(), f"{heading}\n\n{body.strip()}", "\n".join(lines[end:]).strip())
    return "\n\n".join(part for part in parts if part) + "\n"


def check_target(bundle: Bundle, output: Path | None) -> Path:
    """Return the folder that :func:`write_thresholds` will write; see there for the parameters and errors."""
    source = bundle.path.resolve()
    target = source if output is None else output.resolve()
    if not target.exists():
        return target
    if target != source and (not target.is_dir() or any(target.iterdir())):
        raise TrainingError(
            f"{target} is there already; name a new folder, or the bundle's own by leaving --output out"
        )
    strange = {entry.name for entry in target.iterdir()} - set(bundle.manifest.files) - {BUNDLE_FILE}
    if strange:
        raise TrainingError(
            f"{target} holds {', '.join(sorted(strange))}, not part of the bundle, which would be lost; name a new folder with --output"
        )
    return target


def _before(calibration: dict[str, Any], provenance: dict[str, Any]) -> dict[str, float]:
    """Return the thresholds of the training: those that an earlier choice replaced, else those of now."""
    earlier = provenance.get(_KEY)
    replaced = earlier.get("replaced", {}) if isinstance(earlier, dict) else {}
    return {**calibration.get(_KEY, {}), **replaced}


def _provenance(choice: Choice, before: dict[str, float]) -> dict[str, Any]:
    return {
        "chosen": datetime.now(UTC).strftime("%Y-%m-%d"),
        "false_alerts_per_hour": choice.rate,
        "hours": choice.hours,
        "programmes": [
            {key: value for key, value in one.items() if key != "audio_sha256" and value is not None}
            for one in choice.programmes
        ],
        "replaced": {label: before[label] for label in choice.rows if label in before},
        "labels": {
            label: {
                "threshold": row["threshold"],
                "false_alerts_per_hour": row["false_alerts_per_hour"],
                "false_alerts_per_hour_at_most": (row["false_alerts_per_hour_95"] or [None, None])[1],
                "recall": row["recall"],
                "events": row["events"],
            }
            for label, row in choice.rows.items()
        },
    }


def _metrics(data: bytes, choice: Choice, before: dict[str, float]) -> bytes:
    try:
        metrics = json.loads(data)
        metrics[_KEY] = {
            "false_alerts_per_hour": choice.rate,
            "hours": choice.hours,
            "programmes": list(choice.programmes),
            "chosen": choice.thresholds,
            "replaced": {label: before[label] for label in choice.rows if label in before},
            "out_of_reach": list(choice.missed),
            "sweep": choice.swept,
        }
    except (ValueError, TypeError) as error:
        raise TrainingError(f"{_METRICS} of the bundle is no JSON object: {error}") from error
    return (json.dumps(metrics, indent=1, ensure_ascii=False) + "\n").encode()


def _section(choice: Choice, before: dict[str, float], kept: list[str]) -> str:
    on = ", ".join(
        f"{one['hours']:.2f} h of `{one['recipe']}`, split `{one['split']}`, seed {one['seed']}"
        for one in choice.programmes
    )
    lines = [
        (
            f"Chosen on programmes of {choice.hours:.2f} h in all ({on}): the lowest from which on the daemon's moderation policy, with "
            f"its built-in rules, raises at most {choice.rate:g} false alerts an hour of a label. What they are worth elsewhere, a test "
            "programme tells. Recall and false alerts of this table are those of the programmes that they were chosen on."
        ),
        "",
        choice_markdown(choice, before),
    ]
    if choice.missed:
        lines += [f"Out of reach at every threshold, so that the highest stands: {', '.join(choice.missed)}.", ""]
    if choice.without_events:
        lines += [f"Chosen by false alerts alone, for want of events: {', '.join(choice.without_events)}.", ""]
    if kept:
        lines += [f"As training fitted them, since no built-in rule follows these labels: {', '.join(kept)}.", ""]
    lines.append("Where another section states figures at a threshold, it is the one in the column before.")
    return "\n".join(lines)
