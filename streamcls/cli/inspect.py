"""``check``, ``config`` and ``plugins``: look before you run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from streamcls.daemon.prepare import Prepared

__all__ = ["facts_of", "register", "table"]

_FILE = click.Path(path_type=Path, dir_okay=False, readable=False)  # to read it says more, and ends with 78


def table(rows: list[list[str]], header: list[str]) -> str:
    """Lay rows out in columns under a header."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    ]
    return "\n".join(lines)


@click.command("check", short_help="Check a configuration: every problem at once.")
@click.argument("config", required=False, type=_FILE)
def check(config: Path | None) -> None:
    """Check CONFIG, its plugins and its models, and report every problem at once. No source and no port is opened."""
    from streamcls.config import name_of
    from streamcls.daemon import prepare_file
    from streamcls.plugins import discover

    prepared = prepare_file(config, discover())
    resolved = prepared.resolved
    click.echo(
        f"{name_of(config)}: in order ({len(resolved.sources)} sources, {len(prepared.models)} models, "
        f"{len(resolved.policies)} policies, {len(resolved.subscribers)} subscribers)"
    )


@click.command("config", short_help="Print the configuration in force.")
@click.argument("config", required=False, type=_FILE)
@click.option(
    "--default", "default", is_flag=True, help="Print the embedded configuration file, to begin your own with."
)
def show_config(config: Path | None, *, default: bool) -> None:
    """Print what is in force for CONFIG as JSON: every key, defaults included, secrets masked."""
    from streamcls.config import default_text
    from streamcls.daemon import prepare_file
    from streamcls.plugins import discover

    if default:
        click.echo(default_text(), nl=False)
        return
    click.echo(json.dumps(facts_of(prepare_file(config, discover())), indent=2, ensure_ascii=False))


def facts_of(prepared: Prepared) -> dict[str, Any]:
    """Return what is in force as JSON values, secrets masked."""
    resolved = prepared.resolved
    facts: dict[str, Any] = resolved.settings.model_dump(
        mode="json", exclude={"source", "policy", "subscriber", "model"}
    )
    facts["daemon"]["state_dir"] = str(resolved.state_dir)
    facts["source"] = [{"name": s.name, "type": s.kind, **s.config.model_dump(mode="json")} for s in resolved.sources]
    facts["model"] = {
        name: {
            "bundle": str(model.bundle.path),
            "version": model.bundle.manifest.version,
            "backend": model.backend.name,
            "window_s": round(model.bundle.window_s, 4),
            "stride_s": round(model.bundle.stride_s(model.stride_frames), 4),
        }
        for name, model in prepared.models.items()
    }
    facts["policy"] = {p.name: {"type": p.kind, **p.config.model_dump(mode="json")} for p in resolved.policies.values()}
    facts["subscriber"] = [
        {"type": entry.type, "kinds": entry.kinds, "streams": entry.streams, **component.config.model_dump(mode="json")}
        for entry, component in resolved.subscribers
    ]
    return facts


@click.command("plugins", short_help="List plugins and what they provide.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def plugins(*, as_json: bool) -> int:
    """List every plugin, what it provides, and why what does not work does not. Exit status 1 if one is broken."""
    import logging
    from dataclasses import asdict

    from streamcls.plugins import discover

    log = logging.getLogger("streamcls.plugins")
    level = log.level
    log.setLevel(logging.CRITICAL)  # the listing says it
    try:
        registry = discover()
        registry.add_commands(_own_commands())
    finally:
        log.setLevel(level)
    records = registry.records
    if as_json:
        click.echo(json.dumps([asdict(record) for record in records], indent=2))
    else:
        rows = []
        for record in records:
            if record.reason or not record.provides:
                rows.append(
                    [
                        record.name,
                        record.status,
                        record.module,
                        f"{record.distribution} {record.version}",
                        record.reason,
                    ]
                )
            for item in record.provides:
                state = f"unavailable: {item.reason}" if item.reason else ""
                rows.append(
                    [
                        record.name,
                        record.status,
                        f"{item.kind} {item.name}",
                        f"{record.distribution} {record.version}",
                        state,
                    ]
                )
        click.echo(table(rows, ["PLUGIN", "STATUS", "PROVIDES", "FROM", "REMARK"]))
    return 1 if any(record.status == "broken" for record in records) else 0


def _own_commands() -> click.Group:
    """Return a group of the commands that no plugin brought, to see which others plugins would add."""
    root: Any = click.get_current_context().find_root().command
    own = {
        name: command
        for name, command in root.commands.items()
        if getattr(command.callback, "__module__", "").startswith("streamcls.cli.")
    }
    return click.Group(commands=own)


def register(cli: click.Group) -> None:
    """Add the commands."""
    for command in (check, show_config, plugins):
        cli.add_command(command)
