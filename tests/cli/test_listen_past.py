"""``listen`` and ``subscribe`` with a past: cursors, and what is open."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from busside import LONG_S, event
from daemon import STREAMCLS
from replayside import daemon

if TYPE_CHECKING:
    from pathlib import Path

ALERT = "moderation.alert"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_STATE_HOME": str(folder)}
    environment.pop("STATE_DIRECTORY", None)
    return subprocess.run(
        [*STREAMCLS, *arguments], capture_output=True, text=True, timeout=LONG_S, check=False, env=environment
    )


def numbers(output: str) -> list[int]:
    return [json.loads(line)["data"]["number"] for line in output.splitlines()]


def test_since_open_begins_with_what_is_open(tmp_path: Path) -> None:
    with daemon(tmp_path) as running:
        for number, (identifier, phase) in enumerate([("a", "opened"), ("b", "opened"), ("a", "closed")]):
            running.bus.publish(event(number, ALERT, id=identifier, phase=phase))
        result = run(tmp_path, "listen", "--json", "--since-open", "--count", "1", "--from", running.endpoint)
    assert (result.returncode, numbers(result.stdout), result.stderr) == (0, [1], "")


def test_a_cursor_goes_on_where_it_was(tmp_path: Path) -> None:
    with daemon(tmp_path) as running:
        arguments = ["listen", "--json", "--cursor", "desk", "--from", running.endpoint]
        running.bus.publish(event(0, ALERT, id="a", phase="opened"))
        first = run(tmp_path, *arguments, "--since-open", "--count", "1")
        for number in (1, 2, 3):
            running.bus.publish(event(number, ALERT))
        second = run(tmp_path, *arguments, "--count", "2")
        third = run(tmp_path, *arguments, "--count", "1")
    assert [numbers(result.stdout) for result in (first, second, third)] == [[0], [1, 2], [3]]
    assert [(result.returncode, result.stderr) for result in (first, second, third)] == 3 * [(0, "")]
    assert (tmp_path / "streamcls" / "cursors" / "desk.cursor").is_file()


def test_what_the_journal_no_longer_has_is_said_and_makes_1(tmp_path: Path) -> None:
    (tmp_path / "streamcls" / "cursors").mkdir(parents=True)
    place = {"source": "/streamcls/test", "journal": "0" * 32, "position": 7}
    (tmp_path / "streamcls" / "cursors" / "desk.cursor").write_text(json.dumps(place), encoding="utf-8")
    with daemon(tmp_path) as running:
        running.bus.publish(event(1, ALERT))
        result = run(tmp_path, "listen", "--json", "--cursor", "desk", "--count", "1", "--from", running.endpoint)
    assert (result.returncode, numbers(result.stdout)) == (1, [1])
    assert "an unknown number of events lost: another journal" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cursor", "a/b"], "expected letters, digits"),
        (["--keys", "{folder}/keys.toml"], "keys.toml"),
    ],
)
def test_a_cursor_or_keys_that_cannot_be_used_are_named(tmp_path: Path, arguments: list[str], words: str) -> None:
    (tmp_path / "keys.toml").write_text("", encoding="utf-8")
    (tmp_path / "keys.toml").chmod(0o600)
    result = run(tmp_path, "listen", *(argument.format(folder=tmp_path) for argument in arguments))
    assert result.returncode == 1
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_a_subscriber_on_its_own_goes_on_where_it_was(tmp_path: Path) -> None:
    target = tmp_path / "events.jsonl"
    with daemon(tmp_path) as running:
        arguments = [
            "subscribe", "jsonl", "--set", f"path={target}", "--set", "sync=true", "--cursor", "archive",
            "--since-open", "--kind", ALERT, "--from", running.endpoint,
        ]  # fmt: skip
        environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
        running.bus.publish(event(0, ALERT, id="a", phase="opened"))
        for expected in ([0], [0, 1, 2]):
            with subprocess.Popen([*STREAMCLS, *arguments], env=environment, stderr=subprocess.PIPE) as child:
                while not target.exists() or len(target.read_text(encoding="utf-8").splitlines()) < len(expected):
                    assert child.poll() is None, child.stderr.read() if child.stderr else ""
                child.terminate()
                assert child.wait(LONG_S) == 0
            assert numbers(target.read_text(encoding="utf-8")) == expected
            for number in (1, 2):
                running.bus.publish(event(number, ALERT))
