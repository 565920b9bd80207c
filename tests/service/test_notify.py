"""What the service manager is told, over real sockets."""

from __future__ import annotations

import logging
import os
import secrets
import select
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from streamcls.service.notify import Notifier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG_S = 20.0


class Manager:
    """The receiving end, as systemd has it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(LONG_S)
        self.socket.bind(b"\0" + address[1:].encode() if address.startswith("@") else address)

    def heard(self) -> list[str]:
        return self.socket.recv(65_536).decode().split("\n")

    @property
    def silent(self) -> bool:
        return not select.select([self.socket], [], [], 0)[0]


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    where = str(tmp_path / "notify") if request.param == "path" else f"@streamcls-test-{secrets.token_hex(8)}"
    made = Manager(where)
    yield made
    made.socket.close()


@pytest.fixture
def notifier(manager: Manager) -> Iterator[Notifier]:
    made = Notifier.from_environment({"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "30000000"})
    yield made
    made.close()


def test_each_word_arrives_as_a_message_of_its_own(manager: Manager, notifier: Notifier) -> None:
    notifier.ready("2 streams")
    notifier.watchdog()
    notifier.status("3 streams")
    notifier.stopping()
    assert manager.heard() == ["READY=1", "STATUS=2 streams"]
    assert manager.heard() == ["WATCHDOG=1"]
    assert manager.heard() == ["STATUS=3 streams"]
    assert manager.heard() == ["STOPPING=1"]


def test_a_reload_bears_the_steady_clock(manager: Manager) -> None:
    notifier = Notifier(manager.address, clock_ns=lambda: 12_345_678_999)
    notifier.reloading()
    notifier.ready()
    notifier.close()
    assert manager.heard() == ["RELOADING=1", "MONOTONIC_USEC=12345678"]
    assert manager.heard() == ["READY=1"]


def test_a_status_that_is_shown_is_not_sent_again(manager: Manager, notifier: Notifier) -> None:
    notifier.ready("well")
    notifier.status("well")
    notifier.status("ill")
    assert [manager.heard()[-1], manager.heard()[-1]] == ["STATUS=well", "STATUS=ill"]
    assert manager.silent


def test_a_status_is_one_line_and_adds_no_word_of_its_own(manager: Manager, notifier: Notifier) -> None:
    notifier.status("a\nWATCHDOG=1\nREADY=1" + "x" * 10_000)
    (line,) = manager.heard()
    assert line.startswith("STATUS=a WATCHDOG=1 READY=1x")
    assert len(line) < 500


@pytest.mark.parametrize(
    ("usec", "pid", "expected"),
    [
        ("30000000", "", 30.0),
        pytest.param("30000000", str(os.getpid()), 30.0, id="this process"),
        ("30000000", "1", None),
        ("", "", None),
        ("0", "", None),
        ("-5", "", None),
        ("soon", "", None),
        ("²", "", None),
    ],
)
def test_the_watchdog_is_fed_where_it_is_this_processs(
    manager: Manager, usec: str, pid: str, expected: float | None
) -> None:
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}
    notifier = Notifier.from_environment(environment)
    assert notifier.watchdog_s == expected
    notifier.watchdog()
    assert manager.silent is (expected is None)
    notifier.close()


@pytest.mark.parametrize("address", ["", "relative/path", "tcp://127.0.0.1:1"])
def test_without_a_socket_nothing_is_done(address: str) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    assert not notifier.active
    assert notifier.watchdog_s is None
    for tell in (notifier.ready, notifier.stopping, notifier.reloading, notifier.watchdog, notifier.close):
        tell()
    notifier.status("x")


@pytest.mark.parametrize("address", ["/nowhere/at/all", "/" + "x" * 200, "/with\0zero", "@gone-away"])
def test_a_manager_that_cannot_be_told_costs_one_line(address: str, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier(address, 1.0)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            notifier.watchdog()
    notifier.close()
    assert len(caplog.records) == 1


def test_a_manager_that_comes_back_is_told_again(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    first = Manager(address)
    notifier = Notifier(address, 1.0)
    notifier.watchdog()
    assert first.heard() == ["WATCHDOG=1"]
    first.socket.close()
    (tmp_path / "notify").unlink()
    notifier.watchdog()
    second = Manager(address)
    notifier.watchdog()
    assert second.heard() == ["WATCHDOG=1"]
    second.socket.close()
    notifier.close()


def test_a_manager_that_reads_nothing_stops_nobody(manager: Manager, notifier: Notifier) -> None:
    """Its queue is full after a few messages; those that do not fit are left out."""
    for number in range(40):
        notifier._tell(f"STATUS={number}")
        if notifier._deaf:
            break
    assert notifier._deaf
    assert manager.heard() == ["STATUS=0"]


def test_threads_may_tell_at_once(manager: Manager, notifier: Notifier) -> None:
    threads = [threading.Thread(target=notifier.watchdog) for _ in range(8)]
    heard: list[list[str]] = []
    reader = threading.Thread(target=lambda: heard.extend(manager.heard() for _ in threads))
    reader.start()
    for thread in threads:
        thread.start()
    for thread in [*threads, reader]:
        thread.join(LONG_S)
    assert heard == [["WATCHDOG=1"]] * 8
