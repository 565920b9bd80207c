"""The commands where TensorFlow is missing, or what they are given is wrong."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

BLOCK = "import sys; sys.modules['tensorflow'] = None; from streamcls.cli import main; main(sys.argv[1:])"


def streamcls(*arguments: str, block: bool = False) -> subprocess.CompletedProcess[str]:
    command = ["-c", BLOCK] if block else ["-m", "streamcls"]
    return subprocess.run(
        [sys.executable, *command, *arguments], capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip


def test_training_without_tensorflow_says_what_to_install(tmp_path, recipe_text):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(recipe_text)
    done = streamcls("train", str(recipe), "--output", str(tmp_path / "out"), block=True)
    assert done.returncode == 1
    assert "pip install 'streamcls[train]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_importing_the_training_package_needs_no_tensorflow():
    code = "import sys, streamcls.training; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        ([], 2, "give either a RECIPE or --folder DIR"),
        (["{recipe}", "--folder", "{folder}"], 2, "give either a RECIPE or --folder DIR"),
        (["{recipe}", "--data", "sounds"], 2, "'sounds' is not NAME=PATH"),
        (["{broken}"], 1, "sead: unknown key; did you mean 'seed'?"),
        (["{recipe}", "--resume", "--restart"], 2, "give either --resume or --restart"),
        (["--folder", "{empty}"], 1, "expected at least two, one per label"),
        (["{recipe}", "--backend", "magic"], 78, "'magic' is no backend"),
    ],
)
def test_wrong_usage_is_explained(tmp_path, sounds, recipe_text, *, arguments, code, expected):
    (tmp_path / "empty").mkdir()
    (tmp_path / "recipe.toml").write_text(recipe_text)
    (tmp_path / "broken.toml").write_text(recipe_text.replace("seed", "sead"))
    places = {
        "recipe": tmp_path / "recipe.toml", "broken": tmp_path / "broken.toml", "folder": sounds, "empty": tmp_path / "empty",
    }  # fmt: skip
    done = streamcls("train", *(argument.format(**places) for argument in arguments))
    assert (done.returncode, expected in done.stderr) == (code, True), done.stderr


def test_evaluate_needs_no_tensorflow(root, tmp_path):
    data = os.environ.get("STREAMCLS_DATA")
    if not data:
        pytest.skip("STREAMCLS_DATA is not set: no real audio here")
    manifest = tmp_path / "few.csv"
    rows = [
        f"{data}/gtzan_full30/{genre}/{genre}.0000{i}.ogg,{genre}" for genre in ("blues", "metal") for i in range(2)
    ]
    manifest.write_text("\n".join(["path,label", *rows]) + "\n")
    done = streamcls(
        "evaluate",
        str(root / "models" / "genre-cnn"),
        "--data",
        str(manifest),
        "--split",
        "all",
        "--cache",
        str(tmp_path / "c"),
        block=True,
    )
    assert done.returncode == 0, done.stderr
    assert "4 clips" in done.stdout
    assert "| blues |" in done.stdout


def test_evaluate_without_a_recipe_asks_for_data(tmp_path, root):
    if importlib.util.find_spec("ai_edge_litert") is None:
        pytest.skip("ai-edge-litert is not installed")
    done = streamcls("evaluate", str(root / "models" / "genre-cnn"), "--data", "nothing=here")
    assert done.returncode == 1
    assert "the recipe has no corpus 'nothing'" in done.stderr
