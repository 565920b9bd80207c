"""``evaluate --programme`` and ``calibrate``, as a user would, on forty seconds of programme."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from realbundle import as_trained

from streamcls.cli.main import cli
from streamcls.errors import StreamclsError, TrainingError
from streamcls.inference import load_bundle
from streamcls.training.export import write_files
from streamcls.training.programme.plan import SAMPLE_RATE
from streamcls.training.programme.render import Writer

if TYPE_CHECKING:
    from click.testing import Result

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "moderation-cnn"
SECONDS = 40


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    if isinstance(result.exception, StreamclsError):  # main() says it and ends with its status
        raise result.exception
    return result


@pytest.fixture(autouse=True)
def _no_corpora(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STREAMCLS_DATA", "STREAMCLS_EXTRA_DATA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chords, and a wailing tone from 20.0 to 24.0 s; the programme's split is yet to be filled in."""
    folder = tmp_path_factory.mktemp("audio")
    time = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    signal = sum(0.05 * np.sin(2 * np.pi * hertz * time) for hertz in (220.0, 277.2, 329.6))
    wail = 0.3 * np.sin(2 * np.pi * (900 * time + 100 * np.sin(2 * np.pi * 1.5 * time)))
    signal[20 * SAMPLE_RATE : 24 * SAMPLE_RATE] += wail[: 4 * SAMPLE_RATE]
    writer = Writer(folder)
    writer.write(signal.astype(np.float32))
    writer.close()
    facts = {
        "format": 1,
        "recipe": {"name": "by hand", "version": "1", "labels": ["siren", "music"]},
        "options": {"split": "SPLIT", "seed": 7},
        "sample_rate": SAMPLE_RATE,
        "audio": [{"file": n, "samples": s, "sha256": ""} for n, s in zip(writer.names, writer.lengths, strict=True)],
        "material": {},
        "stretches": [{"start_s": 0.0, "end_s": float(SECONDS), "chain": None}],
        "sources": [{"path": "/there/w.wav", "group": "G"}, {"path": "/there/c.wav", "group": "H"}],
    }
    (folder / "programme.json").write_text(json.dumps(facts))
    (folder / "truth.csv").write_text("onset_s,end_s,label,clip,group,snr_db\n20.0,24.0,siren,w.wav,G,6\n")
    (folder / "bed.csv").write_text(f"start_s,end_s,kind,label,clip\n0.0,{SECONDS}.0,music,jazz,c.wav\n")
    return folder


def programme(audio: Path, folder: Path, split: str) -> Path:
    shutil.copytree(audio, folder)
    facts = folder / "programme.json"
    facts.write_text(facts.read_text().replace("SPLIT", split))
    return folder


@pytest.fixture
def tested(audio: Path, tmp_path: Path) -> Path:
    return programme(audio, tmp_path / "test1", "test")


@pytest.fixture
def validated(audio: Path, tmp_path: Path) -> Path:
    return programme(audio, tmp_path / "valid1", "valid")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return as_trained(SHIPPED, tmp_path / "mine")


def with_recipe(bundle: Path, split: str) -> Path:
    """Give a bundle a recipe whose corpus is one clip of the programme's recording G."""
    table = bundle.with_name("clips.csv")
    table.write_text(f"path,label,group,split\n{bundle / 'x.wav'},siren,G,{split}\n")
    recipe = f"""
name = "mine"
version = "1"
task = "moderation"
activation = "sigmoid"
[labels]
siren = ""
[window]
n_frames = 43
stride_frames = 22
[[corpus]]
name = "clips"
path = "{table}"
split = "given"
"""
    manifest = tomllib.loads((bundle / "bundle.toml").read_text("utf-8"))
    files = {name: (bundle / name).read_bytes() for name in manifest.pop("files")}
    return write_files(bundle, manifest, {**files, "recipe.toml": recipe.encode()})


def test_a_programme_is_measured_by_event_and_without_corpora(tested: Path) -> None:
    result = run("evaluate", SHIPPED, "--programme", tested)
    assert result.exit_code == 0, result.output
    assert "on a programme of 0.01 h (split `test`, seed 7)" in result.stdout
    assert "| siren |" in result.stdout
    assert "| gun_shot |" in result.stdout
    assert "It is not known which of the programme's sources" in result.stdout
    assert "needs the environment variable" in result.stderr


