"""``subscribe`` with a subscriber that cannot take what it gets."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

from busside import LONG_S, event
from daemon import STREAMCLS
from replayside import daemon

if TYPE_CHECKING:
    from pathlib import Path

ALERT = "moderation.alert"


def took(child: subprocess.Popen[str], target: Path, count: int) -> list[int]:
    """Wait until so many events are in the file, end the program, and return their numbers."""
    while not target.exists() or target.read_text(encoding="utf-8").count("\n") < count:
        assert child.poll() is None
    child.terminate()
    assert child.wait(LONG_S) == 0
    return [json.loads(line)["data"]["number"] for line in target.read_text(encoding="utf-8").splitlines()]


def test_an_event_that_finds_a_full_disk_comes_again_after_the_next_start(tmp_path: Path) -> None:
    target = tmp_path / "events.jsonl"
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    environment.pop("STATE_DIRECTORY", None)
    with daemon(tmp_path) as running:
        command = [*STREAMCLS, "subscribe", "jsonl", "--cursor", "archive", "--since-open", "--from", running.endpoint]
        roomy, full = [*command, "--set", f"path={target}"], [*command, "--set", "path=/dev/full"]
        running.bus.publish(event(0, ALERT, id="a", phase="opened"))
        with subprocess.Popen(roomy, env=environment, text=True) as child:
            assert took(child, target, 1) == [0]
        running.bus.publish(event(1, ALERT))
        with subprocess.Popen(full, env=environment, stderr=subprocess.PIPE, text=True) as child:
            assert child.stderr is not None
            assert "/dev/full: cannot be written: No space left on device" in child.stderr.readline()
            child.terminate()
            assert child.wait(LONG_S) == 0
        with subprocess.Popen(roomy, env=environment, text=True) as child:
            assert took(child, target, 2) == [0, 1]
