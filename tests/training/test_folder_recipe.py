"""A folder of sounds becomes a recipe, or it is said what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamcls.errors import TrainingError
from streamcls.training.folder import recipe_for_folder

if TYPE_CHECKING:
    from pathlib import Path


def folder_of(place: Path, *files: str) -> Path:
    for file in files:
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        (place / file).touch()
    return place


def test_a_label_with_other_letters_is_named_with_what_is_allowed(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "mine", "T\u00fcr/a.wav", "bell/b.wav")
    with pytest.raises(
        TrainingError, match=r"T\u00fcr: a folder's name is its label.*letter or digit of ASCII"
    ) as caught:
        recipe_for_folder(folder)
    assert "pydantic" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_no_model_may_have_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "mine", "door/a.wav", "bell/b.wav")
    with pytest.raises(TrainingError, match=r"'My Model' cannot be a model's name.*--name"):
        recipe_for_folder(folder, "My Model")


def test_files_that_are_passed_over_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("door/a.wav", "door/deep/b.FLAC", "bell/b.wav")
    recipe_for_folder(folder_of(tmp_path / "clean", *names, "bell/.DS_Store", "notes/read.me"))
    assert capsys.readouterr().err == ""
    recipe_for_folder(folder_of(tmp_path / "mixed", *names, "bell/c.webm", "door/deep/d.mp4"))
    assert f"{tmp_path / 'mixed'}: 2 files passed over" in capsys.readouterr().err
