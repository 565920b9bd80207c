from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from streamcls.bus import Cursor
from streamcls.errors import BusError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def cursor(tmp_path: Path) -> Cursor:
    made = Cursor(tmp_path, "archive")
    made.open()
    return made


def reread(cursor: Cursor) -> Cursor:
    cursor.close()
    again = Cursor(cursor.path.parent, cursor.name)
    again.open()
    again.close()
    return again


def test_a_new_one_stands_nowhere(cursor: Cursor) -> None:
    cursor.handled(7, 7)
    assert (cursor.position, cursor.is_due) == (None, False)
    assert reread(cursor).position is None
    assert not cursor.path.exists()


def test_what_was_handled_is_there_again(cursor: Cursor) -> None:
    cursor.begin("/streamcls/x", "j", 10)
    cursor.handled(11, 11)
    cursor.handled(15, 11)
    cursor.handled(13, 11)
    again = reread(cursor)
    assert (again.source, again.journal, again.position, again.beyond) == ("/streamcls/x", "j", 11, {13, 15})
    assert [path.name for path in cursor.path.parent.iterdir()] != []
    assert not list(cursor.path.parent.glob("*.new"))


def test_what_is_complete_swallows_what_was_beyond(cursor: Cursor) -> None:
    cursor.begin("s", "j", 10)
    for position in (12, 14, 20):
        cursor.handled(position, 10)
    cursor.handled(None, 15)
    assert (cursor.position, cursor.beyond) == (15, {20})
    cursor.handled(None, 9)
    assert cursor.position == 15, "it never goes back"


def test_it_is_due_after_some_events_or_some_time(tmp_path: Path) -> None:
    now = 0.0
    cursor = Cursor(tmp_path, "c", every_s=2.0, every_events=3, clock=lambda: now)
    cursor.open()
    cursor.begin("s", "j", 0)
    assert not cursor.is_due
    now = 2.0
    assert cursor.is_due
    cursor.save()
    assert not cursor.is_due
    for position in (1, 2, 3):
        cursor.handled(position, position)
    assert cursor.is_due
    cursor.close()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"source": "s", "journal": "j"}',
        b'{"source": "s", "journal": "j", "position": -1}',
        b'{"source": "s", "journal": "j", "position": true}',
        b'{"source": "s", "journal": "j", "position": "7"}',
        b'{"source": 1, "journal": "j", "position": 7}',
        b'{"source": "s", "journal": "j", "position": 7, "beyond": 3}',
        b'{"source": "s", "journal": "j", "position": 7, "beyond": [null]}',
        b" " * (5 << 20),
    ],
)
def test_a_damaged_one_is_set_aside_said_and_begun_anew(
    tmp_path: Path, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "c.cursor").write_bytes(text)
    cursor = Cursor(tmp_path, "c")
    cursor.open()
    assert cursor.position is None
    assert (tmp_path / "c.damaged").read_bytes() == text
    assert "is damaged" in caplog.text
    cursor.begin("s", "j", 3)
    cursor.close()
    assert json.loads((tmp_path / "c.cursor").read_text()) == {"source": "s", "journal": "j", "position": 3}


def test_members_that_it_does_not_know_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "c.cursor").write_text('{"source": "s", "journal": "j", "position": 7, "later": {}}')
    cursor = Cursor(tmp_path, "c")
    cursor.open()
    assert cursor.position == 7
    cursor.close()


def test_one_at_a_time_may_use_it_also_of_two_processes(cursor: Cursor) -> None:
    with pytest.raises(BusError, match=r"cursor archive in .* is in use by another subscriber; stop it or choose"):
        Cursor(cursor.path.parent, "archive").open()
    program = (
        "import sys, pathlib\nfrom streamcls.bus import Cursor\nCursor(pathlib.Path(sys.argv[1]), 'archive').open()\n"
    )
    command = [sys.executable, "-c", program, str(cursor.path.parent)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "is in use by another subscriber" in refused.stderr
    cursor.close()
    assert subprocess.run(command, check=False).returncode == 0


def test_a_file_under_way_when_the_power_failed_changes_nothing(cursor: Cursor) -> None:
    cursor.begin("s", "j", 10)
    cursor.save()
    cursor.path.with_suffix(".new").write_text('{"sour')
    assert reread(cursor).position == 10


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a b", "x" * 129, "../up", "new\n"])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BusError, match="expected letters, digits"):
        Cursor(tmp_path, name)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BusError, match="choose a folder that can be written"):
        Cursor(tmp_path / "file" / "cursors", "c").open()
