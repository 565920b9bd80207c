"""``streamcls classify``: finished files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamcls.cli.inspect import table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamcls.runtime.models import StreamPlan
    from streamcls.runtime.offline import OfflinePool
    from streamcls.types import Chunk, Event

__all__ = ["register"]


@click.command("classify", short_help="Classify finished audio files.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Take models and policies from its [[stream]] entries; without it, from the embedded one.",
)
@click.option(
    "--stream",
    "stream_name",
    help="Name of the stream, which chooses the [[stream]] entry; without it, the file's name.",
)
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "jsonl"]),
    default="table",
    show_default=True,
    help="Segments and alerts, or every event as a line of JSON.",
)
def classify(files: tuple[Path, ...], config: Path | None, stream_name: str | None, output: str) -> int:
    """Classify finished FILES of any format that FFmpeg reads, exactly as the daemon would classify the same audio live.

    Exit status 1 if a file could not be read; the others are done all the same.
    """
    from streamcls.daemon import prepare_file
    from streamcls.errors import AudioError
    from streamcls.plugins import discover
    from streamcls.runtime.models import plan_stream
    from streamcls.runtime.offline import OfflinePool
    from streamcls.service.logs import configure_logs

    configure_logs("warning")
    prepared = prepare_file(config, discover())
    pool = OfflinePool()
    failed = False
    for file in files:
        stream = stream_name or _stream_name(file)
        plan = plan_stream(prepared.resolved, prepared.models, stream)
        if plan is None:
            raise click.UsageError(f"no [[stream]] entry matches the stream {stream!r}; choose another with --stream")
        try:
            _classify_file(file, stream, plan, pool, output)
        except AudioError as error:
            failed = True
            click.echo(f"streamcls: {error}", err=True)
    pool.close()
    return 1 if failed else 0


def _stream_name(file: Path) -> str:
    """Return the file's name without its ending, other characters than those of a stream's name replaced."""
    import re

    return re.sub(r"[^A-Za-z0-9._:@+-]+", "-", file.stem).strip("-.")[:128] or "file"


def _classify_file(file: Path, stream: str, plan: StreamPlan, pool: OfflinePool, output: str) -> None:
    from streamcls.audio.decode import decode_file
    from streamcls.errors import AudioError
    from streamcls.runtime.offline import classify_chunks

    findings: dict[str, Event] = {}
    windows = 0
    length_s = 0.0

    def counted(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        nonlocal length_s
        for chunk in chunks:
            length_s = chunk.end_sample / chunk.sample_rate
            yield chunk

    chunks = counted(_with_progress(decode_file(file, stream), file))
    broken: AudioError | None = None
    try:
        for event in classify_chunks(stream, chunks, plan, pool):
            windows += event.kind.endswith(".window")
            if output == "jsonl":
                line = {"type": f"streamcls.{event.kind}", "subject": stream, "data": event.data}
                click.echo(json.dumps(line, ensure_ascii=False, separators=(",", ":")))
            elif "phase" in event.data:
                findings[event.data["id"]] = event
    except AudioError as error:
        broken = error  # what was found before the damage is told first
    if output == "table" and (length_s or broken is None):
        click.echo(f"{file}  ({length_s:.1f} s)")
        _show(list(findings.values()), windows)
    if broken is not None:
        raise broken
    _warn_if_short(file, length_s, plan)


def _show(findings: list[Event], windows: int) -> None:
    if findings:
        header = ["FROM", "TO", "KIND", "LABEL", "PROBABILITY", "REMARK"]
        click.echo(table([_row(event) for event in findings], header))
    elif windows:
        click.echo("nothing held for long enough to be a segment or an alert; --format jsonl shows every window")


def _row(event: Event) -> list[str]:
    data: Any = event.data
    rate = data["sample_rate"]
    remark = f"{data['severity']}, {data['action']}" if "severity" in data else data.get("cause", "")
    return [
        _clock(data["first_sample"] / rate),
        _clock(data["end_sample"] / rate),
        event.kind,
        data["label"],
        f"{data['probability']['mean']:.2f}",
        remark,
    ]


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


def _warn_if_short(file: Path, length_s: float, plan: StreamPlan) -> None:
    for model, _ in plan.models:
        window_s = model.bundle.window_s
        if length_s < window_s:
            click.echo(
                f"streamcls: {file}: {length_s:.2f} s are too short for {model.name}, whose window is {window_s:.2f} s",
                err=True,
            )


def _with_progress(chunks: Iterator[Chunk], file: Path) -> Iterator[Chunk]:
    """Pass chunks on, with a progress bar where standard error is a terminal."""
    from streamcls.audio.decode import duration_s

    length = duration_s(file) if sys.stderr.isatty() else None
    if not length:
        yield from chunks
        return
    with click.progressbar(length=round(length * 10), label=file.name[:30], file=sys.stderr) as bar:
        for chunk in chunks:
            yield chunk
            bar.update(round(len(chunk.samples) / chunk.sample_rate * 10))


def register(cli: click.Group) -> None:
    """Add the command."""
    cli.add_command(classify)
