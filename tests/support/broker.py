"""A real mosquitto on a free port, and a subscriber to it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin")
UP_S = 10.0


class Broker:
    """``mosquitto`` with a configuration of its own; without persistence, so that a restart forgets all that was retained."""

    def __init__(self, folder: Path, *lines: str) -> None:
        if MOSQUITTO is None:
            pytest.skip("mosquitto is not installed: run scripts/install-system-packages test")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = folder / "mosquitto.log"
        self._config = folder / "mosquitto.conf"
        rules = lines or ("allow_anonymous true",)
        text = [f"listener {self.port} 127.0.0.1", "persistence false", "log_dest stderr", "log_type all", *rules]
        if os.geteuid() == 0:
            text.append("user root")
        self._config.write_text("\n".join(text) + "\n", encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([str(MOSQUITTO), "-c", str(self._config)], stdout=log, stderr=log)
        deadline = time.monotonic() + UP_S
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.5).close()
            except OSError:
                assert self._process.poll() is None, self.log.read_text(encoding="utf-8")
                threading.Event().wait(0.02)
            else:
                return
        raise AssertionError(self.log.read_text(encoding="utf-8"))

    def stop(self) -> None:
        """Stop it at once, as in a crash."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: int) -> None:
        """Send it a signal, SIGSTOP for instance."""
        assert self._process is not None
        self._process.send_signal(number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Ear:
    """A subscriber of its own: what arrived, in order."""

    def __init__(self, broker: Broker, *topics: str) -> None:
        self.heard: list[tuple[str, bytes, bool]] = []
        self._changed = threading.Condition()
        self._topics = topics or ("#",)
        self._subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        assert self._subscribed.wait(UP_S)

    def _on_connect(self, client: Client, *_: Any) -> None:
        client.subscribe([(topic, 1) for topic in self._topics])

    def _on_message(self, _client: Client, _userdata: Any, message: Any) -> None:
        with self._changed:
            self.heard.append((message.topic, message.payload, bool(message.retain)))
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[list[tuple[str, bytes, bool]]], bool], timeout_s: float = 20.0) -> bool:
        """Wait until what was heard fulfils a condition."""
        with self._changed:
            return self._changed.wait_for(lambda: condition(self.heard), timeout_s)

    def last(self, topic: str) -> bytes | None:
        """Return the last payload of a topic."""
        with self._changed:
            return next((payload for name, payload, _ in reversed(self.heard) if name == topic), None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def retained(broker: Broker, until: str) -> dict[str, bytes]:
    """Return what a late joiner is told, which includes the topic ``until``."""
    with Ear(broker) as ear:
        assert ear.wait_for(lambda heard: any(topic == until for topic, _, _ in heard)), ear.heard
        # What is retained is sent before anything that is published after the subscription.
        token = f"end-of-retained/{time.monotonic_ns()}"
        ear._client.publish(token, b"x", qos=1)
        assert ear.wait_for(lambda heard: any(topic == token for topic, _, _ in heard))
        return {topic: payload for topic, payload, kept in ear.heard if kept}
