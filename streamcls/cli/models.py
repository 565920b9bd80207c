"""``models``: list and verify the bundles that there are, and make one of a model from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

from streamcls.cli import completion
from streamcls.cli.backends import backend_named
from streamcls.cli.inspect import table

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamcls.training.importing.bundle import Activation
    from streamcls.training.importing.front_end import InputKind

__all__ = ["register"]

_MOST_LABELS: Final = 6
_FILE: Final = click.Path(path_type=Path, dir_okay=False, exists=True)


def _listing_options(function: Callable[..., Any]) -> Callable[..., Any]:
    path = click.option("--path", "paths", multiple=True, help="A further folder of bundles.")
    return path(click.option("--json", "as_json", is_flag=True, help="As JSON.")(function))


@click.group("models", invoke_without_command=True, short_help="List, verify and import model bundles.")
@_listing_options
@click.pass_context
def models(context: click.Context, paths: tuple[str, ...], *, as_json: bool) -> int | None:
    """List every model bundle that is found, and verify it; or import a model. Exit status 1 if a bundle is damaged."""
    if context.invoked_subcommand is None:
        return _list(paths, as_json=as_json)
    if paths or as_json:
        raise click.UsageError(f"--path and --json belong behind the command {context.invoked_subcommand}")
    return None


@models.command("list", short_help="List and verify the model bundles.")
@_listing_options
def list_models(paths: tuple[str, ...], *, as_json: bool) -> int:
    """List every model bundle that is found, and verify it. Exit status 1 if one is damaged."""
    return _list(paths, as_json=as_json)


def _list(paths: tuple[str, ...], *, as_json: bool) -> int:
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
        header = ["MODEL", "VERSION", "TASK", "FORMAT", "WINDOW", "LABELS", "WHERE"]
        click.echo(table([_row(fact) for fact in facts], header))
    return 1 if any("error" in fact for fact in facts) else 0


def _row(fact: dict[str, Any]) -> list[str]:
    if "error" in fact:
        return [fact["name"], "damaged", "", "", "", "", fact["error"]]
    labels = fact["labels"]
    more = f" … ({len(labels)})" if len(labels) > _MOST_LABELS else ""
    return [
        fact["name"],
        fact["version"],
        fact["task"],
        f"{fact['quantisation']}, {fact['bytes'] / 1024:.0f} KiB",
        f"{fact['window_s']:.2f} s every {fact['stride_s']:.2f} s",
        "; ".join(labels[:_MOST_LABELS]) + more,
        fact["path"],
    ]


@models.command("import", short_help="Make a bundle of a TensorFlow Lite model from elsewhere.")
@click.argument("model", type=_FILE)
@click.option(
    "--labels", required=True, type=_FILE,
    help="CSV: one label a line; or columns headed label and taxonomy_id; or YAMNet's index, mid and display_name.",
)  # fmt: skip
@click.option(
    "--input", "kind", required=True, type=click.Choice(["waveform", "mfcc", "log_mel"]), help="What it takes."
)
@click.option("--sample-rate", type=click.IntRange(1_000, 384_000), metavar="HZ", help="At which rate it hears.")
@click.option(
    "--front-end", "values", multiple=True, metavar="KEY=VALUE", help="A key of the front end, e.g. hop_length=160."
)
@click.option("--spec-file", type=_FILE, help="The front end as TOML, or a bundle.toml or recipe that has it.")
@click.option(
    "--stride",
    "stride_s",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="From window to window; half a window by default.",
)
@click.option("--name", help="Name of the model; that of the output folder or of the file by default.")
@click.option("--version", default="1", show_default=True)
@click.option(
    "--task",
    default="tagging",
    show_default=True,
    help="genre and moderation are heard by those policies by themselves.",
)
@click.option(
    "--activation", type=click.Choice(["softmax", "sigmoid", "identity"]),
    help="What makes its outputs probabilities; needed where they are none already.",
)  # fmt: skip
@click.option(
    "--taxonomy", "scheme", default="", metavar="SCHEME", help="Put before the taxonomy ids, as in audioset:/m/0jb2l."
)
@click.option("--output-name", help="The output that the labels belong to, where several are as long.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the bundle; ./models/<name> by default.",
)
@click.option("--replace", is_flag=True, help="Replace a bundle that is there already.")
@click.option(
    "--backend",
    default="litert",
    show_default=True,
    shell_complete=completion.backends,
    help="Runs the model once, on test signals.",
)
def import_command(
    *,
    model: Path, labels: Path, kind: str, sample_rate: int | None, values: tuple[str, ...], spec_file: Path | None, stride_s: float | None,
    name: str | None, version: str, task: str, activation: str | None, scheme: str, output_name: str | None, output: Path | None,
    replace: bool, backend: str,
) -> None:  # fmt: skip
    """Make a bundle of MODEL, a TensorFlow Lite file from elsewhere.

    \b
    streamcls models import yamnet.tflite --labels yamnet_class_map.csv
        --input waveform --sample-rate 16000

    Shape, type and quantisation are read from the file. How its features were made is not in it: say all of it. Needs no TensorFlow.
    """  # noqa: D301 - click wants the character itself
    from streamcls.training.importing import ImportOptions, import_model
    from streamcls.training.importing.card import suggested_configuration
    from streamcls.training.importing.front_end import parse_values, read_spec_file

    front_end = {**(read_spec_file(spec_file) if spec_file else {}), **parse_values(values)}
    if sample_rate is not None:
        front_end["sample_rate"] = sample_rate
    called = name or (output.resolve().name if output else _name_of(model))
    options = ImportOptions(
        output or Path("models", called),
        called,
        version,
        task,
        activation=cast("Activation | None", activation),
        values=front_end,
        stride_s=stride_s,
        scheme=scheme,
        output_name=output_name,
        replace=replace,
    )
    made = import_model(model, labels, cast("InputKind", kind), backend_named(backend), options)
    bundle = made.bundle
    stride = bundle.stride_s(bundle.manifest.window.stride_frames)
    click.echo(
        f"wrote {bundle.path}: {bundle.n_labels} labels, hears {bundle.window_s:.3f} s every {stride:.3f} s "
        f"at {bundle.spec.sample_rate} Hz, {bundle.manifest.model.quantisation}"
    )
    for remark in made.remarks:
        click.echo(f"found: {remark}")
    click.echo("nothing was measured: see streamcls evaluate. A configuration to begin with:\n")
    click.echo(suggested_configuration(bundle), nl=False)


def _name_of(model: Path) -> str:
    """Return a file's name without its ending, in the letters that a bundle's name may have."""
    import re

    return re.sub(r"[^a-z0-9._-]+", "-", model.stem.lower()).strip("-._")[:64] or "model"


def register(cli: click.Group) -> None:
    """Add the commands."""
    cli.add_command(models)
