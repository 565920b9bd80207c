"""``doctor``: the machine, and what a configuration needs of it."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from streamcls.cli.asking import EXIT_WRONG, finding_options, sockets_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from pydantic import BaseModel

    from streamcls.config import Resolved
    from streamcls.daemon.prepare import Prepared
    from streamcls.plugins import Registry
    from streamcls.service.doctor import Finding

__all__ = ["register"]

_ASK_S: Final = 3.0
_AREAS: Final = (
    "configuration", "system", "clock", "libraries", "plugins", "models", "devices", "ports", "storage", "daemon"
)  # fmt: skip


@click.command("doctor", short_help="Look for what is wrong with this machine or a configuration.")
@finding_options
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--brief", is_flag=True, help="Only warnings and problems.")
@click.option("--only", "areas", multiple=True, type=click.Choice(_AREAS), help="Look at this only; repeatable.")
def doctor(
    config: Path | None,
    state_dir: Path | None,
    socket: Path | None,
    areas: tuple[str, ...],
    *,
    as_json: bool,
    brief: bool,
) -> int:
    """Look at the system, libraries, plugins, models, devices, ports, disks and clock, and at the daemon where one runs.

    It is a report to paste where help is asked for; secrets of CONFIG are masked. Each endpoint that CONFIG names is bound for a
    moment, to see whether it is free; nothing is written.

    Exit status: 0 no problem (there may be warnings), 1 at least one.
    """
    from streamcls.cli.status_view import status_text
    from streamcls.plugins import discover
    from streamcls.service.doctor import worst, worst_first

    with _quiet():
        registry = discover()
        prepared, resolved, in_order = _configuration(config, registry)
        status = _status(lambda: sockets_of(config, state_dir, socket))
        looks = _looks(registry, resolved, in_order, status)
        findings = [finding for area in _AREAS if not areas or area in areas for finding in looks[area]()]
    masked = _masked(prepared)
    shown = worst_first(finding for finding in findings if not brief or finding.level != "ok")
    if as_json:
        facts = {"findings": [asdict(finding) for finding in shown], "configuration": masked, "status": status}
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        for finding in shown:
            click.echo(str(finding))
        if status is not None and "version" in status and not (brief or areas):
            click.echo("\nthe daemon's status:\n" + status_text(status))
        if masked is not None and not (brief or areas):
            click.echo("\nconfiguration in force, secrets masked:\n" + json.dumps(masked, indent=2, ensure_ascii=False))
        click.echo(_summary(findings))
    return EXIT_WRONG if worst(findings) == "problem" else 0


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the log still: the report says it."""
    logger = logging.getLogger("streamcls")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _configuration(config: Path | None, registry: Registry) -> tuple[Prepared | None, Resolved | None, list[Finding]]:
    """Check the configuration; of one with problems return what can be told of the rest."""
    from streamcls.config import name_of, read_config, resolve
    from streamcls.config.conflicts import remarks
    from streamcls.daemon import model_paths, prepare_file
    from streamcls.errors import ConfigError
    from streamcls.inference import find_bundles
    from streamcls.service.doctor import Finding, secret_findings

    name = name_of(config)
    try:
        prepared = prepare_file(config, registry)
    except ConfigError as error:
        findings = [
            Finding("configuration", "problem", f"{name}: {problem.place}: {problem.what}", problem.hint)
            for problem in error.problems
        ]
        try:
            settings, _ = read_config(config)
        except ConfigError:
            return None, None, findings
        bundles = find_bundles(model_paths(registry, settings.models.path))
        return None, resolve(settings, components=registry.components, bundles=bundles), findings
    findings = [Finding("configuration", "ok", f"{name}: in order")]
    findings += [
        Finding("configuration", "warning", f"{name}: {remark.where}: {remark.what}", remark.hint)
        for remark in remarks(prepared.resolved)
    ]
    if config is not None:
        findings += secret_findings(config, _parts(prepared.resolved))
    return prepared, prepared.resolved, findings


