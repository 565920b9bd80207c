"""``check``, ``config``, ``plugins`` and ``models``: look before you run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

__all__ = ["register", "table"]

_FILE = click.Path(path_type=Path, dir_okay=False)


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
    prepared = prepare_file(config, discover())
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
    click.echo(json.dumps(facts, indent=2, ensure_ascii=False))


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


@click.command("models", short_help="List and verify the model bundles.")
@click.option("--path", "paths", multiple=True, help="A further folder of bundles.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def models(paths: tuple[str, ...], *, as_json: bool) -> int:
    """List every model bundle that is found, and verify it. Exit status 1 if one is damaged."""
    from streamcls.daemon import model_paths
    from streamcls.errors import BundleError
    from streamcls.inference import find_bundles, load_bundle
    from streamcls.plugins import discover

    facts: list[dict[str, Any]] = []
    for name, path in find_bundles(model_paths(discover(), paths)).items():
        try:
            bundle = load_bundle(path)
        except BundleError as error:
            facts.append({"name": name, "path": str(path), "error": str(error)})
            continue
        manifest = bundle.manifest
        facts.append(
            {
                "name": name,
                "version": manifest.version,
                "task": manifest.task,
                "labels": list(bundle.labels),
                "quantisation": manifest.model.quantisation,
                "bytes": len(bundle.model_bytes),
                "front_end": bundle.spec.kind,
                "sample_rate": bundle.spec.sample_rate,
                "window_s": round(bundle.window_s, 3),
                "stride_s": round(bundle.stride_s(manifest.window.stride_frames), 3),
                "path": str(path),
            }
        )
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        rows = [
            [fact["name"], "damaged", "", "", "", fact["error"]]
            if "error" in fact
            else [
                fact["name"],
                fact["version"],
                fact["task"],
                f"{fact['quantisation']}, {fact['bytes'] / 1024:.0f} KiB",
                f"{fact['window_s']:.2f} s every {fact['stride_s']:.2f} s",
                " ".join(fact["labels"][:12]) + (f" … ({len(fact['labels'])})" if len(fact["labels"]) > 12 else ""),  # noqa: PLR2004
            ]
            for fact in facts
        ]
        click.echo(table(rows, ["MODEL", "VERSION", "TASK", "FORMAT", "WINDOW", "LABELS"]))
    return 1 if any("error" in fact for fact in facts) else 0


def register(cli: click.Group) -> None:
    """Add the commands."""
    for command in (check, show_config, plugins, models):
        cli.add_command(command)
