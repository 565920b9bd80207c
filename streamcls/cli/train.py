"""``train``: from labelled audio to a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from streamcls.cli import completion
from streamcls.cli.backends import backend_named
from streamcls.cli.data import places_of

__all__ = ["register"]

_DATA_HELP = "Where a corpus of the recipe lies, by its name."


def register(cli: click.Group) -> None:
    """Add the command."""
    cli.add_command(train)


@click.command()
@click.argument("recipe", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--folder", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Instead of a recipe: a folder with one folder of audio files per label.",
)  # fmt: skip
@click.option("--name", help="With --folder: the model's name; the folder's name by default.")
@click.option("--data", multiple=True, metavar="NAME=PATH", help=_DATA_HELP)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the bundle; ./models/<name of the model> by default, with --quick ./models/<name of the model>-quick.",
)
@click.option("--epochs", type=click.IntRange(1), help="Instead of the recipe's.")
@click.option(
    "--quick", is_flag=True, help="Two short epochs, to see whether everything works. The model will be poor."
)
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for features; the user's cache by default.",
)
@click.option("--resume", is_flag=True, help="Go on with this run where it was broken off.")
@click.option("--restart", is_flag=True, help="Discard what is left of this run, and begin anew.")
@click.option(
    "--backend",
    default="litert",
    show_default=True,
    shell_complete=completion.backends,
    help="Runs the finished model for calibration and metrics.",
)
def train(
    *,
    recipe: Path | None, folder: Path | None, name: str | None, data: tuple[str, ...], output: Path | None, epochs: int | None,
    quick: bool, cache: Path | None, resume: bool, restart: bool, backend: str,
) -> None:  # fmt: skip
    """Train a model from a RECIPE (TOML) and write it as a bundle.

    \b
    streamcls train models/genre-cnn/recipe.toml --data gtzan_full30=/data/gtzan
    streamcls train --folder my-sounds        label/file folders, no recipe needed

    Needs TensorFlow: pip install 'streamcls[train]'.
    """  # noqa: D301 - click wants the character itself
    from streamcls.training import TrainOptions, load_recipe
    from streamcls.training import train as run_training
    from streamcls.training.folder import recipe_for_folder

    if (recipe is None) == (folder is None):
        raise click.UsageError("give either a RECIPE or --folder DIR")
    if resume and restart:
        raise click.UsageError("give either --resume or --restart")
    if recipe is not None:
        plan = load_recipe(recipe)
    else:
        assert folder is not None  # noqa: S101 - for the type checker; the check above
        plan = recipe_for_folder(folder, name)
    target = output or Path("models", f"{plan.name}-quick" if quick else plan.name)
    options = TrainOptions(target, places_of(data), cache, epochs=epochs, quick=quick, resume=resume, restart=restart)
    made = run_training(plan, backend_named(backend), options)
    click.echo(f"wrote {made}; read {made / 'CARD.md'}, and measure it with: streamcls evaluate {made}")
