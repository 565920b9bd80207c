"""A run that was broken off goes on as if it had not been, with the real TensorFlow."""

from __future__ import annotations

import csv
import importlib.util
import json

import numpy as np
import pytest

from streamcls.errors import TrainingError
from streamcls.training import TrainOptions, parse_recipe, train
from streamcls.training.checkpoint import Checkpoint
from streamcls.training.features import file_hash
from streamcls.training.fit import load_network
from streamcls_tflite import LiteRtBackend

pytestmark = [
    pytest.mark.train,
    pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed here"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


class PowerCutError(Exception):
    pass


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def short(recipe_text):
    return parse_recipe(
        recipe_text.replace("epochs = 6", "epochs = 3").replace("windows_per_epoch = 512", "windows_per_epoch = 128")
    )


def broken_off(recipe, options: TrainOptions, after: int, monkeypatch) -> None:
    save = Checkpoint.save

    def save_then_fail(self, state, sampler) -> None:
        save(self, state, sampler)
        if state.epochs_done == after:
            raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", save_then_fail)
        with pytest.raises(PowerCutError):
            train(recipe, LiteRtBackend(), options)


def test_a_resumed_run_ends_in_the_very_same_model(short, cache, tmp_path, monkeypatch):
    whole = train(short, LiteRtBackend(), TrainOptions(tmp_path / "whole", cache=cache, quiet=True))
    options = TrainOptions(tmp_path / "cut", cache=cache, quiet=True, resume=True)
    broken_off(short, options, 2, monkeypatch)
    assert not options.output.exists()
    made = train(short, LiteRtBackend(), options)
    assert (made / "model.tflite").read_bytes() == (whole / "model.tflite").read_bytes()
    curves = [
        json.loads((folder / "curves.json").read_text()) for folder in (options.folder.path, tmp_path / "whole.run")
    ]
    assert len(curves[0]["loss"]) == 3
    assert curves[0] == curves[1]  # of the last epoch too, in which dropout draws again
    assert not options.folder.checkpoint.exists()


def test_another_recipe_cannot_go_on_with_it_and_only_restart_discards_it(short, cache, tmp_path, monkeypatch):
    options = TrainOptions(tmp_path / "m", cache=cache, quiet=True, resume=True)
    broken_off(short, options, 1, monkeypatch)
    kept = {name: (options.folder.path / name).read_bytes() for name in ("recipe.toml", "data.csv")}
    with pytest.raises(TrainingError, match="another recipe or other data"):
        train(short.model_copy(update={"seed": 99}), LiteRtBackend(), options)
    assert {name: (options.folder.path / name).read_bytes() for name in kept} == kept
    with pytest.raises(TrainingError, match=r"unfinished run of this recipe.*--restart"):
        train(short, LiteRtBackend(), TrainOptions(tmp_path / "m", cache=cache, quiet=True))
    train(short, LiteRtBackend(), TrainOptions(tmp_path / "m", cache=cache, quiet=True, restart=True))
    assert len(json.loads((options.folder.path / "curves.json").read_text())["loss"]) == 3


def test_the_record_names_recipe_data_versions_and_curves(short, cache, tmp_path, sounds):
    options = TrainOptions(tmp_path / "m", cache=cache, quiet=True, epochs=1)
    made = train(short, LiteRtBackend(), options)
    record = options.folder.path
    assert parse_recipe((record / "recipe.toml").read_text()).training.epochs == 1
    with (record / "data.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    assert {row["sha256"] for row in rows} == {file_hash(path) for path in sounds.rglob("*.wav")}
    facts = json.loads((record / "run.json").read_text())
    assert facts["tensorflow"]
    assert facts["devices"]
    assert (record / "curves.png").read_bytes().startswith(b"\x89PNG")
    network = load_network(record / "float.keras")
    with np.load(made / "golden.npz") as golden:
        exact = np.asarray(network(golden["features"]))
        assert np.abs(exact - golden["logits"]).max() < 1.0


def test_a_network_starts_from_the_weights_of_another(short, cache, tmp_path):
    first = TrainOptions(tmp_path / "first", cache=cache, quiet=True, epochs=1)
    train(short, LiteRtBackend(), first)
    text = short.model_copy(
        update={"network": short.network.model_copy(update={"start": str(first.folder.network)}),
                "training": short.training.model_copy(update={"learning_rate": 1e-9})}
    )  # fmt: skip
    second = TrainOptions(tmp_path / "second", cache=cache, quiet=True, epochs=1)
    train(text, LiteRtBackend(), second)
    before, after = (load_network(o.folder.network).get_layer("pointwise_1").get_weights()[0] for o in (first, second))
    np.testing.assert_allclose(before, after, atol=1e-6)


def test_a_missing_network_to_start_from_is_named(short, cache, tmp_path):
    network = short.network.model_copy(update={"start": str(tmp_path / "none.keras")})
    with pytest.raises(TrainingError, match=r"none\.keras: no float network"):
        train(short.model_copy(update={"network": network}), LiteRtBackend(), TrainOptions(tmp_path / "m", cache=cache))


def test_an_ensemble_takes_part_in_the_targets(short, cache, tmp_path):
    member = TrainOptions(tmp_path / "member", cache=cache, quiet=True, epochs=1)
    train(short, LiteRtBackend(), member)
    table = short.distillation.model_copy(update={"ensemble": (str(member.folder.network),), "ensemble_share": 1.0})
    taught = short.model_copy(update={"distillation": table})
    alone, together = (TrainOptions(tmp_path / name, cache=cache, quiet=True, epochs=1) for name in ("alone", "both"))
    made = [train(recipe, LiteRtBackend(), options) for recipe, options in ((short, alone), (taught, together))]
    assert made[0].joinpath("model.tflite").read_bytes() != made[1].joinpath("model.tflite").read_bytes()
