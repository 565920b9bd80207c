"""The document's subscribers, which share no code with ours, have a hole filled."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
import zmq
from busside import event
from replayside import Network, daemon

if TYPE_CHECKING:
    from pathlib import Path


def program(language: str, root: Path, folder: Path) -> list[str]:
    document = (root / "docs" / "wire-format.md").read_text(encoding="utf-8")
    (source,) = re.findall(rf"^```{language}\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
    if language == "python":
        (folder / "subscriber.py").write_text(source, encoding="utf-8")
        return [sys.executable, str(folder / "subscriber.py")]
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: apt install nodejs npm")
    if not (root / "node_modules" / "zeromq").is_dir():
        pytest.skip("Node's zeromq package is not here: npm install --no-save zeromq@6")
    (folder / "node_modules").symlink_to(root / "node_modules")
    (folder / "subscriber.mjs").write_text(source, encoding="utf-8")
    return [node, str(folder / "subscriber.mjs")]


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_what_the_network_swallowed_is_printed_all_the_same(language: str, root: Path, tmp_path: Path) -> None:
    command = program(language, root, tmp_path)
    with zmq.Context() as context, daemon(tmp_path) as running:
        network = Network(context, running.endpoint)
        network.start()
        child = subprocess.Popen(
            [*command, network.endpoint, "moderation.alert/"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        halt = threading.Event()

        def beat() -> None:
            while not halt.wait(0.05):
                running.heartbeat()

        def line() -> str:
            assert child.stdout is not None
            return child.stdout.readline()

        beats = threading.Thread(target=beat)
        beats.start()
        try:
            first = threading.Thread(target=line)
            first.start()
            while first.is_alive():  # it is there once an event has reached it
                running.bus.publish(event(0, "moderation.alert"))
                first.join(0.1)
            running.bus.publish(event(1, "moderation.alert"))
            while '"number": 1' not in (text := line()).replace('":1', '": 1'):
                assert text
            network.gone.set()
            for number in (2, 3):
                running.bus.publish(event(number, "moderation.alert"))
            while network.swallowed < 4:
                halt.wait(0.01)
            network.gone.clear()
            rest = [line().replace('":', '": ').replace(":  ", ": ") for _ in range(2)]
            assert ['"number": 2' in rest[0], '"number": 3' in rest[1]] == [True, True], rest
        finally:
            halt.set()
            beats.join()
            child.kill()
            _, errors = child.communicate()
            network.halt.set()
            network.join()
    assert "moderation" not in errors, "only heartbeats were lost"
