"""What becomes of an unfinished run when the next one begins, without TensorFlow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from streamcls.errors import TrainingError
from streamcls.training.checkpoint import Checkpoint
from streamcls.training.corpora import read_plain
from streamcls.training.record import RunFolder, identity_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """The folder of a run of identity ``this``."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "state.json").write_text(json.dumps({"identity": "this"}))
    return folder


def test_the_same_run_is_not_thrown_away_unasked(unfinished: Path) -> None:
    with pytest.raises(TrainingError, match=r"unfinished run of this recipe and data.*--resume.*--restart"):
        Checkpoint(unfinished, "this").prepare(resume=False, restart=False)
    assert (unfinished / "state.json").is_file()


def test_it_stays_where_it_is_to_be_resumed(unfinished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Checkpoint(unfinished, "this").prepare(resume=True, restart=False)
    assert (unfinished / "state.json").is_file()
    assert not capsys.readouterr().err


@pytest.mark.parametrize("identity", ["this", "that"])
def test_it_goes_where_a_new_beginning_is_asked_for(unfinished: Path, identity: str) -> None:
    Checkpoint(unfinished, identity).prepare(resume=False, restart=True)
    assert not unfinished.exists()


def test_that_of_another_recipe_goes_and_this_is_said(unfinished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Checkpoint(unfinished, "that").prepare(resume=False, restart=False)
    assert not unfinished.exists()
    assert "of another recipe or other data is discarded" in capsys.readouterr().err


def test_that_of_another_recipe_cannot_be_resumed(unfinished: Path) -> None:
    with pytest.raises(TrainingError, match=r"another recipe or other data.*--restart"):
        Checkpoint(unfinished, "that").prepare(resume=True, restart=False)
    assert (unfinished / "state.json").is_file()


def test_a_damaged_one_cannot_be_resumed(unfinished: Path) -> None:
    (unfinished / "state.json").write_text("{")
    with pytest.raises(TrainingError, match=r"cannot be read.*--restart"):
        Checkpoint(unfinished, "this").prepare(resume=True, restart=False)


def test_nothing_to_resume_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Checkpoint(tmp_path / "checkpoint", "this").prepare(resume=True, restart=False)
    assert "no unfinished run to go on with" in capsys.readouterr().err


def test_what_a_run_is_known_by_is_found_without_writing(sounds: Path, tmp_path: Path) -> None:
    clips = read_plain(sounds, ("tone", "noise"))
    folder = RunFolder(tmp_path / "m.run")
    tables = [folder.data_table(part) for part in (clips, clips, clips[1:])]
    first, again, fewer = (identity_of("recipe", table) for table in tables)
    assert first == again
    assert len({first, fewer, identity_of("other", tables[0])}) == 3
    assert not folder.path.exists()
