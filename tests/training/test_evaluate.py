"""The evaluation of the shipped bundles on a few real clips, alone and beside YAMNet, without TensorFlow."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from yamnet import write_yamnet_bundle

from streamcls.cli.main import cli
from streamcls.inference import load_bundle
from streamcls.training.corpora import read_plain
from streamcls.training.evaluate import evaluate
from streamcls.training.evaluation.peers import Peers, line_up
from streamcls.training.evaluation.report import markdown
from streamcls.training.record import RunFolder
from streamcls_tflite import LiteRtBackend

MAP = """
combine = "sum"

[labels]
"Classical music" = "classical"
"Opera" = "classical"
"Heavy metal" = "metal"
"Blues" = "blues"
"""


def measured(root, data, tmp_path, name: str, *rows: str):
    manifest = tmp_path / "some.csv"
    manifest.write_text("\n".join(["path,label", *(f"{data}/{row}" for row in rows)]) + "\n")
    bundle = load_bundle(root / "models" / name)
    classifier = LiteRtBackend().load(bundle)
    result = evaluate(bundle, classifier, read_plain(manifest, bundle.labels), tmp_path / "cache", "all")
    classifier.close()
    return result


def test_exclusive_labels_give_windows_clips_and_a_confusion_matrix(root, data, tmp_path):
    rows = [f"gtzan_full30/{genre}/{genre}.0000{i}.ogg,{genre}" for genre in ("classical", "metal") for i in range(2)]
    result = measured(root, data, tmp_path, "genre-cnn", *rows)
    figures = result.figures
    assert (figures["clip"]["count"], figures["window"]["count"]) == (4, 4 * 27)
    assert sum(map(sum, figures["clip"]["confusion"])) == 4
    assert figures["window"]["per_label"]["metal"]["count"] == 2 * 27
    assert figures["window"]["per_label"]["jazz"]["recall"] is None
    assert (
        0
        <= figures["window"]["accuracy_95"][0]
        <= figures["window"]["accuracy"]
        <= figures["window"]["accuracy_95"][1]
        <= 1
    )
    text = markdown(result)
    assert "| clip | 4 | 4 |" in text
    assert "| metal |" in text


def test_independent_labels_give_figures_per_label(root, data, tmp_path):
    siren = sorted((data / "urbansound8k" / "siren").glob("*.ogg"))[:3]
    rows = [f"urbansound8k/siren/{path.name},siren" for path in siren]
    rows += [
        f"gtzan_music_speech/music/{path.name},music"
        for path in sorted((data / "gtzan_music_speech" / "music").glob("*.ogg"))[:2]
    ]
    result = measured(root, data, tmp_path, "moderation-cnn", *rows)
    siren_figures = result.figures["labels"]["siren"]
    assert siren_figures["clips"] == 3
    assert len(siren_figures["recall_95"]) == 2
    assert result.figures["clip_labels"]["siren"]["positives"] == 3
    assert siren_figures["positives"] + siren_figures["negatives"] == result.figures["windows"]
    assert result.figures["labels"]["gun_shot"]["recall"] is None
    assert "| siren |" in markdown(result)


@pytest.fixture
def few(data, tmp_path):
    """Real clips of two genres, as a manifest."""
    rows = [
        f"gtzan_full30/{genre}/{genre}.0000{i}.ogg,{genre},test" for genre in ("classical", "metal") for i in range(2)
    ]
    manifest = tmp_path / "few.csv"
    manifest.write_text("\n".join(["path,label,split", *(f"{data}/{row}" for row in rows)]) + "\n")
    return manifest


def evaluated(root, tmp_path, *arguments: str):
    out, cache = tmp_path / "out", tmp_path / "cache"
    model = str(root / "models" / "genre-cnn")
    done = CliRunner().invoke(cli, ["evaluate", model, "--output", str(out), "--cache", str(cache), *arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads((out / "evaluation.json").read_text())


def test_yamnet_stands_beside_by_the_ready_map(root, data, few, tmp_path):
    yamnet = write_yamnet_bundle(data, tmp_path)
    figures = evaluated(root, tmp_path, "--data", str(few), "--beside", str(yamnet))
    names = ["genre-cnn", "yamnet", "yamnet (daemon)"]
    assert list(figures["candidates"]) == names
    assert {figures["candidates"][name]["clip"]["count"] for name in names} == {4}
    assert figures["candidates"]["yamnet (daemon)"]["clip"]["accuracy"] >= 0.5
    assert any("by max" in remark for remark in figures["remarks"])
    assert list((tmp_path / "cache").glob("outputs-*/*.npz"))


def test_a_map_of_ones_own_and_music_without_labels(root, data, few, tmp_path):
    yamnet = write_yamnet_bundle(data, tmp_path)
    (tmp_path / "map.toml").write_text(MAP)
    music = tmp_path / "music"
    music.mkdir()
    (music / "pieces").mkdir()
    for i in range(3):
        source = data / "gtzan_full30" / "blues" / f"blues.0000{i}.ogg"
        (music / "pieces" / source.name).symlink_to(source)
    figures = evaluated(
        root, tmp_path, "--data", str(few), "--beside", str(yamnet), "--map", f"yamnet={tmp_path / 'map.toml'}",
        "--music", f"blues={music}",
    )  # fmt: skip
    assert list(figures["candidates"]) == ["genre-cnn", "yamnet"]
    assert any("by sum" in remark for remark in figures["remarks"])
    assert figures["agreement"]["blues"]["yamnet"]["all"]["count"] == 3


def test_the_broadcast_chain_changes_posteriors_stage_by_stage(root, few, tmp_path):
    figures = evaluated(root, tmp_path, "--data", str(few), "--broadcast", "2")
    stages = figures["broadcast"]["candidates"]["genre-cnn"]
    assert {"codec", "equalise", "gain", "all of them"} <= set(stages)
    assert stages["gain"]["mean_change"] < stages["all of them"]["mean_change"]
    assert all(0 <= row["same_top"] <= 1 and row["recordings"] == 2 for row in stages.values())


def refused(root, *arguments: str) -> str:
    done = CliRunner().invoke(cli, ["evaluate", str(root / "models" / "genre-cnn"), *arguments])
    assert done.exit_code != 0
    return done.stderr + str(done.exception)


@pytest.mark.parametrize("split", ["train", "all"])
def test_the_baseline_is_not_measured_on_what_it_learnt_from(root, split):
    assert f"--split {split} would measure it on" in refused(root, "--baseline", "--split", split)


def test_music_needs_a_second_model_and_labels_that_exclude_each_other(root, tmp_path):
    assert "name a second one (--beside" in refused(root, "--music", str(tmp_path))
    models = root / "models"
    done = CliRunner().invoke(
        cli,
        ["evaluate", str(models / "moderation-cnn"), "--beside", str(models / "genre-cnn"), "--music", str(tmp_path)],
    )
    assert (done.exit_code, "labels that exclude each other" in done.stderr) == (2, True)


@pytest.fixture
def copied(root, tmp_path):
    """A shipped bundle in a folder of another name."""
    return Path(shutil.copytree(root / "models" / "genre-cnn", tmp_path / "again"))


@pytest.fixture
def noises(tmp_path):
    """A manifest of two files of three seconds."""
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * rng.standard_normal(66_150), 22_050)
    table = tmp_path / "noises.csv"
    table.write_text("path,label,split\na.wav,jazz,train\nb.wav,metal,train\n")
    return table


def test_a_bundle_of_the_same_name_goes_by_its_folders(root, copied, tmp_path):
    bundle = load_bundle(root / "models" / "genre-cnn")
    with ExitStack() as stack:
        peers = Peers([copied, copied])
        line = line_up(bundle, peers, LiteRtBackend(), [], cache=tmp_path / "cache", stack=stack)
        assert [candidate.name for candidate in line] == ["genre-cnn", "again", f"{tmp_path.name}/again"]


def test_an_empty_split_is_said_to_be_empty(root, noises):
    assert "the split 'test' has no clip (there are: train 2)" in refused(root, "--data", str(noises))


def test_who_measures_on_training_clips_is_warned_with_their_number(copied, noises, tmp_path):
    run = RunFolder(copied.with_name("again.run"))
    run.path.mkdir()
    clips = read_plain(noises, ("jazz", "metal"))
    (run.path / "data.csv").write_text(run.data_table(clips[:1]))
    shutil.copy(copied / "recipe.toml", run.path)
    arguments = ["evaluate", str(copied), "--data", str(noises), "--split", "all", "--cache", str(tmp_path / "cache")]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.exception
    assert "was trained on 1 of these 2 clips" in done.stderr
    assert "2 clips" in done.stdout
