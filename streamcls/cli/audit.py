"""``audit``: check the audit log and its clips, and read it."""

from __future__ import annotations

import fnmatch
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["register"]

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_TIME_WIDTH, _KIND_WIDTH = 24, 20


def _places(config: Path | None) -> tuple[Path, Path]:
    """Return where a configuration (none: the defaults) has its log and its clips."""
    from streamcls.config import Resolved, load_config
    from streamcls.config.resolve import expanded

    settings = load_config(config)
    state = Resolved(settings).state_dir
    log = expanded(settings.audit.path) if settings.audit.path else state / "audit.jsonl"
    return log, expanded(settings.evidence.path) if settings.evidence.path else state / "evidence"


_config = click.option(
    "--config", type=_FILE, help="Take the places of log and clips from this configuration; none: the default ones."
)


@click.group("audit", short_help="Check or read the audit log.")
def audit() -> None:
    """Check or read the audit log of alerts and evidence."""


@audit.command("verify")
@click.argument("file", type=_FILE, required=False)
@_config
@click.option("--evidence", type=_FOLDER, help="Folder of clips, to compare each with the log.")
@click.option("--last", "noted", metavar="HASH", help="A hash noted elsewhere: its record must be in the log.")
@click.option("--count", type=click.IntRange(min=1), help="Records that there were at least, as noted elsewhere.")
@click.option("--archived", is_flag=True, help="Older files of the log were moved away on purpose.")
def verify(
    file: Path | None,
    config: Path | None,
    evidence: Path | None,
    noted: str | None,
    count: int | None,
    *,
    archived: bool,
) -> int:
    """Find what was changed, removed or put elsewhere in a log, and say where; exit status 1 where something was.

    Records cut off at the end leave no trace in the file itself: compare with what was noted elsewhere, with --last or --count.
    """
    from streamcls.service.verify import verify_clips, verify_log

    log, clips = _places(config) if file is None or config is not None else (file, None)
    log = file or log
    folder = evidence or (clips if clips is not None and clips.is_dir() else None)
    report = verify_log(log, archived=archived, noted=noted or "")
    if noted and report.seen is None:
        report.fault(log.name, f"no record has the hash {noted}: records were removed at the end, or changed")
    if count is not None and report.number < count:
        report.fault(
            log.name, f"the last record is number {report.number}, expected {count} or more: the end is missing"
        )
    if folder is not None:
        verify_clips(report, folder)
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    for fault in report.faults:
        click.echo(str(fault), err=True)
    click.echo(f"{log}: {report.records} records in {len(report.files)} files, {report.events} of them events")
    if noted and report.seen is not None:
        click.echo(f"the noted record is there, and {report.seen} follow it")
    if folder is not None:
        gone = sum(path in report.removed and not (folder / path).exists() for path in report.clips)
        click.echo(f"{folder}: {report.intact} of {len(report.clips)} clips are as they were recorded, {gone} removed")
    click.echo(f"last record {report.number}, hash {report.last or 'of which cannot be read'}")
    click.echo(f"{len(report.faults)} faults" if report.faults else "no fault")
    return 1 if report.faults else 0


@audit.command("show")
@click.argument("file", type=_FILE, required=False)
@_config
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="A kind or its beginning; repeatable.")
@click.option("--stream", "streams", multiple=True, metavar="NAME", help="A stream or a shell pattern; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="The records as they are in the file.")
def show(
    file: Path | None, config: Path | None, kinds: tuple[str, ...], streams: tuple[str, ...], *, as_json: bool
) -> None:
    """Print the records of a log's file."""
    from streamcls.service.chain import read_entries

    for entry in read_entries(file or _places(config)[0]):
        record = entry.record
        if record is None:
            click.echo(f"line {entry.line} is no record", err=True)
            continue
        event = record.get("event")
        if (kinds or streams) and not _wanted(event, kinds, streams):
            continue
        if as_json:
            json.dump({**record, "hash": entry.stated}, sys.stdout, ensure_ascii=False, separators=(",", ":"))
            sys.stdout.write("\n")
        else:
            click.echo(_line(record))


def _wanted(event: Any, kinds: tuple[str, ...], streams: tuple[str, ...]) -> bool:
    if not isinstance(event, dict):
        return False
    kind, stream = str(event.get("type", "")).removeprefix("streamcls."), str(event.get("subject", ""))
    if kinds and not kind.startswith(kinds):
        return False
    return not streams or any(fnmatch.fnmatchcase(stream, pattern) for pattern in streams)


def _line(record: Mapping[str, Any]) -> str:
    """Return a record in one line: number, when it was written, and what it says."""
    head = f"{record.get('number', '?'):>8}  {record.get('time', '')!s:<{_TIME_WIDTH}}"
    event = record.get("event")
    if not isinstance(event, dict):
        rest = {name: record[name] for name in ("predecessor", "bytes", "kept_as") if record.get(name)}
        return f"{head}  {record.get('what', '')} {json.dumps(rest, ensure_ascii=False) if rest else ''}".rstrip()
    found = event.get("data")
    data = found if isinstance(found, dict) else {}
    kind = str(event.get("type", "")).removeprefix("streamcls.")
    words = [data.get(name) for name in ("phase", "state", "label", "id", "alert_id", "path", "reason")]
    return f"{head}  {kind:<{_KIND_WIDTH}} {event.get('subject', '')}  {'  '.join(str(word) for word in words if word)}"


def register(cli: click.Group) -> None:
    """Add the commands."""
    cli.add_command(audit)
