"""``streamcls models``: what there is, and a model from elsewhere put to use, as a user would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from streamcls.cli.main import cli
from streamcls.errors import BundleError, ConfigError
from streamcls.inference import load_bundle

if TYPE_CHECKING:
    from click.testing import Result

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "genre-cnn"


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    if isinstance(result.exception, (BundleError, ConfigError)):  # main() says it and ends with their status
        raise result.exception
    return result


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text("".join(f"{label}\n" for label in load_bundle(SHIPPED).labels), encoding="utf-8")
    return path


def imported(labels: Path, *arguments: object) -> Result:
    return run("models", "import", SHIPPED / "model.tflite", "--labels", labels, "--input", "mfcc", *arguments)


def test_models_and_models_list_say_the_same(tmp_path: Path) -> None:
    bare, listed = run("models", "--path", tmp_path), run("models", "list", "--path", tmp_path)
    assert (bare.exit_code, listed.exit_code) == (0, 0)
    assert bare.output == listed.output
    assert str(SHIPPED) in listed.output


def test_the_list_has_name_version_task_labels_size_and_place(tmp_path: Path) -> None:
    facts = {fact["name"]: fact for fact in json.loads(run("models", "list", "--json").output)}
    bundle = load_bundle(SHIPPED)
    fact = facts["genre-cnn"]
    assert (fact["version"], fact["task"]) == (bundle.manifest.version, "genre")
    assert fact["labels"] == list(bundle.labels)
    assert (fact["bytes"], fact["path"]) == (len(bundle.model_bytes), str(SHIPPED))


def test_options_of_the_list_before_another_command_are_refused_and_not_ignored() -> None:
    result = run("models", "--json", "list")
    assert result.exit_code == 2
    assert "--path and --json belong behind the command list" in result.output


def test_an_imported_model_is_listed_and_checked_like_any_other(labels: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundles" / "mine"
    result = imported(
        labels, "--spec-file", SHIPPED / "bundle.toml", "--activation", "softmax", "--task", "genre", "--output", folder
    )
    assert result.exit_code == 0, result.output
    assert f"wrote {folder}: 11 labels, hears 3.088 s" in result.output
    assert "nothing was measured" in result.output
    assert "mine" in run("models", "list", "--path", folder.parent).output
    config = tmp_path / "my.toml"
    suggestion = result.output[result.output.index("model.mine.bundle") :]
    config.write_text(suggestion.replace('"mic"', '"demo"'), encoding="utf-8")
    assert "in order (1 sources, 1 models" in run("check", config).output


def test_single_settings_go_before_the_file_of_the_front_end(labels: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="n_mfcc is 64, expected 1 to n_mels"):
        imported(labels, "--spec-file", SHIPPED / "bundle.toml", "--front-end", "n_mels=40", "--output", tmp_path / "x")


def test_the_name_is_the_option_else_the_folder_else_the_file(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    usual = ("--spec-file", SHIPPED / "bundle.toml", "--activation", "softmax")
    for arguments, folder, name in (
        (("--name", "a", "--output", "b"), "b", "a"),
        (("--output", "c"), "c", "c"),
        ((), "models/model", "model"),
    ):
        assert imported(labels, *usual, *arguments).exit_code == 0
        assert load_bundle(tmp_path / folder).name == name


def test_a_backend_that_does_not_exist_is_named(labels: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'magic' is no backend"):
        imported(labels, "--spec-file", SHIPPED / "bundle.toml", "--backend", "magic", "--output", tmp_path / "x")


def test_yamnet_imported_and_configured_by_eight_lines_hears_genres_and_a_siren(data: Path, tmp_path: Path) -> None:
    bundle, reference = tmp_path / "yamnet", data / "reference"
    result = run(
        "models", "import", reference / "yamnet.tflite", "--labels", reference / "yamnet_class_map.csv",
        "--input", "waveform", "--sample-rate", 16_000, "--output", bundle,
    )  # fmt: skip
    lines = result.output.splitlines()[-8:]
    assert lines[0] == f'model.yamnet.bundle = "{bundle}"'
    config = tmp_path / "my.toml"
    config.write_text("\n".join(lines), encoding="utf-8")
    said = run(
        "classify", "--config", config,
        data / "gtzan_full30" / "classical" / "classical.00030.ogg",
        data / "gtzan_full30" / "metal" / "metal.00010.ogg",
        data / "esc50_part" / "siren" / "1-76831-C.ogg",
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    classical, metal, siren = said.output.split(".ogg  (")[1:]
    assert [row.split()[2:4] for row in classical.splitlines()[2:-1]] == [["genre.segment", "classical"]]
    assert [row.split()[2:4] for row in metal.splitlines()[2:-1]] == [["genre.segment", "metal"]]
    assert ["moderation.alert", "siren"] in [row.split()[2:4] for row in siren.splitlines()[2:]]
    assert ["genre.segment", "unsure"] in [row.split()[2:4] for row in siren.splitlines()[2:]]
