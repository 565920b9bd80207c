"""A daemon in this process that reloads: what a part of a reload leaves for the next one, and what takes effect at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from fakes import LONG_S

from streamcls.bus import EventClient
from streamcls.config import parse_config
from streamcls.daemon import Daemon
from streamcls.daemon.parts import Parts
from streamcls.daemon.prepare import Prepared, prepare
from streamcls.plugins import discover

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Scene:
    """A daemon with a demo that goes on for ever, and the text that it reads anew."""

    def __init__(self, folder: Path) -> None:
        self.endpoint = f"ipc://{folder}/bus"
        self._folder = folder
        self._registry = discover()
        self.daemon_keys = "heartbeat_s = 3600"
        self.tags = "{}"
        self.daemon = Daemon(self._read(), reread=self._read)
        self._runner = threading.Thread(target=self._run)
        self._runner.start()

    def _run(self) -> None:
        self.daemon.start()
        self.daemon._wait()
        self.daemon.stop()

    def _read(self) -> Prepared:
        text = f"""
[daemon]
state_dir = "{self._folder}/state"
workers = 1
{self.daemon_keys}
[bus]
publish = ["{self.endpoint}"]
replay = ["ipc://{self._folder}/replay"]
[[source]]
name = "a"
type = "demo"
[[stream]]
models = []
policies = []
tags = {self.tags}
"""
        return prepare(parse_config(text, "x"), self._registry)

    def reload(self) -> dict[str, Any]:
        ticket = self.daemon._reloader.request()
        while (found := self.daemon._reloader.look(ticket)) is None:
            self._runner.join(0.02)
            assert self._runner.is_alive()
        return dict(found)

    def stop(self) -> None:
        self.daemon.request_stop()
        self._runner.join(LONG_S)
        assert not self._runner.is_alive()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.stop()


def test_what_a_reload_that_raised_has_not_come_to_is_done_by_the_next(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more_threads(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    assert scene.reload()["state"] == "unchanged"  # so that it has started
    scene.tags = '{ room = "2" }'
    with monkeypatch.context() as once:
        once.setattr(Parts, "start_subscribers", no_more_threads)
        assert "can't start new thread" in scene.reload()["reason"]
    found = scene.reload()
    assert (found["state"], found["settings"], found["streams"]["changed"]) == ("applied", ["stream"], ["a"])
    assert scene.reload()["state"] == "unchanged"


def test_heartbeats_come_at_another_pace_at_once(scene: Scene) -> None:
    assert scene.reload()["state"] == "unchanged"  # so that it has started
    with EventClient(scene.endpoint, kinds=["daemon.heartbeat"]) as client:
        scene.daemon_keys = "heartbeat_s = 0.2"
        assert scene.reload()["settings"] == ["daemon.heartbeat_s"]
        told = [client.receive(LONG_S) for _ in range(2)]
    assert None not in told
