"""``programme``: long test programmes from held-back clips."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from streamcls.training.corpora import Clip
    from streamcls.training.recipe import Recipe

__all__ = ["register"]


def register(cli: click.Group) -> None:
    """Add the command."""
    cli.add_command(programme)


@click.command(short_help="Make hours of test programme with known events.")
@click.argument("recipe", type=click.Path(exists=True, path_type=Path))
@click.option("--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="A new folder.")
@click.option("--hours", default=12.0, show_default=True, type=click.FloatRange(min=0, min_open=True, max=1_000))
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
@click.option("--split", default="test", show_default=True, type=click.Choice(["test", "valid"]))
@click.option(
    "--data", multiple=True, metavar="PATH|NAME=PATH",
    help="A folder of label/file folders or a CSV manifest instead of the recipe's corpora; or where a corpus lies, by its name.",
)  # fmt: skip
@click.option("--events-per-hour", default=18.0, show_default=True, type=click.FloatRange(0, 300))
@click.option(
    "--snr", nargs=2, type=float, metavar="LOW HIGH", default=(-3.0, 15.0), show_default=True,
    help="Range of the events' level above the bed, in dB.",
)  # fmt: skip
@click.option(
    "--only", type=click.Choice(["music", "speech"]), help="Nothing but that, and no events: for false alerts alone."
)
@click.option(
    "--broadcast-share", default=0.5, show_default=True, type=click.FloatRange(0, 1),
    help="Chance of each stage of the broadcast chains that the sound goes through, stretch by stretch; 0 for none.",
)  # fmt: skip
def programme(
    *,
    recipe: Path, output: Path, hours: float, seed: int, split: str, data: tuple[str, ...], events_per_hour: float,
    snr: tuple[float, float], only: str | None, broadcast_share: float,
) -> None:  # fmt: skip
    """Make a test programme from the held-back clips of a RECIPE, or of the recipe in a bundle's folder.

    \b
    streamcls programme models/moderation-cnn --hours 12 --seed 1 --output test12
    streamcls programme recipe.toml --only music --hours 3 --output music3

    The folder gets audio of an hour each (FLAC), truth.csv (events), bed.csv (music, speech and so on) and programme.json (sources,
    chains, and hours of distinct material). The same seed and clips give the same programme.
    """  # noqa: D301 - click wants the character itself
    from streamcls.training import load_recipe
    from streamcls.training.programme.files import make_programme
    from streamcls.training.programme.plan import SAMPLE_RATE, ProgrammeOptions

    if snr[0] > snr[1]:
        raise click.BadParameter(f"{snr[0]:g} is above {snr[1]:g}", param_hint="--snr")
    plan = load_recipe(recipe / "recipe.toml" if recipe.is_dir() else recipe)
    chosen: str = only or ""
    options = ProgrammeOptions(
        hours=hours, seed=seed, split=split, events_per_hour=events_per_hour, snr_db=snr,
        only="music" if chosen == "music" else "speech" if chosen == "speech" else "", broadcast_share=broadcast_share,
    )  # fmt: skip
    clips = _clips(plan, data)
    total = round(hours * 3_600)
    with click.progressbar(length=total, label="programme", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        made = make_programme(plan, clips, options, output, lambda samples: bar.update(samples // SAMPLE_RATE))
    click.echo(f"wrote {output}: {made.seconds / 3_600:.2f} h, {len(made.truth)} events")
    for kind, part in made.facts["material"].items():
        click.echo(
            f"  {kind}: {part['distinct_hours']:.2f} h of distinct material in {part['clips']} clips of {part['recordings']} recordings"
        )


def _clips(recipe: Recipe, data: tuple[str, ...]) -> list[Clip]:
    from streamcls.training.corpora import read_corpora, read_plain

    plain = [Path(value) for value in data if Path(value).exists()]
    named = [value.partition("=") for value in data if not Path(value).exists()]
    if plain and named:
        raise click.UsageError("give --data either as paths or as NAME=PATH")
    if plain:
        return [clip for path in plain for clip in read_plain(path, tuple(recipe.labels))]
    for name, separator, path in named:
        if not (name and separator and path):
            raise click.BadParameter(f"{name + separator + path!r} is neither there nor NAME=PATH", param_hint="--data")
    return read_corpora(recipe, {name: Path(path) for name, _, path in named})
