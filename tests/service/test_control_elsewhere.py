"""Where the control socket is when the state folder cannot be written."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streamcls.service.asking import ask_any
from streamcls.service.control import ControlServer
from streamcls.service.control_path import ControlError, control_path, places, tidy

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Not pytest's folder: the path of a socket may have 107 bytes."""
    folder = Path(tempfile.mkdtemp())
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    yield folder
    shutil.rmtree(folder)


def _unwritable(folder: Path) -> Path:
    """Return a state folder that cannot be made, also by root."""
    (folder / "file").touch()
    return folder / "file" / "state"


def test_a_daemon_on_a_disk_that_cannot_be_written_is_found_and_leaves_nothing_behind(
    tmp_path: Path, runtime: Path
) -> None:
    state = _unwritable(tmp_path)
    path = control_path(state)
    assert path.is_relative_to(runtime)
    server = ControlServer(path, {"ping": lambda _: {"here": True}})
    server.start()
    try:
        assert ask_any(places(state, only=True), "ping") == {"here": True}
    finally:
        assert server.close()
    tidy(state, path)
    assert list(runtime.iterdir()) == []


def test_a_folder_that_others_may_enter_is_neither_asked_nor_used(tmp_path: Path, runtime: Path) -> None:
    state = _unwritable(tmp_path)
    path = control_path(state)
    assert path in places(state, only=True)
    path.parent.chmod(0o755)
    assert path not in places(state, only=True)
    with pytest.raises(ControlError, match="somebody else's or others may enter it"):
        control_path(state)
