"""A subscriber in another language receives the events of a running daemon."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from daemon import DaemonProcess, free_port

SCRIPT = Path(__file__).with_name("foreign_subscriber.mjs")


@pytest.fixture
def node(root: Path) -> str:
    path = shutil.which("node")
    if path is None:
        pytest.skip("node is not installed: apt install nodejs npm")
    if not (root / "node_modules" / "zeromq").is_dir():
        pytest.skip("Node's zeromq package is not here: npm install --no-save zeromq@6")
    return path


def test_node_receives_windows_without_a_hole(tmp_path: Path, root: Path, node: str) -> None:
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    config = tmp_path / "daemon.toml"
    config.write_text(
        f'[bus]\npublish = ["{endpoint}"]\n[[source]]\nname = "demo"\ntype = "demo"\nspeed = 8\n', encoding="utf-8"
    )
    with DaemonProcess(config) as daemon:
        command = [node, str(SCRIPT), endpoint, "genre.window/", "20"]
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=root, check=False)
        except subprocess.TimeoutExpired as error:
            pytest.fail(f"{error.output!r} {error.stderr!r}\n{daemon.text()}")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.text()
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(lines) == 20
    assert {line["topic"] for line in lines} == {"genre.window/demo"}
    assert {line["type"] for line in lines} == {"streamcls.genre.window"}
