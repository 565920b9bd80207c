"""``train`` and ``evaluate``: from labelled audio to a bundle, and what a bundle is worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamcls.errors import ConfigError, Problem, TrainingError

if TYPE_CHECKING:
    from streamcls.interfaces import Backend
    from streamcls.training.corpora import Clip

__all__ = ["register"]

_DATA_HELP = "Where a corpus of the recipe lies, by its name."


def register(cli: click.Group) -> None:
    """Add the commands."""
    cli.add_command(train)
    cli.add_command(evaluate)


def _places(values: tuple[str, ...]) -> dict[str, Path]:
    places = {}
    for value in values:
        name, separator, path = value.partition("=")
        if not (name and separator and path):
            raise click.BadParameter(f"{value!r} is not NAME=PATH", param_hint="--data")
        places[name] = Path(path)
    return places


def _backend(name: str) -> Backend:
    from streamcls.plugins import discover

    backends = discover().backends
    if name not in backends:
        raise ConfigError(
            [
                Problem(
                    "--backend",
                    f"{name!r} is no backend",
                    f"there is {', '.join(sorted(backends)) or 'none'}",
                )
            ]
        )
    return backends[name]()


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
    help="Folder of the bundle; ./models/<name of the model> by default.",
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
@click.option(
    "--keep-float",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Save the float network to this .keras file too.",
)
@click.option(
    "--backend",
    default="litert",
    show_default=True,
    help="Runs the finished model for calibration and metrics.",
)
def train(
    *,
    recipe: Path | None, folder: Path | None, name: str | None, data: tuple[str, ...], output: Path | None, epochs: int | None,
    quick: bool, cache: Path | None, keep_float: Path | None, backend: str,
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
    if recipe is not None:
        plan = load_recipe(recipe)
    else:
        assert folder is not None  # noqa: S101 - for the type checker; the check above
        plan = recipe_for_folder(folder, name)
    target = output or Path("models", plan.name)
    if keep_float is not None and keep_float.suffix != ".keras":
        raise click.BadParameter(f"{keep_float} does not end in .keras", param_hint="--keep-float")
    options = TrainOptions(target, _places(data), cache, epochs=epochs, quick=quick, weights=keep_float)
    made = run_training(plan, _backend(backend), options)
    click.echo(f"wrote {made}; read {made / 'CARD.md'}, and use it with: streamcls classify --model {made} FILE")


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--data", multiple=True, metavar="PATH|NAME=PATH",
    help="A folder of label/file folders or a CSV manifest (path,label,…); or NAME=PATH for a corpus of the bundle's own recipe.",
)  # fmt: skip
@click.option("--split", type=click.Choice(["train", "valid", "test", "all"]), default="test", show_default=True)
@click.option("--format", "form", type=click.Choice(["json", "markdown"]), default="markdown", show_default=True)
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for features; the user's cache by default.",
)
@click.option("--backend", default="litert", show_default=True, help="Runs the model.")
def evaluate(*, bundle: Path, data: tuple[str, ...], split: str, form: str, cache: Path | None, backend: str) -> None:
    """Measure a BUNDLE on labelled audio; needs no TensorFlow.

    Without --data, on the corpora of the recipe that lies in the bundle. A folder of label/file folders and a manifest without a
    column "split" have no splits of their own: there the split is drawn by recording, so say --split all for audio that the model was
    not trained on.
    """
    from streamcls.inference import load_bundle
    from streamcls.training import evaluate as run_evaluation
    from streamcls.training.features import default_cache
    from streamcls.training.report import markdown

    loaded = load_bundle(bundle)
    clips = _clips(bundle, loaded.labels, data)
    classifier = _backend(backend).load(loaded)
    try:
        result = run_evaluation(loaded, classifier, clips, cache or default_cache(), split)
    finally:
        classifier.close()
    click.echo(markdown(result) if form == "markdown" else json.dumps(result.figures, indent=1, ensure_ascii=False))


def _clips(bundle: Path, labels: tuple[str, ...], data: tuple[str, ...]) -> list[Clip]:
    from streamcls.training import load_recipe
    from streamcls.training.corpora import read_corpora, read_plain

    plain = [Path(value) for value in data if Path(value).exists()]
    named = _places(tuple(value for value in data if not Path(value).exists()))
    if plain and named:
        raise click.UsageError("give --data either as paths or as NAME=PATH")
    if plain:
        return [clip for path in plain for clip in read_plain(path, labels)]
    recipe = bundle / "recipe.toml"
    if not recipe.is_file():
        raise TrainingError(f"{bundle} has no recipe.toml that names its corpora: give --data PATH")
    return read_corpora(load_recipe(recipe), named)
