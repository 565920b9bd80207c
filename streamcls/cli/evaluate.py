"""``evaluate``: what a bundle is worth, alone or beside others on the same files."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from streamcls.cli import completion
from streamcls.cli.backends import backend_named
from streamcls.cli.data import clips_of, is_recipes
from streamcls.cli.hearing import programme_option, progress_over, recipe_clips
from streamcls.errors import TrainingError

if TYPE_CHECKING:
    from streamcls.inference import Bundle
    from streamcls.interfaces import Backend
    from streamcls.training.corpora import Clip
    from streamcls.training.evaluation.compare import Comparison
    from streamcls.training.evaluation.peers import Peers

__all__ = ["register"]

_OF_CLIPS = frozenset({"beside", "baseline", "float_file", "split", "music", "broadcast", "background", "cache"})
"""Parameters that have a meaning for labelled clips only."""
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


def register(cli: click.Group) -> None:
    """Add the command."""
    cli.add_command(evaluate)


@click.command(short_help="Measure a model on labelled audio or a programme.")
@click.argument("bundle", type=_FOLDER)
@programme_option(
    required=False,
    help="Instead of labelled clips: a programme, through the daemon's pipeline and policies. By event: recall, false alerts an hour, time "
    "to alert. May be repeated.",
)
@click.option(
    "--beside",
    multiple=True,
    metavar="DIR",
    type=_FOLDER,
    help="A further bundle, measured on the same files. May be repeated.",
)
@click.option(
    "--map", "maps", multiple=True, metavar="[NAME=]FILE|audioset",
    help="How the labels of a bundle beside become those of BUNDLE: a TOML file with [labels], or the ready map of AudioSet's classes, "
    "which is the default where it has none of BUNDLE's labels. With --programme: how the policies take BUNDLE's own labels, "
    "whatever its task.",
)  # fmt: skip
@click.option(
    "--baseline", is_flag=True, help="Beside a support vector machine on MFCC, trained on the training split."
)
@click.option(
    "--float", "float_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE.keras",
    help="Beside the float network that BUNDLE was made of; needs TensorFlow.",
)  # fmt: skip
@click.option(
    "--data", multiple=True, metavar="PATH|NAME=PATH",
    help="A folder of label/file folders or a CSV manifest (path,label,…); or NAME=PATH for a corpus of the bundle's own recipe.",
)  # fmt: skip
@click.option("--split", type=click.Choice(["train", "valid", "test", "all"]), default="test", show_default=True)
@click.option(
    "--music", multiple=True, metavar="[NAME=]PATH|CORPUS",
    help="Music without labels, on which the models' agreement is measured: a folder, a manifest, or a corpus of the recipe by its name.",
)  # fmt: skip
@click.option(
    "--broadcast", type=click.IntRange(0), default=0, metavar="N",
    help="Send N clips through broadcast chains and tell how far the posteriors change.",
)  # fmt: skip
@click.option(
    "--background", multiple=True, metavar="LABEL",
    help="A label that means none of the others; by default, those that each bundle states.",
)  # fmt: skip
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path),
    help="A folder for all of it: JSON, Markdown, and pictures where matplotlib is installed. With --programme, events.json and events.md.",
)  # fmt: skip
@click.option("--format", "form", type=click.Choice(["json", "markdown"]), default="markdown", show_default=True)
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for features; the user's cache by default.",
)
@click.option(
    "--backend", default="litert", show_default=True, shell_complete=completion.backends, help="Runs the models."
)
@click.pass_context
def evaluate(
    context: click.Context, *,
    bundle: Path, programmes: tuple[Path, ...],
    beside: tuple[Path, ...], maps: tuple[str, ...], baseline: bool, float_file: Path | None, data: tuple[str, ...],
    split: str, music: tuple[str, ...], broadcast: int, background: tuple[str, ...], output: Path | None, form: str,
    cache: Path | None, backend: str,
) -> None:  # fmt: skip
    """Measure a BUNDLE on labelled audio, alone or beside others; needs no TensorFlow.

    \b
    streamcls evaluate models/mine
    streamcls evaluate models/mine --beside models/yamnet --output measured
    streamcls evaluate models/mine --programme test12
    streamcls evaluate models/yamnet --programme test12 --map audioset

    Without --data, on the corpora of the recipe that lies in the bundle. A folder of label/file folders and a manifest without a
    column "split" have no splits of their own: there the split is drawn by recording, so say --split all for audio that the model was
    not trained on. With --programme (hours of audio, made by streamcls programme) no labelled audio is needed; where the recipe's
    corpora lie here, the report says how many of the programme's sources the model was trained on.
    """  # noqa: D301 - click wants the character itself
    from streamcls.inference import load_bundle
    from streamcls.training import evaluate as run_evaluation
    from streamcls.training.evaluation.peers import Peers
    from streamcls.training.evaluation.report import markdown
    from streamcls.training.extra import need
    from streamcls.training.features import default_cache

    if programmes:
        _by_event(context, bundle, programmes, maps=maps, data=data, output=output, form=form, backend=backend)
        return
    if baseline and split in {"train", "all"}:
        raise click.UsageError(
            f"--baseline is trained on the training split, which --split {split} would measure it on"
        )
    if music and not (beside or baseline or float_file):
        raise click.UsageError(
            "--music measures how far two models agree: name a second one (--beside, --baseline or --float)"
        )
    for given, what in ((music, "--music"), (broadcast, "--broadcast")):
        if given:
            need("scipy", what)
    loaded = load_bundle(bundle)
    if music and loaded.manifest.calibration.activation != "softmax":
        raise click.UsageError(f"--music is for labels that exclude each other, and those of {loaded.name} do not")
    clips = clips_of(bundle, loaded.labels, data)
    _warn_of_seen(bundle, [clip for clip in clips if split in {"all", clip.split}], from_recipe=is_recipes(data))
    runner, folder, none = backend_named(backend), cache or default_cache(), background or None
    if not (beside or baseline or float_file or music or broadcast or output):
        classifier = runner.load(loaded)
        try:
            result = run_evaluation(loaded, classifier, clips, folder, split, background=none)
        finally:
            classifier.close()
        click.echo(markdown(result) if form == "markdown" else _json(result.figures))
        return
    peers = Peers(beside, _maps(maps), float_file, baseline, none)
    comparison = _compare(loaded, clips, runner, peers, cache=folder, split=split, music=music, broadcast=broadcast)
    _show(comparison, output, form)


def _warn_of_seen(bundle: Path, clips: list[Clip], *, from_recipe: bool) -> None:
    """Say on stderr how many of the clips the model was trained on."""
    from streamcls.training.evaluation.seen import count_seen

    if from_recipe:
        count = sum(clip.split == "train" for clip in clips)
    else:
        try:
            count = count_seen(bundle, clips)
        except TrainingError as error:
            click.echo(f"not checked which of the clips were in training: {error}", err=True)
            return
    if count:
        click.echo(
            f"warning: {bundle} was trained on {count} of these {len(clips)} clips, so that the figures are better than it is",
            err=True,
        )


def _by_event(
    context: click.Context, bundle: Path, folders: tuple[Path, ...], *,
    maps: tuple[str, ...], data: tuple[str, ...], output: Path | None, form: str, backend: str,
) -> None:  # fmt: skip
    from streamcls.training.events.measure import evaluate_programme
    from streamcls.training.events.report import markdown_of_events, write_events
    from streamcls.training.extra import need
    from streamcls.training.programme.files import read_programme

    for parameter in context.command.params:
        if parameter.name in _OF_CLIPS and context.get_parameter_source(parameter.name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"{parameter.opts[0]} is for labelled clips, not for --programme")
    need("scipy", "--programme")
    backend_named(backend)
    options, found = _policy_options(bundle, maps), [read_programme(folder) for folder in folders]
    clips = recipe_clips(bundle, data)
    with progress_over(found) as progress:
        figures = [
            evaluate_programme(bundle, folder, backend=backend, policy_options=options, clips=clips, progress=progress)
            for folder in folders
        ]
    if output is not None:
        click.echo(f"wrote {', '.join(str(file) for file in write_events(figures, output))}", err=True)
    text = _json({"programmes": figures}) if form == "json" else "\n".join(map(markdown_of_events, figures))
    click.echo(text)


def _policy_options(bundle: Path, maps: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    from streamcls.inference import load_bundle
    from streamcls.training.evaluation.labelmap import load_label_map
    from streamcls.training.evaluation.peers import READY_MAP
    from streamcls.training.events.measure import mapped_options

    info = load_bundle(bundle).info()
    named = _maps(maps)
    strange = sorted(set(named) - {"", info.name})
    if strange:
        raise click.BadParameter(f"with --programme only {info.name} is measured, not {strange[0]}", param_hint="--map")
    setting = named.get(info.name, named.get("", ""))
    if not setting:
        return {}
    return mapped_options(info, setting if setting == READY_MAP else load_label_map(Path(setting)).labels)


def _compare(
    bundle: Bundle, clips: list[Clip], runner: Backend, peers: Peers, *,
    cache: Path, split: str, music: tuple[str, ...], broadcast: int,
) -> Comparison:  # fmt: skip
    from streamcls.training import load_recipe
    from streamcls.training.evaluation.compare import FALSE_POSITIVE_RATE, Extras, compare
    from streamcls.training.evaluation.peers import line_up, music_of

    recipe = bundle.path / "recipe.toml"
    rate = load_recipe(recipe).calibration.false_positive_rate if recipe.is_file() else FALSE_POSITIVE_RATE
    with ExitStack() as stack:
        candidates = line_up(bundle, peers, runner, clips, cache=cache, stack=stack)
        unlabelled = {name: part for value in music for name, part in music_of(value, bundle.labels, clips).items()}
        return compare(candidates, clips, cache, split, Extras(broadcast, unlabelled, false_positive_rate=rate))


def _maps(values: tuple[str, ...]) -> dict[str, str]:
    from streamcls.training.evaluation.peers import READY_MAP

    maps: dict[str, str] = {}
    for value in values:
        name, separator, file = value.rpartition("=")
        if file != READY_MAP and not Path(file).is_file():
            raise click.BadParameter(f"{file!r} is neither a file nor {READY_MAP}", param_hint="--map")
        maps[name if separator else ""] = file
    return maps


def _show(comparison: Comparison, output: Path | None, form: str) -> None:
    from streamcls.training.evaluation.results import write_results
    from streamcls.training.evaluation.tables import comparison_markdown

    if output is not None:
        files, missing = write_results(comparison, output)
        click.echo(f"wrote {', '.join(str(file) for file in files)}", err=True)
        if missing:
            click.echo(missing, err=True)
    click.echo(comparison_markdown(comparison) if form == "markdown" else _json(comparison.figures))


def _json(figures: dict[str, Any]) -> str:
    return json.dumps(figures, indent=1, ensure_ascii=False)
