"""A real daemon with several times the audio that it can classify, sent over ZeroMQ in real time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
import zmq
from daemon import Listener
from realbundle import real_bundle
from slow_plugin import WINDOW_S

from streamcls.audio.capture import to_s16
from streamcls.audio.decode import read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLUGIN = Path(__file__).parent.parent / "support" / "slow_plugin.py"
LONG_S = 120.0
CHUNK_S = 0.2
BUFFER_S = 10.0
SHORT_BUFFER_S = 1.0
NEWS = [f"news-{number}" for number in range(3)]
OTHERS = [f"other-{number:02}" for number in range(40)]
STRIDE_S = 1.0
"""Nearly that of the bundle. So the worker carries five streams, and those that matter are most of them."""
SLACK_BYTES = 150 << 20


class Senders(threading.Thread):
    """Sends the same programme, in real time, as any number of streams, each from its own index on."""

    def __init__(self, endpoint: str, pcm: bytes, rate: int) -> None:
        super().__init__(daemon=True)
        self._endpoint = endpoint
        self._rate = rate
        self._frames = round(rate * CHUNK_S)
        size = 2 * self._frames
        self._chunks = [pcm[at : at + size] for at in range(0, len(pcm) - size, size)]
        self.streams: list[str] = []
        self._halt = threading.Event()

    def run(self) -> None:
        with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
            socket.linger = 0
            socket.connect(self._endpoint)
            began, number = time.monotonic(), 0
            while not self._halt.wait(max(0.0, began + number * CHUNK_S - time.monotonic())):
                header = {
                    "version": 1,
                    "sample_rate": self._rate,
                    "channels": 1,
                    "encoding": "pcm_s16le",
                    "first_sample": number * self._frames,
                }
                audio = self._chunks[number % len(self._chunks)]
                for stream in list(self.streams):
                    socket.send_multipart([stream.encode(), json.dumps(header).encode(), audio])
                number += 1

    def halt(self) -> None:
        self._halt.set()
        self.join()


class Overloaded:
    """The daemon, its senders, and a subscriber."""

    def __init__(self, folder: Path, senders: Callable[[str], Senders], overload: str, buffer_s: float) -> None:
        config = folder / "my.toml"
        config.write_text(
            f"""
[daemon]
name = "studio"
state_dir = "{folder}/state"
heartbeat_s = 0.2
workers = 1
buffer_s = {buffer_s}
[overload]
calm_s = 3.0
{overload}
[bus]
publish = ["ipc://{folder}/bus"]
replay = ["ipc://{folder}/replay"]
[[source]]
name = "ingest"
type = "zmq"
bind = "ipc://{folder}/ingest"
idle_s = 1000.0
[[stream]]
match = "news-*"
models = ["m"]
policies = ["genre"]
priority = 10
[[stream]]
models = ["m"]
policies = ["genre"]
[model.m]
bundle = "{real_bundle(folder)}"
backend = "slow"
stride_s = {STRIDE_S}
""",
            encoding="utf-8",
        )
        self.log = folder / "log"
        self.listener = Listener(f"ipc://{folder}/bus")
        self.listener.start()
        with self.log.open("wb") as log:
            command = [sys.executable, str(PLUGIN), "run", str(config)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
        self.senders = senders(f"ipc://{folder}/ingest")
        self.senders.start()

    def beats(self) -> list[dict[str, Any]]:
        return [event["data"] for event in self.listener.of("daemon.heartbeat", "studio")]

    def worker(self) -> dict[str, Any]:
        return self.beats()[-1]["workers"]["worker-0"]

    def until(self, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Wait for a heartbeat that fulfils a condition, from now on."""
        before = len(self.beats())

        def found() -> list[dict[str, Any]]:
            return [beat for beat in self.beats()[before:] if condition(beat)]

        assert self.listener.wait_for(lambda _: bool(found()), LONG_S), f"{self.beats()[-1:]}\n{self.text()}"
        return found()[0]

    def said(self, stream: str, **wanted: Any) -> list[dict[str, Any]]:
        """Return what a stream has said of itself, so far as it has these members."""
        data = [event["data"] for event in self.listener.of("stream.status", stream)]
        return [one for one in data if all(one.get(key) == value for key, value in wanted.items())]

    def until_said(self, stream: str, **wanted: Any) -> dict[str, Any]:
        assert self.listener.wait_for(lambda _: bool(self.said(stream, **wanted)), LONG_S), (
            f"{stream} {wanted} {self.said(stream)}\n{self.text()}"
        )
        return self.said(stream, **wanted)[0]

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.senders.halt()
        self.process.terminate()
        try:
            self.process.wait(LONG_S)
        finally:
            self.process.kill()
            self.listener.halt()


@pytest.fixture(scope="module")
def programme(root: Path) -> tuple[bytes, int]:
    """Twenty seconds of the demo programme, one channel."""
    floats, rate = read_file(root / "plugins" / "streamcls_demo" / "programme.opus")
    return to_s16(floats[: 20 * rate, :1].copy()).tobytes(), rate


@pytest.fixture
def overloaded(tmp_path: Path, programme: tuple[bytes, int]) -> Iterator[Callable[..., Overloaded]]:
    made: list[Overloaded] = []

    def start(overload: str = "", buffer_s: float = BUFFER_S) -> Overloaded:
        made.append(Overloaded(tmp_path, lambda endpoint: Senders(endpoint, *programme), overload, buffer_s))
        return made[-1]

    yield start
    for one in made:
        one.__exit__()


