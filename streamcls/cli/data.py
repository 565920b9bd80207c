"""The option ``--data`` of several commands: where labelled audio lies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamcls.errors import TrainingError

if TYPE_CHECKING:
    from streamcls.training.corpora import Clip

__all__ = ["clips_of", "is_recipes", "places_of"]


def places_of(values: tuple[str, ...]) -> dict[str, Path]:
    """Read values of the form ``NAME=PATH``: the place of a recipe's corpus by its name."""
    places = {}
    for value in values:
        name, separator, path = value.partition("=")
        if not (name and separator and path):
            raise click.BadParameter(f"{value!r} is not NAME=PATH", param_hint="--data")
        places[name] = Path(path)
    return places


def is_recipes(data: tuple[str, ...]) -> bool:
    """Whether no path is given, so that :func:`clips_of` takes the corpora of the bundle's recipe."""
    return not any(Path(value).exists() for value in data)


def clips_of(bundle: Path, labels: tuple[str, ...], data: tuple[str, ...]) -> list[Clip]:
    """Return the clips of the paths given, or of the corpora of the recipe that lies in a bundle's folder.

    Raises
    ------
    TrainingError
        There is neither, or a corpus cannot be read.
    """
    from streamcls.training import load_recipe
    from streamcls.training.corpora import read_corpora, read_plain

    plain = [Path(value) for value in data if Path(value).exists()]
    named = places_of(tuple(value for value in data if not Path(value).exists()))
    if plain and named:
        raise click.UsageError("give --data either as paths or as NAME=PATH")
    if plain:
        return [clip for path in plain for clip in read_plain(path, labels)]
    recipe = bundle / "recipe.toml"
    if not recipe.is_file():
        raise TrainingError(f"{bundle} has no recipe.toml that names its corpora: give --data PATH")
    return read_corpora(load_recipe(recipe), named)
