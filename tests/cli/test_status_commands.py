"""``status``, ``top`` and what ``doctor`` says of a daemon: with a real one, and with a control socket that tells of troubles."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from daemon import STREAMCLS, DaemonProcess
from fakes import LONG_S

from streamcls.cli.main import cli
from streamcls.cli.status_view import duration, size
from streamcls.service.ailments import ailments
from streamcls.service.asking import ask_daemon
from streamcls.service.control import ControlServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("rich", reason="streamcls top needs rich (extra top)")

STREAM = {
    "state": "running", "waiting_s": 0.2, "dropped_samples": 0, "failures": 0, "audio_s": 100.0, "busy_s": 2.0,
    "window_age_s": 0.4, "windows": 99, "gaps": 1, "lost_samples": 480, "next_sample": 9, "peak_dbfs": [-30.0, -6.0],
    "rms_dbfs": [-40.0, -18.0],
    "segments": [{"kind": "genre.segment", "id": "a", "label": "jazz"}],
    "alerts": [],
}  # fmt: skip
SUBSCRIBER = {
    "alive": True, "state": "running", "handled": 7, "failed": 0, "missed": 2, "behind": 3, "restarts": 0, "reason": ""
}  # fmt: skip
WELL: dict[str, Any] = {
    "name": "studio", "pid": 4711, "version": "0.1.0", "config": "my.toml", "state_dir": "/s", "uptime_s": 7_500.0,
    "resident_bytes": 99 << 20, "published": 12, "waiting": 0, "buffer_s": 5.0, "endpoints": ["tcp://127.0.0.1:5757"],
    "threads": ["bus"], "stuck": [],
    "streams": {"fm": STREAM}, "sources": {"fm": {"state": "running", "reason": "", "counters": {}}},
    "subscribers": {"jsonl": SUBSCRIBER}, "clients": {"ui": {"requests": 3, "missed": 0}},
    "journal": {"state": "ok", "reason": "", "position": 9, "unwritten": 0},
    "evidence": {"state": "ok", "clips": 2, "bytes": 2048, "waiting": 0, "given_up": 0},
    "audit": {"state": "ok", "records": 5},
    "last_event": {"kind": "genre.segment", "stream": "fm", "age_s": 3.2},
}  # fmt: skip
WORKERS = {
    "worker-0": {"streams": 8, "utilisation": 0.123, "realtime_factor": 7.9, "lag_s": 0.0, "stride_factor": 1, "shed": 0},
    "worker-1": {
        "streams": 90, "utilisation": 0.84, "realtime_factor": 0.11, "lag_s": 1.2, "stride_factor": 4, "shed": 81
    },
    "worker-2": {"streams": 0, "utilisation": None, "realtime_factor": None, "lag_s": 0.0, "stride_factor": 1, "shed": 0},
}  # fmt: skip
SIREN = {"kind": "moderation.alert", "id": "b", "label": "siren", "acknowledged": True}
ILL: dict[str, Any] = {
    **WELL,
    "waiting": 9_000,
    "stuck": [{"name": "worker-1", "silent_s": 31.2, "doing": "stream fm", "call": "Policy.update (policy.py:31)"}],
    "streams": {
        "fm": {**STREAM, "waiting_s": 4.9, "alerts": [SIREN]},
        "am": {**STREAM, "state": "failed"},
        "dab": {**STREAM, "window_age_s": 90.0},
        "file": {**STREAM, "live": False, "waiting_s": 5.0},
    },
    "sources": {"fm": {"state": "retrying", "reason": "unplugged; next attempt in 4 s", "counters": {}},
                "log": {"state": "connecting", "reason": "/x.wav does not exist yet", "counters": {}},
                "net": {"state": "connecting", "reason": "", "counters": {}}},
    "subscribers": {"jsonl": {**SUBSCRIBER, "state": "open", "reason": "it raised 3 times"},
                    "mqtt": {**SUBSCRIBER, "alive": False, "state": "ended"},
                    "webhook": {**SUBSCRIBER, "waiting": 12, "waited_s": 95.2, "trouble": "no answer within 10 s",
                                "counters": {"dead": 1}},
                    "exec": {**SUBSCRIBER, "waiting": 1, "waited_s": 5.0, "trouble": "exit status 1",
                             "counters": {"dead": 3, "delivered": 4}},
                    "fine": {**SUBSCRIBER, "waiting": 1, "waited_s": 5.0, "trouble": "", "counters": {"dead": 3}}},
    "journal": {"state": "failed", "reason": "no space left on device", "position": 9, "unwritten": 4},
    "security": {"alive": False},
}  # fmt: skip


@pytest.fixture
def tell(tmp_path: Path) -> Iterator[Any]:
    """Serve a status; returns the options that find it."""
    with contextlib.ExitStack() as stack:

        def serve(status: dict[str, Any]) -> list[str]:
            told = {"wrong": ailments(status), **status}
            operations = {"status": lambda _: told, "stacks": lambda _: {"stacks": 'thread "bus"'}}
            stack.close()  # one at a time
            server = ControlServer(tmp_path / "c.sock", operations)
            server.start()
            stack.callback(server.close)
            return ["--socket", str(server.path)]

        yield serve


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, list(arguments), standalone_mode=False)
    assert result.exception is None, result.exception
    return result.return_value, result.output


def test_a_daemon_that_is_well(tell: Any) -> None:
    code, text = run("status", *tell(WELL))
    assert code == 0
    assert text.startswith("All is well.\n\ndaemon      studio, streamcls 0.1.0, process 4711, up 2 h 5 min, 99 MiB")
    assert "last event  genre.segment of fm, 3 s ago" in text
    assert "journal     ok, position 9, 0 unwritten" in text
    assert "evidence    ok, 2 clips, 2 KiB, 0 waiting, 0 given up" in text
    (row,) = [line.split() for line in text.splitlines() if line.startswith("fm  ") and "jazz" in line]
    assert row == ["fm", "running", "0.2", "s", "0", "s", "ago", "50x", "1", "480", "0", "jazz"]


def test_what_is_wrong_is_said_first_and_shown_by_the_exit_status(tell: Any) -> None:
    code, text = run("status", *tell(ILL))
    assert code == 1
    wrong = [line.removeprefix("WRONG  ") for line in text.splitlines() if line.startswith("WRONG")]
    assert text.splitlines()[: len(wrong)] == [f"WRONG  {line}" for line in wrong]
    expected = [
        "thread worker-1: no progress for 31 s, with stream fm, in Policy.update (policy.py:31); ",
        "journal: failed: no space left on device",
        "security: the authenticator has stopped",
        "bus: 9000 deliveries wait",
        "source fm: retrying: unplugged; next attempt in 4 s",
        "source log: connecting: /x.wav does not exist yet",
        "stream am: failed",
        "stream dab: no window for 90 s",
        "stream fm: 4.9 s behind, of 5 s that there is room for; give the daemon more cores",
        "subscriber exec: the last delivery failed, and 3 events are given up, as dead letters: exit status 1",
        "subscriber jsonl: open: it raised 3 times",
        "subscriber mqtt: it has ended",
        "subscriber webhook: 12 events wait to be delivered, the oldest for 95 s: no answer within 10 s",
    ]
    assert len(wrong) == len(expected)
    assert all(line.startswith(start) for line, start in zip(wrong, expected, strict=True)), wrong
    assert "siren (acknowledged)" in text
    (row,) = [line for line in text.splitlines() if line.startswith("webhook  ")]
    assert "12 for 1 min (1 given up)" in row
    assert row.endswith("no answer within 10 s")


def test_many_streams_are_counted_and_the_troubled_ones_shown(tell: Any) -> None:
    streams = {f"s{number:03}": STREAM for number in range(100)} | {"zz": {**STREAM, "state": "failed"}}
    _, text = run("status", *tell({**WELL, "streams": streams}))
    assert "… and 61 more (--json has all)" in text
    assert "\nzz " in text


def test_overload_is_told_by_worker_and_streams_that_are_shed_do_not_hide_the_others(tell: Any) -> None:
    streams = {f"s{number:03}": {**STREAM, "state": "shed"} for number in range(100)} | {"zz": STREAM}
    options = tell({**WELL, "streams": streams, "workers": WORKERS})
    code, text = run("status", *options)
    assert code == 1
    assert text.splitlines()[0] == (
        "WRONG  worker-1: overloaded: only each 4. window is classified, 81 of 90 streams are given up for now; "
        "it can do 0.11 times what comes; give the daemon more cores, fewer streams or a longer stride"
    )
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith(("WORKER", "worker"))}
    assert rows["worker-0"] == ["8", "12%", "7.90x", "0.0", "s", "x1", "0"]
    assert rows["worker-1"] == ["90", "84%", "0.11x", "1.2", "s", "x4", "81"]
    assert rows["worker-2"] == ["0", "0.0", "s", "x1", "0"]
    assert "\nzz " in text
    _, text = run("top", *options)
    (line,) = [line for line in text.splitlines() if line.startswith("worker-1 84%")]
    assert line.startswith("worker-1 84% of 0.11x stride x4, 81 shed  worker-0 12% of 7.90x")
    assert max(map(len, text.splitlines())) <= 80


def test_a_worker_that_has_no_trouble_is_none(tell: Any) -> None:
    code, text = run("status", *tell({**WELL, "workers": {"worker-0": WORKERS["worker-0"]}}))
    assert code == 0
    assert text.startswith("All is well.")


def test_json_has_all_of_it(tell: Any) -> None:
    code, text = run("status", "--json", *tell(ILL))
    assert code == 1
    assert json.loads(text)["streams"] == ILL["streams"]


def test_a_stream_of_which_nothing_came_has_no_rate(tell: Any) -> None:
    stream = {
        "state": "connecting",
        "waiting_s": 0.0,
        "dropped_samples": 0,
        "failures": 0,
        "audio_s": 0.0,
        "busy_s": 0.5,
    }
    status = {**WELL, "streams": {"fm": stream}, "journal": None, "evidence": None, "audit": None, "last_event": None}
    for command in ("status", "top"):
        code, text = run(command, *tell(status))
        assert code == 0
        (row,) = [line.split() for line in text.splitlines() if line.startswith("fm ") and "connecting" in line]
        assert "0x" not in row


def test_stacks(tell: Any) -> None:
    assert run("status", "--stacks", *tell(WELL)) == (0, 'thread "bus"\n')


@pytest.mark.parametrize("command", ["status", "top"])
def test_no_daemon_is_told_by_its_own_exit_status(command: str, tmp_path: Path) -> None:
    code, text = run(command, "--state-dir", str(tmp_path))
    assert code == 3
    assert f"no daemon runs here (looked at {tmp_path}/control.sock)" in text


def test_the_configuration_says_which_daemon_is_meant(tell: Any, tmp_path: Path) -> None:
    tell(WELL)
    (tmp_path / "c.sock").rename(tmp_path / "control.sock")
    config = tmp_path / "my.toml"
    config.write_text(f'[daemon]\nstate_dir = "{tmp_path}"\n[[source]]\nname = "x"\ntype = "demo"\n', encoding="utf-8")
    assert run("status", str(config))[0] == 0


def test_top_prints_one_frame_where_there_is_no_terminal_and_fits_80_columns(tell: Any) -> None:
    code, text = run("top", *tell(ILL))
    assert code == 0
    assert "\x1b" not in text
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line for line in lines if line.startswith(("fm ", "am ", "dab "))]
    assert [row.split()[0] for row in rows] == ["am", "fm", "dab"], "what is in trouble comes first"
    assert "========..|." in rows[1]
    assert "siren" in rows[1]
    assert "4.9s" in rows[1]
    assert "… and 9 more that is wrong" in text


def test_top_on_a_terminal_redraws_and_ends_with_q(tell: Any) -> None:
    command = [*STREAMCLS, "top", "--every", "0.2", *tell(WELL)]
    terminal, inner = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    with subprocess.Popen(command, stdin=inner, stdout=inner, env=environment, start_new_session=True) as child:
        os.close(inner)
        try:
            seen = _read_until(terminal, lambda text: text.count(b"jazz") >= 3)
            assert b"\x1b[?1049h" in seen, "it draws on the other screen"
            assert b"q quits" in seen
            os.write(terminal, b"q")
            seen = _read_until(terminal, lambda text: b"\x1b[?1049l" in text)
            assert b"\x1b[?1049l" in seen, "it leaves the screen as it was"
            assert child.wait(LONG_S) == 0
        finally:
            child.kill()
            os.close(terminal)


def _read_until(terminal: int, enough: Any) -> bytes:
    seen, deadline = b"", time.monotonic() + LONG_S
    while not enough(seen) and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                seen += os.read(terminal, 1 << 16)
            except OSError:  # the other side has gone
                break
    return seen


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (61, "1 min"), (3_599, "59 min"), (11_100, "3 h 5 min"), (352_800, "4 d 2 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (2048, "2 KiB"), (99 << 20, "99 MiB"), (3 << 40, "3.0 TiB")])
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_a_real_daemon_is_asked_by_every_command(tmp_path: Path) -> None:
    config = tmp_path / "my.toml"
    config.write_text(
        f'[daemon]\nname = "studio"\nstate_dir = "{tmp_path}/state"\n[bus]\npublish = ["tcp://127.0.0.1:*"]\n'
        'replay = ["tcp://127.0.0.1:*"]\n[[source]]\nname = "demo"\ntype = "demo"\nspeed = 4.0\n'
        f'[[subscriber]]\ntype = "jsonl"\npath = "{tmp_path}/events.jsonl"\n',
        encoding="utf-8",
    )
    socket = tmp_path / "state" / "control.sock"
    with DaemonProcess(config) as daemon:
        status = _until_it_hears(socket)
        assert status["pid"] == daemon.process.pid
        assert status["config"] == str(config)
        assert status["streams"]["demo"]["segments"][0]["label"]
        assert {"bus", "control", "worker-0", "source-demo"} <= set(status["threads"])
        assert status["last_event"]["stream"]
        assert "positions" not in status
        assert ask_daemon(socket, "ping") == {"name": "studio", "pid": daemon.process.pid, "version": status["version"]}
        assert 'thread "source-demo"' in ask_daemon(socket, "stacks")["stacks"]
        code, text = run("status", str(config))
        assert code == 0, text
        code, text = run("doctor", str(config), "--only", "daemon", "--only", "ports", "--only", "storage")
        assert code == 0, text
        assert f"studio {status['version']} runs as process {daemon.process.pid} with 1 streams" in text
        second = subprocess.run(
            [*STREAMCLS, "run", str(config)], capture_output=True, text=True, timeout=60, check=False
        )
        assert second.returncode == 1
        assert ask_daemon(socket, "ping")["pid"] == daemon.process.pid, "a second one does not take its place"
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
    assert not socket.exists()
    assert run("status", str(config))[0] == 3


def _until_it_hears(socket: Path) -> dict[str, Any]:
    deadline = time.monotonic() + 2 * LONG_S
    while time.monotonic() < deadline:
        with contextlib.suppress(Exception):
            status = ask_daemon(socket, "status")
            if status["streams"]["demo"].get("segments"):
                return status
        time.sleep(0.1)
    raise AssertionError("no segment was opened")
