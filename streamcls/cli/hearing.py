"""What the commands that hear a programme share."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from streamcls.cli.data import places_of
from streamcls.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from streamcls.training.corpora import Clip
    from streamcls.training.programme.files import Programme

__all__ = ["programme_option", "progress_over", "recipe_clips"]

_BAR_STEPS_PER_S: Final = 1_000


def programme_option(*, required: bool, help: str) -> Callable[..., Any]:  # noqa: A002 - as click calls it
    """Return the option ``--programme``."""
    kind = click.Path(exists=True, file_okay=False, path_type=Path)
    return click.option(
        "--programme", "programmes", multiple=True, required=required, metavar="DIR", type=kind, help=help
    )


def recipe_clips(bundle: Path, data: tuple[str, ...]) -> list[Clip] | None:
    """Return the clips of the recipe in a bundle's folder; None, and say so, where they cannot be read and no place was named.

    Parameters
    ----------
    data
        Places of corpora as NAME=PATH.

    Raises
    ------
    TrainingError
        A place was named, and the clips cannot be read all the same.
    """
    from streamcls.training import load_recipe
    from streamcls.training.corpora import read_corpora

    places, recipe = places_of(data), bundle / "recipe.toml"
    if recipe.is_file():
        try:
            return read_corpora(load_recipe(recipe), places)
        except TrainingError as error:
            if places:
                raise
            reason = str(error)
    else:
        reason = f"{bundle} has no recipe.toml that names its corpora"
        if places:
            raise TrainingError(f"--data: {reason}")
    click.echo(f"not checked which of the programme's sources were in training: {reason}", err=True)
    return None


@contextmanager
def progress_over(programmes: Sequence[Programme]) -> Iterator[Callable[[float], None]]:
    """Show on a terminal how far the programmes were heard; what it gives takes the seconds of each chunk."""
    total = round(sum(programme.seconds for programme in programmes) * _BAR_STEPS_PER_S)
    with click.progressbar(length=total, label="hearing", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        yield lambda seconds: bar.update(round(seconds * _BAR_STEPS_PER_S))
