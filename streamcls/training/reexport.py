"""Another bundle of a network that was trained already: the same weights, quantised in another way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from streamcls.errors import TrainingError
from streamcls.training.corpora import read_corpora
from streamcls.training.features import default_cache
from streamcls.training.fit import Fitted, load_network
from streamcls.training.material import gather
from streamcls.training.networks import RECURRENT
from streamcls.training.recipe import load_recipe
from streamcls.training.record import RunFolder
from streamcls.training.run import TrainOptions, make_bundle

if TYPE_CHECKING:
    from pathlib import Path

    from streamcls.interfaces import Backend
    from streamcls.training.recipe import Recipe

__all__ = ["QuantisationKind", "reexport"]

QuantisationKind = Literal["int8", "dynamic_range", "float32"]


def reexport(run: Path, kind: QuantisationKind, backend: Backend, options: TrainOptions) -> Path:
    """Quantise the float network of a run anew, calibrate and measure the result, and write its bundle.

    Calibration, thresholds, goldens and metrics are those of the new model, by the very code that follows a training; so the corpora of
    the recipe have to be there, while nothing is trained.

    Parameters
    ----------
    run
        Folder of a run, as ``train`` leaves it beside its bundle, or a ``.keras`` file with its ``recipe.toml`` beside it.
    options
        Of which ``output``, ``data`` and ``cache`` count.

    Raises
    ------
    TrainingError
        The run is not whole, its network does not fit its recipe, or a network of this kind cannot be quantised so.
    """
    folder = RunFolder(run if run.is_dir() else run.parent)
    network_file = folder.network if run.is_dir() else run
    recipe_file = folder.path / "recipe.toml"
    for file in (network_file, recipe_file):
        if not file.is_file():
            raise TrainingError(f"{file} is missing: a run keeps its float network and its recipe beside each other")
    recipe = _requantised(load_recipe(recipe_file), kind)
    network = load_network(network_file)
    _check_fit(network, recipe, network_file)
    curves, best_epoch = _curves(folder.path / "curves.json")
    clips = read_corpora(recipe, options.data)
    material = gather(recipe, clips, options.cache or default_cache(), options.data)
    return make_bundle(recipe, backend, options, clips, material, Fitted(network, curves, best_epoch))


def _requantised(recipe: Recipe, kind: QuantisationKind) -> Recipe:
    if kind == "int8" and recipe.network.kind in RECURRENT:
        raise TrainingError(
            f"a network of kind {recipe.network.kind!r} cannot be int8: a recurrent layer in integers takes several times as long; "
            "choose dynamic_range"
        )
    return recipe.model_copy(update={"quantisation": recipe.quantisation.model_copy(update={"kind": kind})})


def _check_fit(network: Any, recipe: Recipe, file: Path) -> None:
    wanted = (recipe.window.n_frames, recipe.spec.n_features, len(recipe.labels))
    found = (*network.input_shape[1:], network.output_shape[-1])
    if found != wanted:
        raise TrainingError(
            f"{file}: the network takes {found[:-1]} and puts out {found[-1]} values, "
            f"its recipe says {wanted[:-1]} and {wanted[-1]} labels"
        )


def _curves(file: Path) -> tuple[dict[str, list[float]], int]:
    """Return the curves of the run and its best epoch; of a network without a record, none and 0."""
    try:
        data = json.loads(file.read_text("utf-8"))
        best_epoch = int(data.pop("best_epoch"))
    except FileNotFoundError:
        return {"valid_loss": []}, 0
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise TrainingError(f"{file}: no record of a run: {error}") from error
    return data, best_epoch
