"""A real daemon process under a service manager's eye: what it is told while all is well, and while something hangs."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from daemon import Listener
from realbundle import real_bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLUGIN = Path(__file__).parent.parent / "support" / "wedging_plugin.py"
LONG_S = 60.0


class Managed:
    """The daemon, the manager's socket, the log, and a subscriber."""

    def __init__(self, folder: Path, daemon: str) -> None:
        self.policy, self.source = folder / "policy-hangs", folder / "source-hangs"
        self.ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ear.bind(str(folder / "notify"))
        config = folder / "my.toml"
        config.write_text(
            f"""
[daemon]
name = "studio"
heartbeat_s = 0.2
state_dir = "{folder}"
workers = 2
{daemon}
[bus]
publish = ["ipc://{folder}/bus"]
[[source]]
name = "radio-7"
type = "noise"
wedged = "{self.source}"
[[stream]]
models = ["m"]
policies = ["wedging"]
[model.m]
bundle = "{real_bundle(folder)}"
[policy.wedging]
wedged = "{self.policy}"
""",
            encoding="utf-8",
        )
        self.listener = Listener(f"ipc://{folder}/bus")
        self.listener.start()
        self.process = subprocess.Popen(
            [sys.executable, str(PLUGIN), "run", str(config)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "3000000"},
        )
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()

    def wait_for_line(self, words: str) -> str:
        with self._changed:
            found = self._changed.wait_for(lambda: next((one for one in self.lines if words in one), ""), LONG_S)
        assert found, self.lines
        return found

    def wait_for_word(self, wanted: str) -> None:
        """Wait until the manager hears something."""
        while True:
            assert select.select([self.ear], [], [], LONG_S)[0], f"no {wanted}: {self.lines}"
            if wanted in self.ear.recv(65_536).decode().split("\n"):
                return

    def heard(self) -> list[str]:
        found = []
        while select.select([self.ear], [], [], 0)[0]:
            found += self.ear.recv(65_536).decode().split("\n")
        return found

    def wait_for_beats(self, condition: Callable[[dict[str, Any]], bool], count: int) -> None:
        """Wait for further heartbeats of a kind."""
        before = len(self.beats())
        assert self.listener.wait_for(
            lambda _: sum(condition(beat["data"]) for beat in self.beats()[before:]) >= count, LONG_S
        ), self.lines

    def beats(self) -> list[dict[str, Any]]:
        return [event for event in list(self.listener.events) if event["type"] == "streamcls.daemon.heartbeat"]

    def wait(self) -> int:
        code = self.process.wait(LONG_S)
        self._reader.join(LONG_S)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for trigger in (self.policy, self.source):
            trigger.unlink(missing_ok=True)
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.listener.halt()
        self.ear.close()


@pytest.fixture
def managed(tmp_path: Path) -> Iterator[Callable[..., Managed]]:
    made: list[Managed] = []

    def start(daemon: str = "stuck_s = 2.0") -> Managed:
        made.append(Managed(tmp_path, daemon))
        return made[-1]

    yield start
    for one in made:
        one.__exit__()


def test_a_policy_that_never_returns_is_named_and_starves_the_watchdog_until_it_goes_on(
    managed: Callable[..., Managed],
) -> None:
    daemon = managed()
    daemon.wait_for_word("READY=1")
    daemon.wait_for_beats(lambda data: data["streams"]["radio-7"]["state"] == "running", 1)
    daemon.wait_for_word("WATCHDOG=1")
    daemon.policy.touch()
    line = daemon.wait_for_line("has made no progress")
    assert "CRITICAL" in line
    assert "worker-" in line
    assert "with stream radio-7, in WedgingPolicy.update (wedging_plugin.py:" in line
    daemon.heard()
    daemon.wait_for_beats(lambda data: bool(data["stuck"]), 5)
    (stuck,) = daemon.beats()[-1]["data"]["stuck"]
    assert (stuck["doing"], stuck["call"].split()[0]) == ("stream radio-7", "WedgingPolicy.update")
    assert "WATCHDOG=1" not in daemon.heard()
    assert sum("has made no progress" in one for one in daemon.lines) == 1
    daemon.policy.unlink()
    daemon.wait_for_line("makes progress again")
    daemon.wait_for_word("WATCHDOG=1")
    daemon.process.send_signal(signal.SIGTERM)
    daemon.wait_for_word("STOPPING=1")
    assert daemon.wait() == 0, daemon.lines


def test_what_systemd_does_then_leaves_the_stacks_in_the_log(managed: Callable[..., Managed]) -> None:
    daemon = managed("stuck_s = 60.0")
    daemon.wait_for_word("READY=1")
    daemon.policy.touch()
    daemon.process.send_signal(signal.SIGABRT)
    assert daemon.wait() == -signal.SIGABRT
    assert any("Aborted" in line for line in daemon.lines), daemon.lines
    assert any("streamcls/runtime/workers.py" in line for line in daemon.lines), daemon.lines


def test_sigusr1_writes_every_threads_stack_to_the_log_and_nothing_else_happens(
    managed: Callable[..., Managed],
) -> None:
    daemon = managed('log_format = "json"')
    daemon.wait_for_word("READY=1")
    daemon.process.send_signal(signal.SIGUSR1)
    message = json.loads(daemon.wait_for_line("as was asked for"))["message"]
    for name in ("MainThread", "worker-0", "worker-1", "bus", "replay", "source-radio-7"):
        assert f'thread "{name}"' in message
    daemon.wait_for_beats(lambda data: not data["stuck"], 2)
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.wait() == 0, daemon.lines


def test_a_live_source_that_falls_silent_is_stalled_and_well_again_with_its_audio(
    managed: Callable[..., Managed],
) -> None:
    daemon = managed("stuck_s = 2.0\nstall_s = 1.0")
    daemon.wait_for_beats(lambda data: data["streams"].get("radio-7", {}).get("state") == "running", 1)
    daemon.source.touch()
    daemon.wait_for_beats(lambda data: data["streams"]["radio-7"]["state"] == "stalled", 12)
    assert daemon.beats()[-1]["data"]["stuck"] == [], "a source that waits in its own code is not the daemon's fault"
    daemon.source.unlink()
    daemon.wait_for_beats(lambda data: data["streams"]["radio-7"]["state"] == "running", 1)
    states = [event["data"] for event in daemon.listener.of("stream.status", "radio-7")]
    reasons = [(state["state"], state["reason"]) for state in states if state["state"] != "running"][:1]
    assert reasons == [("stalled", "nothing has come from source radio-7 for 1 s")]
    assert ("running", "audio comes again") in [(state["state"], state["reason"]) for state in states]


def test_a_source_that_does_not_heed_the_stop_is_left_behind_and_named(managed: Callable[..., Managed]) -> None:
    daemon = managed()
    daemon.wait_for_beats(lambda data: data["streams"].get("radio-7", {}).get("state") == "running", 1)
    daemon.source.touch()
    daemon.wait_for_line("the source hangs now")
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.wait() == 0, daemon.lines
    assert any("source-radio-7 did not stop within" in line for line in daemon.lines), daemon.lines
    last = daemon.beats()[-1]["data"]["sources"]["radio-7"]
    assert (last["state"], last["reason"]) == ("failed", "it did not heed the stop within 0.6 s")
