"""``calibrate``: a bundle's thresholds by the false alerts that they raise on a validation programme."""

from __future__ import annotations

from pathlib import Path

import click

from streamcls.cli import completion
from streamcls.cli.backends import backend_named
from streamcls.cli.hearing import programme_option, progress_over, recipe_clips

__all__ = ["register"]


def register(cli: click.Group) -> None:
    """Add the command."""
    cli.add_command(calibrate)


@click.command(short_help="Choose a bundle's thresholds by the false alerts an hour they raise.")
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@programme_option(
    required=True, help="A programme of validation recordings (streamcls programme --split valid). May be repeated."
)
@click.option(
    "--false-alerts", "rate", default=0.5, show_default=True, type=click.FloatRange(0),
    help="So many false alerts an hour are allowed to each label.",
)  # fmt: skip
@click.option(
    "--output", type=click.Path(path_type=Path), help="A new folder for the bundle with its new thresholds; in place by default."
)  # fmt: skip
@click.option("--data", multiple=True, metavar="NAME=PATH", help="Where a corpus of the bundle's own recipe lies.")
@click.option(
    "--allow-test", is_flag=True,
    help="Take a programme of test recordings all the same. No test is left then: for models that are measured elsewhere.",
)  # fmt: skip
@click.option(
    "--backend", default="litert", show_default=True, shell_complete=completion.backends, help="Runs the model."
)
def calibrate(
    *,
    bundle: Path, programmes: tuple[Path, ...], rate: float, output: Path | None, data: tuple[str, ...], allow_test: bool, backend: str,
) -> None:  # fmt: skip
    """Choose the thresholds of a moderation BUNDLE on validation programmes and write them into it.

    \b
    streamcls programme models/mine --split valid --hours 6 --output valid6
    streamcls calibrate models/mine --programme valid6 --false-alerts 0.5
    streamcls programme models/mine --split test --hours 12 --output test12
    streamcls evaluate models/mine --programme test12

    Each label gets the lowest threshold, 0.2 at least, from which on it raises no more false alerts an hour, counted over all programmes
    together, with the moderation policy's built-in rules. Thresholds must never be chosen on test recordings: the test would then measure
    what was fitted to it. So a programme of the test split, or with recordings of it, is refused.
    """  # noqa: D301 - click wants the character itself
    from streamcls.inference import load_bundle
    from streamcls.training.events.choosing import check_material, check_model, choose
    from streamcls.training.events.measure import hear
    from streamcls.training.events.thresholds import check_target, choice_markdown, write_thresholds
    from streamcls.training.programme.files import read_programme

    backend_named(backend)
    loaded = load_bundle(bundle)
    check_model(loaded.info())
    check_target(loaded, output)
    found = [read_programme(folder) for folder in programmes]
    clips = recipe_clips(bundle, data)
    for programme in found:
        for remark in check_material(programme, clips, allow_test=allow_test):
            _warn(remark)
    with progress_over(found) as progress:
        heards = [hear(bundle, programme, backend=backend, progress=progress) for programme in found]
    choice = choose(heards, rate)
    if choice.missed:
        names = ", ".join(choice.missed)
        _warn(f"no threshold keeps to {rate:g} false alerts an hour: {names}; the highest of the grid was taken")
    if choice.without_events:
        _warn(f"the programmes have no event, so that the recall is unknown: {', '.join(choice.without_events)}")
    made = write_thresholds(loaded, choice, output)
    click.echo(choice_markdown(choice, dict(loaded.manifest.calibration.thresholds)))
    click.echo(f"wrote {made}, on {choice.hours:.2f} h. To keep them when it is trained again, put into the recipe:\n")
    click.echo(_table(choice.thresholds), nl=False)


def _warn(text: str) -> None:
    click.echo(f"warning: {text}", err=True)


def _table(thresholds: dict[str, float]) -> str:
    from streamcls.training.toml import dump_toml

    return dump_toml({"calibration": {"thresholds": thresholds}}).partition("\n\n")[2]
