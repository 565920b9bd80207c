"""A reload of a real daemon where parts of it do not do as they are told, and what systemd hears of it."""

from __future__ import annotations

import os
import pty
import select
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from daemon import Listener
from reloads import LONG_S, Reloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLUGIN = [sys.executable, str(Path(__file__).parent.parent / "support" / "stubborn_plugin.py")]
STREAM = '[[stream]]\nmodels = ["genre-cnn"]\npolicies = ["genre"]\n'


class Stubborn:
    """Triggers and tables for sources that can be stubborn."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.deaf, self.unmade, self.broken = folder / "deaf", folder / "unmade", folder / "broken"

    def table(self, name: str, seed: int = 0, *, deaf: bool = False) -> str:
        trigger = self.deaf if deaf else self.folder / "never"
        return (
            f'[[source]]\nname = "{name}"\ntype = "stubborn"\nseed = {seed}\n'
            f'deaf = "{trigger}"\nunmade = "{self.unmade}"\nbroken = "{self.broken}"\n'
        )


@pytest.fixture
def stubborn(tmp_path: Path) -> Iterator[Stubborn]:
    made = Stubborn(tmp_path)
    yield made
    for trigger in (made.deaf, made.unmade, made.broken):
        trigger.unlink(missing_ok=True)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Reloaded]]:
    running: list[Reloaded] = []

    def start(text: str, env: dict[str, str] | None = None, daemon: str = "") -> Reloaded:
        running.append(Reloaded(tmp_path, text, env, command=PLUGIN, daemon=daemon))
        running[-1].started()
        return running[-1]

    yield start
    for one in running:
        one.__exit__()


def sources(data: dict[str, Any]) -> dict[str, str]:
    return {name: entry["state"] for name, entry in data["sources"].items()}


@pytest.mark.slow
def test_a_source_that_cannot_be_stopped_is_left_behind_and_replaced_once_it_has_ended(
    run: Callable[..., Reloaded], stubborn: Stubborn
) -> None:
    daemon = run(stubborn.table("good") + stubborn.table("bad", deaf=True) + STREAM)
    daemon.wait_for("genre.window", "bad", 1)
    stubborn.deaf.touch()
    fresh = stubborn.table("good") + stubborn.table("bad", 1, deaf=True) + STREAM
    code, outcome = daemon.ask(fresh)
    assert (code, outcome["state"]) == (0, "applied")
    assert outcome["problems"] == ["source bad: it did not heed the stop within 2 s and is left behind"]
    beat = daemon.beat()
    assert sources(beat) == {"good": "running", "bad": "failed"}
    assert beat["sources"]["bad"]["reason"] == "it did not heed the stop within 2 s"
    assert "failed" in [event["state"] for event in daemon.events("stream.status", "bad")]
    _, outcome = daemon.ask()
    assert outcome["problems"] == ["source bad: one that was left behind still runs, and none is started beside it"]
    stubborn.deaf.unlink()
    deadline = time.monotonic() + LONG_S
    while (outcome := daemon.ask()[1])["problems"]:
        assert time.monotonic() < deadline
    assert outcome["sources"]["added"] == ["bad"]
    daemon.more("genre.window", "bad", 1)
    assert sources(daemon.beat()) == {"good": "running", "bad": "running"}
    assert daemon.ask()[1]["state"] == "unchanged"
    assert daemon.events("daemon.heartbeat", "studio")[-1]["streams"]["good"]["lost_samples"] == 0
    assert daemon.stop() == 0, daemon.text()


def test_on_wedged_may_say_that_the_daemon_is_to_be_started_anew(
    run: Callable[..., Reloaded], stubborn: Stubborn
) -> None:
    daemon = run(stubborn.table("good") + stubborn.table("bad", deaf=True) + STREAM, daemon='on_wedged = "restart"')
    daemon.wait_for("genre.window", "bad", 1)
    stubborn.deaf.touch()
    with daemon.ask_in_the_background(stubborn.table("good") + STREAM):
        assert daemon.wait(LONG_S) == 1, daemon.text()
    assert "source bad cannot be stopped; the daemon ends, to be started anew (on_wedged)" in daemon.text()
    assert daemon.text().rstrip().endswith("stopped")


def test_a_stop_does_not_wait_for_a_reload_that_hangs(run: Callable[..., Reloaded], stubborn: Stubborn) -> None:
    daemon = run(stubborn.table("good") + STREAM)
    daemon.wait_for("genre.window", "good", 1)
    stubborn.unmade.touch()
    with daemon.ask_in_the_background(stubborn.table("good") + stubborn.table("new") + STREAM):
        daemon.wait_for_line("the source is not made now")
        assert daemon.stop() == 0, daemon.text()
    assert "the reload did not stop within 1.0 s and is abandoned" in daemon.text()
    assert daemon.text().rstrip().endswith("stopped")


@pytest.mark.slow
def test_a_reload_that_hangs_is_named_and_everything_else_goes_on(
    run: Callable[..., Reloaded], stubborn: Stubborn
) -> None:
    daemon = run(stubborn.table("good") + STREAM, daemon="stuck_s = 2.0")
    stubborn.unmade.touch()
    with daemon.ask_in_the_background(stubborn.table("good") + stubborn.table("new") + STREAM) as asking:
        daemon.wait_for_line("reload has made no progress")
        assert daemon.beat()["stuck"][0]["name"] == "reload"
        daemon.more("genre.window", "good", 1)
        stubborn.unmade.unlink()
        assert asking.wait(LONG_S) == 0
    daemon.wait_for("genre.window", "new", 1)
    assert daemon.beat()["stuck"] == []
    assert daemon.stop() == 0, daemon.text()


def test_systemd_is_told_when_a_reload_begins_and_ends(
    run: Callable[..., Reloaded], stubborn: Stubborn, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        daemon = run(stubborn.table("good") + STREAM, {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")})
        wait_for_words(ear, "READY=1")
        before = time.monotonic_ns() // 1_000
        assert daemon.ask()[0] == 0
        words = wait_for_words(ear, "RELOADING=1")
        (stamp,) = [word for word in words if word.startswith("MONOTONIC_USEC=")]
        assert before <= int(stamp.partition("=")[2]) <= time.monotonic_ns() // 1_000
        words = wait_for_words(ear, "READY=1")
        assert any(word.startswith("STATUS=streams: ") for word in words)
        assert daemon.ask("nonsense = 1\n")[0] == 1
        wait_for_words(ear, "RELOADING=1")
        wait_for_words(ear, "READY=1")
        assert daemon.stop() == 0, daemon.text()


def wait_for_words(ear: socket.socket, wanted: str) -> list[str]:
    """Wait for a message of the daemon's to systemd that has a line; return its lines."""
    while select.select([ear], [], [], LONG_S)[0]:
        words = ear.recv(65_536).decode().split("\n")
        if wanted in words:
            return words
    raise AssertionError(f"no {wanted}")


