"""The composition root as a real process: order, exit codes, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from daemon import free_port
from realbundle import real_bundle

from streamcls.bus import EventClient
from streamcls.config import parse_config
from streamcls.daemon import Daemon, prepare
from streamcls.errors import ConfigError
from streamcls.plugins import discover
from streamcls.runtime.workers import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

PLUGIN = Path(__file__).parent.parent / "support" / "strange_plugin.py"
LONG_S = 30.0
NOTHING = "[[stream]]\nmodels = []\npolicies = []\n"
ONE = 'models = ["m"]\npolicies = ["genre"]'


class Running:
    """A daemon with the strange plugin in a child process."""

    def __init__(self, folder: Path, sources: dict[str, str], extra: str = "") -> None:
        self.endpoint = f"ipc://{folder}/bus"
        self.events = folder / "events.jsonl"
        bundle = real_bundle(folder)
        config = folder / "my.toml"
        config.write_text(
            f'[bus]\npublish = ["{self.endpoint}"]\n[model.m]\nbundle = "{bundle}"\n[[stream]]\nmodels = ["m"]\npolicies = ["genre"]\n'
            f'[policy.genre]\nmodels = ["m"]\nmin_duration_s = 0\n[[subscriber]]\ntype = "jsonl"\npath = "{self.events}"\n{extra}\n'
            + "".join(
                f'[[source]]\nname = "{name}"\ntype = "strange"\ndoes = "{does}"\n' for name, does in sources.items()
            ),
            encoding="utf-8",
        )
        self.process = subprocess.Popen(
            [sys.executable, str(PLUGIN), "run", str(config)],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )

    def wait(self) -> tuple[int, str]:
        _, errors = self.process.communicate(timeout=LONG_S)
        return self.process.returncode, errors

    def written(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.events.read_text(encoding="utf-8").splitlines()]

    def wait_for_line(self, words: str) -> None:
        assert self.process.stderr is not None
        while words not in (line := self.process.stderr.readline()):
            assert line, "it ended without a word"

    def wait_for(self, kind: str) -> None:
        with EventClient(self.endpoint, kinds=[kind]) as client:
            assert client.receive(LONG_S) is not None


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Any]:
    made: list[Running] = []

    def start(sources: dict[str, str], extra: str = "") -> Running:
        made.append(Running(tmp_path, sources, extra))
        return made[-1]

    yield start
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


def test_when_every_source_has_ended_it_stops_with_0_and_all_is_classified(running: Any) -> None:
    daemon = running({"a": "end", "b": "end"})
    code, errors = daemon.wait()
    assert code == 0, errors
    events = daemon.written()
    for stream in ("a", "b"):
        states = [
            (e["data"]["state"], e["data"]["reason"])
            for e in events
            if e["type"] == "streamcls.stream.status" and e["subject"] == stream
        ]
        assert [state for state, _ in states] == ["running", "ended"]
        assert states[-1][1] == "end of stream"
        last = [e for e in events if e["type"] == "streamcls.genre.window" and e["subject"] == stream][-1]
        assert last["data"]["end_sample"] > 18 * 22_050, "down to the last window"
    assert events[-1]["type"] == "streamcls.daemon.heartbeat"


@pytest.mark.parametrize("does", ["fail", "refuse"])
def test_when_every_source_fails_it_stops_with_1_and_says_which(running: Any, does: str) -> None:
    daemon = running({"a": does, "b": does})
    code, errors = daemon.wait()
    assert code == 1
    assert "no source is left" in errors
    assert {e["subject"] for e in daemon.written() if e["data"].get("state") == "failed"} == {"a", "b"}


def test_one_source_that_fails_does_not_stop_the_other_but_is_told_in_the_end(running: Any) -> None:
    daemon = running({"a": "fail", "b": "end"})
    code, errors = daemon.wait()
    assert code == 1
    assert "no source is left: a failed" in errors
    assert any(e["type"] == "streamcls.genre.window" for e in daemon.written())


def test_an_endpoint_that_is_taken_ends_it_with_1_and_advice(running: Any, tmp_path: Path) -> None:
    import zmq

    with zmq.Context() as context, context.socket(zmq.XPUB) as other:
        other.bind(f"ipc://{tmp_path}/bus")
        code, errors = running({"a": "play"}).wait()
        other.linger = 0
    assert code == 1
    assert f"ipc://{tmp_path}/bus cannot be bound: another process has it" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_closes_what_is_open_with_the_reason_shutdown_and_ends_it_with_0(running: Any, number: int) -> None:
    daemon = running({"a": "play", "b": "retry"})
    daemon.wait_for("genre.segment")
    daemon.process.send_signal(number)
    code, errors = daemon.wait()
    assert code == 0, errors
    events = daemon.written()
    closed = [e for e in events if e["data"].get("phase") == "closed"]
    assert [e["data"]["reason"] for e in closed][-1:] == ["shutdown"]
    opened = {e["data"]["id"] for e in events if e["data"].get("phase") == "opened"}
    assert {e["data"]["id"] for e in closed} == opened, "nothing stays open"
    assert [e["data"]["reason"] for e in events if e["data"].get("state") == "ended"][-1:] == ["shutdown"]
    assert events[-1]["type"] == "streamcls.daemon.heartbeat"


def test_a_source_that_hangs_is_abandoned_by_name(running: Any) -> None:
    daemon = running({"a": "hang"})
    daemon.wait_for_line("it hangs now")
    daemon.process.terminate()
    code, errors = daemon.wait()
    assert code == 0
    assert "source-a did not stop within 0.6 s and is abandoned" in errors
    assert any(e["data"].get("reason") == "shutdown" for e in daemon.written())


def test_a_second_signal_ends_it_at_once_though_a_source_hangs(running: Any) -> None:
    daemon = running({"a": "hang"}, "[daemon]\ndrain_s = 60\n")
    daemon.wait_for_line("it hangs now")
    os.kill(daemon.process.pid, signal.SIGINT)
    daemon.wait_for_line("once more to stop at once")
    while daemon.process.poll() is None:
        os.kill(daemon.process.pid, signal.SIGINT)
        time.sleep(0.05)
    code, errors = daemon.wait()
    assert code == 130
    assert "stopped" not in errors


def test_signals_in_one_go_are_one_request(running: Any) -> None:
    """As ``timeout`` sends them: to the process, and to its group."""
    daemon = running({"a": "hang"})
    daemon.wait_for_line("it hangs now")
    os.kill(daemon.process.pid, signal.SIGINT)
    os.kill(daemon.process.pid, signal.SIGTERM)
    code, errors = daemon.wait()
    assert code == 0
    assert "stopped" in errors


def test_signal_handlers_are_given_back(tmp_path: Path) -> None:
    """In this process: a run that ends by itself leaves no handler behind."""
    text = f'[bus]\npublish = ["ipc://{tmp_path}/bus"]\n[[source]]\nname = "a"\ntype = "demo"\nloop = false\nspeed = 0\n{NOTHING}'
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert Daemon(prepare(parse_config(text, "x"), discover())).run() == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_it_starts_from_the_end_of_the_data_and_stops_from_its_beginning(tmp_path: Path) -> None:
    text = (
        f'[bus]\npublish = ["tcp://127.0.0.1:{free_port()}"]\n[daemon]\nworkers = 2\n[[source]]\nname = "a"\ntype = "demo"\n'
        f'[[stream]]\nmodels = []\npolicies = []\n[[subscriber]]\ntype = "jsonl"\npath = "{tmp_path}/e"\n'
    )
    daemon = Daemon(prepare(parse_config(text, "x"), discover()))
    runner = threading.Thread(target=lambda: (daemon.start(), daemon._wait(), daemon.stop()))
    runner.start()
    with EventClient(
        f"tcp://127.0.0.1:{daemon.bus._requested[0].rpartition(':')[2]}", kinds=["stream.status"]
    ) as client:
        while not (tmp_path / "e").exists():
            client.receive(0.1)
    assert daemon.bus.alive
    assert all(worker.is_alive() for worker in daemon.workers)
    daemon.request_stop()
    runner.join(LONG_S)
    threads = [*daemon.sources, *daemon.workers, *daemon.subscribers]
    assert not any(thread.is_alive() for thread in threads)
    assert not daemon.bus.alive
    events = [json.loads(line) for line in (tmp_path / "e").read_text(encoding="utf-8").splitlines()]
    assert events[0]["sequence"] == "1", "the subscriber was there before the first event"
    assert events[-1]["type"] == "streamcls.daemon.heartbeat", "and after the last"
    assert daemon.exit_code == 0


def test_a_worker_that_dies_ends_the_daemon_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f'[bus]\npublish = ["ipc://{tmp_path}/bus"]\n[daemon]\nworkers = 1\n[[source]]\nname = "a"\ntype = "demo"\n{NOTHING}'
    daemon = Daemon(prepare(parse_config(text, "x"), discover()))
    monkeypatch.setattr(Worker, "_next", lambda self: (_ for _ in ()).throw(MemoryError("no more")))
    previous, threading.excepthook = threading.excepthook, lambda *_: None
    try:
        assert daemon.run() == 1
    finally:
        threading.excepthook = previous
    assert isinstance(daemon.workers[0].failure, MemoryError)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ('models = ["other"]', "policy.genre.models: no stream uses a model 'other'"),
        ('models = ["m"]\nmap = { nothing = "jazz" }', "policy.genre: "),
    ],
)
def test_a_policy_that_does_not_fit_its_model_is_found_before_anything_is_opened(
    tmp_path: Path, policy: str, expected: str
) -> None:
    bundle = real_bundle(tmp_path)
    text = f'[[source]]\nname = "a"\ntype = "demo"\n[model.m]\nbundle = "{bundle}"\n[[stream]]\n{ONE}\n[policy.genre]\n{policy}\n'
    with pytest.raises(ConfigError) as caught:
        prepare(parse_config(text, "x"), discover(), "my.toml")
    assert expected in str(caught.value)


def test_a_damaged_bundle_is_a_problem_of_its_model(tmp_path: Path) -> None:
    bundle = tmp_path / "broken"
    bundle.mkdir()
    (bundle / "bundle.toml").write_text("format = 99\n")
    text = f'[[source]]\nname = "a"\ntype = "demo"\n[model.m]\nbundle = "{bundle}"\n[[stream]]\nmodels = ["m"]\npolicies = []\n'
    with pytest.raises(ConfigError, match=r"model.m: .*format is 99"):
        prepare(parse_config(text, "x"), discover(), "my.toml")