def _parts(resolved: Resolved) -> Iterator[tuple[str, BaseModel]]:
    """Give the components that a file configures, and where it does."""
    for source in resolved.sources:
        yield f'source "{source.name}"', source.config
    for index, (_, subscriber) in enumerate(resolved.subscribers):
        yield f'subscriber[{index}] "{subscriber.name}"', subscriber.config


def _looks(
    registry: Registry, resolved: Resolved | None, in_order: list[Finding], status: dict[str, Any] | None
) -> dict[str, Callable[[], Iterable[Finding]]]:
    """Return by area what looks at it."""
    from streamcls.daemon import model_paths
    from streamcls.service import doctor as look

    extra = resolved.settings.models.path if resolved is not None else ()
    recording = [source for source in resolved.sources if source.kind == "mic"] if resolved is not None else []
    named = {source.name: getattr(source.config, "device", None) for source in recording}
    wanted = {name: device for name, device in named.items() if device is not None}
    return {
        "configuration": lambda: in_order,
        "system": look.machine_findings,
        "clock": look.clock_findings,
        "libraries": look.library_findings,
        "plugins": lambda: [*look.plugin_findings(registry), *look.backend_findings(registry)],
        "models": lambda: look.model_findings(model_paths(registry, extra)),
        "devices": lambda: look.device_findings(needed=bool(recording), wanted=wanted),
        "ports": lambda: _ports(resolved, status),
        "storage": lambda: _storage(resolved),
        "daemon": lambda: _daemon(status),
    }


def _ports(resolved: Resolved | None, status: dict[str, Any] | None) -> Iterator[Finding]:
    from streamcls.config.conflicts import endpoints_of
    from streamcls.service.doctor import port_findings

    if resolved is not None:
        yield from port_findings(endpoints_of(resolved), status["pid"] if status is not None else None)


def _storage(resolved: Resolved | None) -> Iterator[Finding]:
    from streamcls.service.doctor import storage_findings

    if resolved is None:
        return
    settings = resolved.settings
    kept = settings.journal.max_mb if settings.journal.enabled else 0
    clips = settings.evidence.max_mb if any(entry.evidence for entry in settings.stream) else 0
    wanted = {"daemon.state_dir": kept + (0 if settings.evidence.path else clips), "evidence.path": clips}
    yield from storage_findings(resolved.folders, wanted)


def _status(places: Callable[[], Sequence[Path]]) -> dict[str, Any] | None:
    """Ask the daemon; None where none runs, or what answers is none."""
    from streamcls.errors import ConfigError
    from streamcls.service.asking import ControlError, NoDaemonError, ask_any

    try:
        return ask_any(places(), "status", timeout_s=_ASK_S)
    except (NoDaemonError, ConfigError):
        return None
    except ControlError as error:
        return {"wrong": [str(error)], "pid": None}


def _daemon(status: dict[str, Any] | None) -> Iterator[Finding]:
    from streamcls import __version__
    from streamcls.service.doctor import Finding

    if status is None:
        yield Finding("daemon", "ok", "none runs on this configuration")
        return
    if "version" in status:
        what = f"{status['name']} {status['version']} runs as process {status['pid']} with {len(status['streams'])} streams"
        yield Finding("daemon", "ok", what)
        if status["version"] != __version__:
            what = f"it runs version {status['version']}, and {__version__} is installed"
            yield Finding("daemon", "warning", what, "restart it")
    for sentence in status["wrong"]:
        yield Finding("daemon", "problem", sentence)


def _masked(prepared: Prepared | None) -> dict[str, Any] | None:
    from streamcls.cli.inspect import facts_of

    return None if prepared is None else facts_of(prepared)


def _summary(findings: Iterable[Finding]) -> str:
    levels = [finding.level for finding in findings]
    problems, warnings = levels.count("problem"), levels.count("warning")
    if not problems and not warnings:
        return "\nnothing is wrong"
    words = [
        f"{count} {word}{'' if count == 1 else 's'}"
        for count, word in ((problems, "problem"), (warnings, "warning"))
        if count
    ]
    return "\n" + " and ".join(words)


def register(cli: click.Group) -> None:
    """Add the command."""
    cli.add_command(doctor)