def test_the_last_source_may_be_replaced(run: Callable[..., Reloaded], stubborn: Stubborn) -> None:
    daemon = run(stubborn.table("one") + STREAM)
    daemon.wait_for("genre.window", "one", 1)
    assert daemon.applied(stubborn.table("two") + STREAM)["sources"]["removed"] == ["one"]
    daemon.wait_for("genre.window", "two", 1)
    assert sources(daemon.beat()) == {"two": "running"}
    missing = '[[source]]\nname = "file"\ntype = "filetail"\npath = "/nowhere/file.wav"\n'
    daemon.applied(missing + STREAM)
    assert sources(daemon.beat()).keys() == {"file"}
    assert daemon.stop() == 0, daemon.text()


def test_a_source_that_cannot_be_made_is_tried_again_with_the_next_reload(
    run: Callable[..., Reloaded], stubborn: Stubborn
) -> None:
    stubborn.broken.touch()
    good = '[[source]]\nname = "good"\ntype = "demo"\n'
    daemon = run(good + stubborn.table("bad") + STREAM)
    daemon.wait_for("genre.window", "good", 1)
    _, outcome = daemon.ask()
    assert (outcome["state"], outcome["sources"]["added"]) == ("applied", ["bad"])
    assert outcome["problems"] == ["source bad: it cannot be made; see the log"]
    stubborn.broken.unlink()
    assert daemon.ask()[1]["problems"] == []
    daemon.wait_for("genre.window", "bad", 1)
    assert daemon.ask()[1]["state"] == "unchanged"
    assert daemon.stop() == 0, daemon.text()


def test_a_live_source_in_the_place_of_another_gives_its_findings_ids_of_their_own(
    run: Callable[..., Reloaded], stubborn: Stubborn
) -> None:
    hasty = STREAM + "[policy.genre]\nmin_duration_s = 0\nsmooth_s = 0\n"
    daemon = run(stubborn.table("radio-1") + hasty)
    (first,) = daemon.wait_for("genre.segment", "radio-1", 1)
    assert daemon.applied(stubborn.table("radio-1", 1) + hasty)["sources"]["changed"] == ["radio-1"]
    closed, second = daemon.wait_for("genre.segment", "radio-1", 3)[-2:]
    assert (closed["id"], closed["phase"], closed["reason"]) == (first["id"], "closed", "configuration changed")
    assert (second["phase"], second["first_sample"]) == ("opened", first["first_sample"])
    assert second["id"] != first["id"]
    assert daemon.stop() == 0, daemon.text()


def test_a_terminal_that_has_gone_is_a_stop(stubborn: Stubborn, tmp_path: Path) -> None:
    config = tmp_path / "my.toml"
    text = f'[daemon]\nstate_dir = "{tmp_path}/state"\n[bus]\npublish = ["ipc://{tmp_path}/bus"]\n'
    config.write_text(text + stubborn.table("good") + STREAM, encoding="utf-8")
    pid, terminal = pty.fork()
    if not pid:
        os.execv(PLUGIN[0], [*PLUGIN, "run", str(config)])  # noqa: S606 - the interpreter that runs this
    heard = b""
    while b"answers commands" not in heard:
        heard += os.read(terminal, 4096)
    listener = Listener(f"ipc://{tmp_path}/bus")
    listener.start()
    assert listener.wait_for(lambda events: any("heartbeat" in event["type"] for event in events), LONG_S)
    listener.halt()
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
