"""``export``: a trained network once more as a bundle, quantised in another way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from streamcls.cli import completion
from streamcls.cli.backends import backend_named
from streamcls.cli.data import places_of

if TYPE_CHECKING:
    from streamcls.training.reexport import QuantisationKind

__all__ = ["register"]


@click.command("export", short_help="Quantise a trained network in another way.")
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--quantisation", "kind", required=True, type=click.Choice(["int8", "dynamic_range", "float32"]),
    help="Integers throughout; 8-bit weights; or as trained.",
)  # fmt: skip
@click.option("--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the bundle.")
@click.option("--data", multiple=True, metavar="NAME=PATH", help="Where a corpus of the recipe lies, by its name.")
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for features; the user's cache by default.",
)
@click.option(
    "--backend",
    default="litert",
    show_default=True,
    shell_complete=completion.backends,
    help="Runs the finished model for calibration and metrics.",
)
def export(*, run: Path, kind: str, output: Path, data: tuple[str, ...], cache: Path | None, backend: str) -> None:
    """Make another bundle of the float network in RUN, the folder that train leaves beside its bundle.

    \b
    streamcls export models/mine.run --quantisation float32 --output mine-float

    Nothing is trained; the recipe's corpora are needed to calibrate and measure. Needs TensorFlow: pip install 'streamcls[train]'.
    """  # noqa: D301 - click wants the character itself
    from streamcls.training import TrainOptions
    from streamcls.training.reexport import reexport

    options = TrainOptions(output, places_of(data), cache)
    made = reexport(run, cast("QuantisationKind", kind), backend_named(backend), options)
    click.echo(f"wrote {made}; read {made / 'CARD.md'}")


def register(cli: click.Group) -> None:
    """Add the command."""
    cli.add_command(export)