def test_figures_are_printed_and_written_alike(tested: Path, validated: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures"
    result = run(
        "evaluate", SHIPPED, "--programme", tested, "--programme", validated, "--format", "json", "--output", out
    )
    figures = json.loads(result.stdout)
    assert [one["programme"]["folder"] for one in figures["programmes"]] == ["test1", "valid1"]
    assert json.loads((out / "events.json").read_text("utf-8")) == figures
    assert (out / "events.md").read_text("utf-8").count("| siren |") == 2 * 3  # alerts, by what was heard, by level
    assert f"wrote {out / 'events.json'}" in result.stderr


def test_the_sources_in_training_are_counted_where_the_recipe_can_be_read(bundle: Path, tested: Path) -> None:
    result = run("evaluate", with_recipe(bundle, "train"), "--programme", tested)
    assert "Of the 2 sources, 1 were in the model's training split." in result.stdout
    with pytest.raises(TrainingError, match="no corpus 'nothing'"):
        run("evaluate", bundle, "--programme", tested, "--data", "nothing=here")


def test_a_map_says_how_the_policies_take_the_labels(tested: Path, tmp_path: Path) -> None:
    table = tmp_path / "map.toml"
    table.write_text('[labels]\nsiren = "siren"\nspeech = "siren"\n')
    result = run("evaluate", SHIPPED, "--programme", tested, "--map", table)
    assert "| siren |" in result.stdout
    assert "| gun_shot |" not in result.stdout
    result = run("evaluate", SHIPPED, "--programme", tested, "--map", f"other={table}")
    assert (result.exit_code, "only moderation-cnn is measured, not other" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    "option", [("--split", "test"), ("--baseline",), ("--beside", SHIPPED), ("--broadcast", 3), ("--background", "x")]
)
def test_options_of_labelled_clips_are_refused_and_not_ignored(tested: Path, option: tuple[object, ...]) -> None:
    result = run("evaluate", SHIPPED, "--programme", tested, *option)
    assert (result.exit_code, f"{option[0]} is for labelled clips" in result.stderr) == (2, True), result.stderr


def test_thresholds_are_chosen_and_written_in_place(bundle: Path, validated: Path) -> None:
    result = run("calibrate", bundle, "--programme", validated, "--false-alerts", 0)
    assert result.exit_code == 0, result.output
    thresholds = load_bundle(bundle).manifest.calibration.thresholds
    assert f"siren = {thresholds['siren']!r}\n" in result.stdout
    assert "[calibration.thresholds]" in result.stdout
    assert "the recall is unknown: gun_shot, explosion, glass_breaking, crying_baby, screaming" in result.stderr
    assert "## Thresholds" in (bundle / "CARD.md").read_text("utf-8")
    measured = json.loads(run("evaluate", bundle, "--programme", validated, "--format", "json").stdout)
    for label, row in measured["programmes"][0]["alerts"].items():
        assert (row["threshold"], row["false_alerts"]) == (thresholds[label], 0)


def test_a_test_programme_is_refused_unless_asked_for(bundle: Path, tested: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="made of the split 'test'"):
        run("calibrate", bundle, "--programme", tested)
    out = tmp_path / "out"
    result = run("calibrate", bundle, "--programme", tested, "--allow-test", "--output", out)
    assert result.exit_code == 0, result.output
    assert "warning: " in result.stderr
    assert "no test any more" in result.stderr
    assert load_bundle(out).manifest.provenance["thresholds"]["programmes"][0]["split"] == "test"
    assert "thresholds" not in load_bundle(bundle).manifest.provenance


def test_test_recordings_of_the_recipe_are_found_in_a_validation_programme(bundle: Path, validated: Path) -> None:
    with pytest.raises(TrainingError, match="1 recordings of the model's test split"):
        run("calibrate", with_recipe(bundle, "test"), "--programme", validated)


def test_what_would_fail_after_hours_fails_before(bundle: Path, validated: Path) -> None:
    with pytest.raises(TrainingError, match="has the task 'genre'"):
        run("calibrate", SHIPPED.with_name("genre-cnn"), "--programme", validated)
    (bundle / "notes.txt").write_text("mine")
    with pytest.raises(TrainingError, match=r"notes\.txt"):
        run("calibrate", bundle, "--programme", validated)


def test_help_says_that_thresholds_are_never_chosen_on_test() -> None:
    text = " ".join(run("calibrate", "--help").output.split())
    assert "Thresholds must never be chosen on test recordings" in text