def windows(daemon: Overloaded, stream: str) -> list[dict[str, Any]]:
    return [event["data"] for event in daemon.listener.of("genre.window", stream)]


@pytest.mark.slow
def test_what_matters_keeps_every_window_while_all_else_is_given_up_and_comes_back(
    overloaded: Callable[..., Overloaded], programme: tuple[bytes, int]
) -> None:
    rate = programme[1]
    with overloaded() as daemon:
        daemon.senders.streams = list(NEWS)
        assert daemon.listener.wait_for(lambda _: all(len(windows(daemon, name)) >= 3 for name in NEWS), LONG_S)
        before = daemon.until(lambda beat: beat["workers"]["worker-0"]["realtime_factor"])
        assert before["workers"]["worker-0"]["shed"] == 0
        assert before["workers"]["worker-0"]["stride_factor"] == 1

        daemon.senders.streams = NEWS + OTHERS
        shed = daemon.until(lambda beat: beat["workers"]["worker-0"]["shed"])
        assert shed["workers"]["worker-0"]["stride_factor"] == 4
        settled = daemon.until(lambda beat: beat["workers"]["worker-0"]["lag_s"] < 1)
        for name in NEWS:
            daemon.until_said(name, stride_factor=4)
        loads = [beat["workers"]["worker-0"]["realtime_factor"] for beat in daemon.beats()]
        assert min(factor for factor in loads if factor is not None) < 0.8
        room = len(NEWS + OTHERS) * BUFFER_S * rate * 4
        assert max(beat["resident_bytes"] for beat in daemon.beats()) < before["resident_bytes"] + room + SLACK_BYTES
        assert len([line for line in daemon.text().splitlines() if "is overloaded" in line]) >= 2

        daemon.senders.streams = list(NEWS)
        calm = daemon.until(
            lambda beat: beat["workers"]["worker-0"]["shed"] == 0 and beat["workers"]["worker-0"]["stride_factor"] == 1
        )
        given_up = [name for name in OTHERS if daemon.said(name, state="shed")]
        assert given_up
        for name in given_up:
            assert daemon.until_said(name, state="shed")["reason"].startswith("overload: ")
            restored = next(one for one in reversed(daemon.said(name, state="running")) if "shed_s" in one)
            assert restored["shed_s"] > 0
        for name in NEWS:
            daemon.until_said(name, stride_factor=1)

        daemon.senders.streams = [*NEWS, given_up[0]]
        hole = daemon.until_said(given_up[0], state="gap")
        assert hole["end_sample"] - hole["first_sample"] > rate * CHUNK_S
        last = daemon.until(lambda beat: beat["streams"][given_up[0]]["state"] == "running")
        assert settled["uptime_s"] < calm["uptime_s"] < last["uptime_s"]
        for name in NEWS:
            assert not daemon.said(name, state="shed")
            assert not daemon.said(name, state="gap")
            assert last["streams"][name]["dropped_samples"] == 0
            assert last["streams"][name]["lost_samples"] == 0
            assert_whole(windows(daemon, name), rate)
        assert daemon.listener.holes == 0


def assert_whole(found: list[dict[str, Any]], rate: int) -> None:
    """Check that windows follow each other by one, two or four strides, and that they do by one at the beginning and at the end."""
    steps = [(b["first_sample"] - a["first_sample"]) / (STRIDE_S * rate) for a, b in pairwise(found)]
    assert {round(step) for step in steps} <= {1, 2, 3, 4}, steps
    assert 4 in {round(step) for step in steps}
    assert steps[0] == pytest.approx(1, abs=0.05)


@pytest.mark.slow
def test_where_nothing_may_be_given_up_what_does_not_fit_is_lost_as_gaps_and_memory_stays_bounded(
    overloaded: Callable[..., Overloaded], programme: tuple[bytes, int]
) -> None:
    rate = programme[1]
    with overloaded("enabled = false", SHORT_BUFFER_S) as daemon:
        daemon.senders.streams = NEWS + OTHERS
        first = daemon.until(lambda beat: len(beat["streams"]) == len(NEWS + OTHERS))
        beat = daemon.until(
            lambda beat: (
                sum(one["dropped_samples"] > 0 for one in beat["streams"].values()) > 20
                and (beat["workers"]["worker-0"]["realtime_factor"] or 1) < 0.5
                and beat["workers"]["worker-0"]["utilisation"] > 0.9
            )
        )
        facts = beat["workers"]["worker-0"]
        assert (facts["shed"], facts["stride_factor"]) == (0, 1)
        assert all(one["waiting_s"] <= SHORT_BUFFER_S + 0.001 for one in beat["streams"].values())
        room = len(NEWS + OTHERS) * SHORT_BUFFER_S * rate * 4
        assert beat["resident_bytes"] < first["resident_bytes"] + room + SLACK_BYTES
        assert daemon.listener.wait_for(
            lambda _: sum(bool(daemon.said(name, state="gap")) for name in NEWS + OTHERS) > 5, LONG_S
        )
        assert not any(daemon.said(name, state="shed") for name in OTHERS)


def test_a_window_takes_as_long_as_is_meant() -> None:
    assert len(OTHERS) * WINDOW_S / STRIDE_S > 7, "several times what one worker can do"
