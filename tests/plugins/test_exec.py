"""The subscriber ``exec``: real commands, their limits, their order, and what becomes of those that fail."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from leaping import PATIENCE_S, Leaping, settled
from pydantic import ValidationError

from streamcls import StreamclsError
from streamcls.testing import SubscriberContract, example_envelopes, make_envelope
from streamcls_exec import ExecSubscriber

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SHELL = "/bin/sh"


def alert(sequence: int = 1, stream: str = "radio-1", kind: str = "moderation.alert", **data: Any) -> dict[str, Any]:
    facts = {"id": f"{sequence:032x}", "phase": "opened", "label": "siren", "severity": "medium", "action": "review"}
    return dict(make_envelope(kind, facts | data, stream=stream, sequence=sequence))


@pytest.fixture
def clock() -> Leaping:
    return Leaping()


@pytest.fixture
def runner(tmp_path: Path, clock: Leaping) -> Iterator[Callable[..., ExecSubscriber]]:
    """Make a subscriber of a shell script; $1 is the test's folder."""
    made: list[ExecSubscriber] = []

    def make(script: str = "", **options: Any) -> ExecSubscriber:
        facts: dict[str, Any] = {"command": [SHELL, "-c", script, "sh", str(tmp_path)], "per_minute": 0, "close_s": 0}
        facts |= {"spool": str(tmp_path / "spool")} | options
        made.append(ExecSubscriber(ExecSubscriber.Config.model_validate(facts), clock.timing))
        return made[-1]

    yield make
    for subscriber in made:
        subscriber.close()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


class TestContract(SubscriberContract):
    component = ExecSubscriber

    def options(self) -> dict[str, Any]:
        return {
            "command": [SHELL, "-c", "cat > /dev/null"],
            "spool": str(self.folder / "spool"),
            "environment": {"TOKEN": "sesame"},
        }


def dead_letters(tmp_path: Path) -> list[dict[str, Any]]:
    path = tmp_path / "spool" / "dead-letters.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def ends(pid: int) -> bool:
    """Wait for a process to end; whether it does."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], PATIENCE_S)[0])
    finally:
        os.close(descriptor)


# What the command is given


def test_it_reads_the_event_as_json(runner: Callable[..., ExecSubscriber], tmp_path: Path) -> None:
    event = alert(title='Ännchen "von"\nTharau', long="x" * 1_000_000)
    subscriber = runner('cat > "$1/event"')
    subscriber.handle(event)
    settled(subscriber)
    assert json.loads((tmp_path / "event").read_text("utf-8")) == event
    assert (tmp_path / "event").read_bytes().count(b"\n") == 1


def test_a_command_that_reads_nothing_is_content(runner: Callable[..., ExecSubscriber]) -> None:
    subscriber = runner("exit 0")
    subscriber.handle(alert(long="x" * 1_000_000))
    settled(subscriber)
    assert subscriber.counters["delivered"] == 1


def test_its_environment_tells_of_the_event_and_nothing_of_the_daemon(
    runner: Callable[..., ExecSubscriber], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAEMON_SECRET", "quiet")
    monkeypatch.setenv("STATION", "north")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    subscriber = runner(
        command=["/usr/bin/env"], pass_environment=["STATION"], environment={"EXTRA": "a b\nc"}, output_bytes=10_000
    )
    results = []
    run = subscriber._shown
    subscriber._shown = lambda result: results.append(result) or run(result)  # type: ignore[method-assign]
    subscriber.handle(alert(label="si\0ren; rm -rf /"))
    settled(subscriber)
    (result,) = results
    assert sorted(result.output.decode().splitlines()) == sorted(
        [
            "PATH=/usr/local/bin:/usr/bin:/bin",
            "LANG=C.UTF-8",
            "STATION=north",
            "EXTRA=a b",
            "c",
            "STREAMCLS_KIND=moderation.alert",
            "STREAMCLS_STREAM=radio-1",
            "STREAMCLS_TIME=2026-01-01T00:00:00.250Z",
            f"STREAMCLS_EVENT={alert()['id']}",
            f"STREAMCLS_ID={alert()['data']['id']}",
            "STREAMCLS_LABEL=si\N{REPLACEMENT CHARACTER}ren; rm -rf /",
            "STREAMCLS_PHASE=opened",
            "STREAMCLS_SEVERITY=medium",
            "STREAMCLS_ACTION=review",
        ]
    )


def test_no_shell_looks_at_its_arguments(runner: Callable[..., ExecSubscriber], log: pytest.LogCaptureFixture) -> None:
    subscriber = runner(command=["/bin/echo", "$(id)", "*", "a;b", "", "`x`"])
    subscriber.handle(alert())
    settled(subscriber)
    assert "$(id) * a;b  `x`" in log.text


def test_it_runs_in_the_folder_that_is_configured(
    runner: Callable[..., ExecSubscriber], tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    for folder in ("/", str(tmp_path)):
        subscriber = runner("pwd", cwd=folder, spool=str(tmp_path / f"spool{len(folder)}"))
        subscriber.handle(alert())
        settled(subscriber)
        assert f"bytes: {folder}\n" in log.text


def test_without_a_choice_openings_of_alerts_are_what_it_runs_for(
    runner: Callable[..., ExecSubscriber], tmp_path: Path
) -> None:
    subscriber = runner('echo "$STREAMCLS_KIND $STREAMCLS_PHASE" >> "$1/told"')
    for event in example_envelopes():
        subscriber.handle(event)
    subscriber.handle(alert(90, kind="signal.alert"))
    subscriber.handle(alert(91, muted={"by": "night shift"}))
    settled(subscriber)
    assert set((tmp_path / "told").read_text().splitlines()) == {"moderation.alert opened", "signal.alert opened"}
    opened = [
        event
        for event in example_envelopes()
        if event["type"].endswith(".alert") and event["data"]["phase"] == "opened" and not event["data"].get("muted")
    ]
    assert subscriber.counters["delivered"] == len(opened) + 1


def test_what_it_runs_for_can_be_chosen(runner: Callable[..., ExecSubscriber]) -> None:
    subscriber = runner("exit 0", alerts_only=False, phases=["closed"], muted="run")
    subscriber.handle(alert(1, kind="genre.segment", phase="closed"))
    subscriber.handle(alert(2, kind="genre.segment", phase="opened"))
    subscriber.handle(alert(3, phase="closed", muted={"by": "night shift"}))
    subscriber.handle(dict(make_envelope("stream.status", {"state": "ended", "reason": ""})))
    settled(subscriber)
    assert subscriber.counters["delivered"] == 3


# Limits


def test_what_takes_too_long_ends_with_all_its_children(runner: Callable[..., ExecSubscriber], tmp_path: Path) -> None:
    script = """
trap '' TERM
sh -c 'trap "" TERM; echo $$ > "$0/grandchild"; sleep 600' "$1" &
echo $$ > "$1/child"
wait; sleep 600
"""
    subscriber = runner(script, timeout_s=1, kill_after_s=0.1, attempts=1)
    subscriber.handle(alert())
    settled(subscriber)
    for name in ("child", "grandchild"):
        assert ends(int((tmp_path / name).read_text())), name
    (letter,) = dead_letters(tmp_path)
    assert letter["reason"] == "/bin/sh: it took longer than 1 s"


def test_what_takes_too_long_is_asked_first(runner: Callable[..., ExecSubscriber], tmp_path: Path) -> None:
    subscriber = runner(
        """trap 'echo tidied > "$1/tidied"; exit 0' TERM; sleep 600 & wait""", timeout_s=1, kill_after_s=30, attempts=1
    )
    subscriber.handle(alert())
    settled(subscriber)
    assert (tmp_path / "tidied").exists()
    assert len(dead_letters(tmp_path)) == 1


def test_what_it_leaves_running_ends_with_it(runner: Callable[..., ExecSubscriber], tmp_path: Path) -> None:
    subscriber = runner('sleep 600 & echo $! > "$1/left"', timeout_s=600)
    subscriber.handle(alert())
    settled(subscriber)
    assert subscriber.counters["delivered"] == 1
    assert ends(int((tmp_path / "left").read_text()))


def test_only_the_beginning_of_its_output_is_kept(
    runner: Callable[..., ExecSubscriber], log: pytest.LogCaptureFixture
) -> None:
    subscriber = runner("head -c 3000000 /dev/zero | tr '\\0' x; echo end >&2", output_bytes=50)
    subscriber.handle(alert())
    settled(subscriber)
    (message,) = [record.getMessage() for record in log.records if "wrote" in record.getMessage()]
    assert message.endswith(f"wrote 3000004 bytes: {'x' * 50} …")


def test_its_output_cannot_forge_lines_of_the_log(
    runner: Callable[..., ExecSubscriber], log: pytest.LogCaptureFixture
) -> None:
    subscriber = runner(
        "printf 'one\\nERROR two\\033[31m\\377 %s' \"$TOKEN\"; exit 1", attempts=1, environment={"TOKEN": "quiet"}
    )
    subscriber.handle(alert())
    settled(subscriber)
    messages = [record.getMessage() for record in log.records if "ERROR two" in record.getMessage()]
    assert len(messages) == 2  # what it wrote, and the dead letter
    for message in messages:
        assert "one | ERROR two\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER} …" in message
        assert "quiet" not in message
    assert "quiet" not in repr(subscriber._config) + subscriber._config.model_dump_json()


def test_limits_of_the_system_are_in_force(
    runner: Callable[..., ExecSubscriber], log: pytest.LogCaptureFixture
) -> None:
    subscriber = runner("ulimit -t; ulimit -v; ulimit -n; ulimit -c", cpu_s=7, memory_mb=300, open_files=33)
    subscriber.handle(alert())
    settled(subscriber)
    assert f"bytes: 7 | {300 * 1024} | 33 | 0\n" in log.text


def test_a_command_that_takes_too_much_processor_time_is_ended(
    runner: Callable[..., ExecSubscriber], tmp_path: Path
) -> None:
    subscriber = runner("while :; do :; done", cpu_s=1, timeout_s=600, attempts=1)
    subscriber.handle(alert())
    settled(subscriber)
    assert dead_letters(tmp_path)[0]["reason"] == f"/bin/sh: signal {signal.SIGKILL:d}"


def test_a_command_that_takes_too_much_memory_fails(runner: Callable[..., ExecSubscriber], tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-c", "bytes(300 << 20)"]
    subscriber = runner(command=command, memory_mb=200, attempts=1)
    subscriber.handle(alert(1))
    settled(subscriber)
    assert "MemoryError" in dead_letters(tmp_path)[0]["reason"]


def test_a_broken_pipe_ends_a_command_as_everywhere(
    runner: Callable[..., ExecSubscriber], log: pytest.LogCaptureFixture
) -> None:
    subscriber = runner("(yes; echo $? >&2) | head -n 1")
    subscriber.handle(alert())
    settled(subscriber)
    assert "yes: " not in log.text, "it was told of the pipe as an error, so the signal was ignored"
    assert subscriber.counters["delivered"] == 1


# Failures


def test_a_command_that_fails_is_run_again_and_then_given_up(
    runner: Callable[..., ExecSubscriber], tmp_path: Path, clock: Leaping
) -> None:
    subscriber = runner(
        'echo "$STREAMCLS_ID" >> "$1/runs"; echo because >&2; [ "$STREAMCLS_LABEL" = fine ]', concurrency=1
    )
    subscriber.handle(alert(1))
    subscriber.handle(alert(2, label="fine"))
    settled(subscriber)
    assert [int(line, 16) for line in (tmp_path / "runs").read_text().splitlines()] == [1, 1, 1, 2]
    assert clock.pauses == [5, 10]
    (letter,) = dead_letters(tmp_path)
    assert (letter["event"], letter["attempts"]) == (alert(1), 3)
    assert letter["reason"] == "/bin/sh: exit status 1: because"


def test_a_command_that_is_not_there_is_named(runner: Callable[..., ExecSubscriber], tmp_path: Path) -> None:
    subscriber = runner(command=["/nowhere/at/all"], attempts=2)
    subscriber.handle(alert())
    settled(subscriber)
    assert "/nowhere/at/all: No such file or directory" in dead_letters(tmp_path)[0]["reason"]


def test_a_folder_that_is_not_there_any_more_is_a_failure(
    runner: Callable[..., ExecSubscriber], tmp_path: Path
) -> None:
    subscriber = runner("exit 0", cwd="/nowhere/at/all", attempts=1)
    subscriber.handle(alert())
    settled(subscriber)
    assert "cannot be started: No such file or directory" in dead_letters(tmp_path)[0]["reason"]


# Order and pace


def test_a_stream_keeps_its_order_and_two_run_at_a_time(runner: Callable[..., ExecSubscriber], tmp_path: Path) -> None:
    """Each run of a and b waits for the other's: they only ever end if two streams run at once."""
    script = """
other=$([ "$STREAMCLS_STREAM" = a ] && echo b || echo a)
echo "begin $STREAMCLS_ID" >> "$1/$STREAMCLS_STREAM"
: > "$1/$STREAMCLS_STREAM.$STREAMCLS_ID"
until [ -e "$1/$other.$STREAMCLS_ID" ]; do sleep 0.01; done
echo "end $STREAMCLS_ID" >> "$1/$STREAMCLS_STREAM"
"""
    subscriber = runner(script, concurrency=2)
    for number in range(1, 6):
        subscriber.handle(alert(number, "a"))
    for number in range(1, 6):
        subscriber.handle(alert(number, "b"))
    settled(subscriber)
    for stream in ("a", "b"):
        lines = [line.split() for line in (tmp_path / stream).read_text().splitlines()]
        assert [(what, int(number, 16)) for what, number in lines] == [
            (what, number) for number in range(1, 6) for what in ("begin", "end")
        ]


def test_no_more_are_started_in_a_minute_than_allowed_and_none_is_dropped(
    runner: Callable[..., ExecSubscriber], clock: Leaping
) -> None:
    subscriber = runner("exit 0", per_minute=3, concurrency=1)
    for number in range(1, 9):
        subscriber.handle(alert(number, f"radio-{number}"))
    settled(subscriber)
    assert subscriber.counters["delivered"] == 8
    assert clock.pauses == [60, 60]


# Restarts


def test_the_end_stops_a_command_and_the_start_runs_it_again(
    runner: Callable[..., ExecSubscriber], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "running")
    script = 'echo run >> "$1/runs"; [ -e "$1/second" ] && exit 0; echo $$ > "$1/running"; sleep 600'
    subscriber = runner(script, attempts=1, timeout_s=600)
    subscriber.handle(alert(1))
    subscriber.handle(alert(2))
    pid = int((tmp_path / "running").read_text())
    subscriber.close()
    assert ends(pid)
    assert not dead_letters(tmp_path)
    (tmp_path / "second").touch()
    again = runner(script, attempts=1)
    again.handle(alert(2))
    settled(again)
    assert again.counters == {"delivered": 2, "retried": 0, "dead": 0, "repeated": 1}
    assert (tmp_path / "runs").read_text() == "run\n" * 3


def test_the_end_waits_for_no_command_that_will_not_end(runner: Callable[..., ExecSubscriber], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "running")
    subscriber = runner("trap '' TERM; echo $$ > \"$1/running\"; sleep 600; sleep 600", kill_after_s=60, timeout_s=600)
    subscriber.handle(alert(1))
    pid = int((tmp_path / "running").read_text())
    subscriber.close()
    assert ends(pid)


CHILD = """
import json, sys
from pathlib import Path
from streamcls_exec import ExecSubscriber

options, events, cursor = json.loads(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3])
subscriber = ExecSubscriber(ExecSubscriber.Config.model_validate(options))
at = int(cursor.read_text()) if cursor.exists() else 0
for number in range(at, len(events)):
    subscriber.handle(events[number])
    fresh = cursor.with_suffix(".new")
    fresh.write_text(str(number + 1))
    fresh.replace(cursor)
sys.stdin.read()
"""


def test_a_killed_process_loses_nothing_and_keeps_the_order(tmp_path: Path) -> None:
    events = [alert(number, stream) for number in range(1, 9) for stream in ("a", "b")]
    (tmp_path / "events.json").write_text(json.dumps(events))
    told = tmp_path / "told"
    os.mkfifo(told)
    options = {
        "command": [SHELL, "-c", 'echo "$STREAMCLS_STREAM $STREAMCLS_ID" > "$1"', "sh", str(told)],
        "spool": str(tmp_path / "spool"),
        "per_minute": 0,
        "sync": False,
    }
    command = [
        sys.executable,
        "-c",
        CHILD,
        json.dumps(options),
        str(tmp_path / "events.json"),
        str(tmp_path / "cursor"),
    ]
    heard: list[tuple[str, int]] = []
    changed = threading.Condition()

    def listen() -> None:
        with told.open("rb+", buffering=0) as file:  # open for writing as well: there is always a writer
            rest = b""
            while b"stop\n" not in rest:
                *lines, rest = (rest + file.read(4096)).split(b"\n")
                with changed:
                    for line in lines:
                        if line == b"stop":
                            return
                        stream, number = line.decode().split()
                        heard.append((stream, int(number, 16)))
                    changed.notify_all()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    everything = {(event["subject"], int(event["sequence"])) for event in events}
    for wanted in (3, 7, None):
        child = subprocess.Popen(command, stdin=subprocess.PIPE)
        try:
            with changed:
                assert changed.wait_for(
                    lambda wanted=wanted: len(heard) >= wanted if wanted else set(heard) == everything, PATIENCE_S
                ), heard
        finally:
            child.kill()
            child.communicate()
    with told.open("w") as file:
        file.write("stop\n")
    listener.join(PATIENCE_S)
    for stream in ("a", "b"):
        numbers = [number for name, number in heard if name == stream]
        assert list(dict.fromkeys(numbers)) == list(range(1, 9))
    assert len(heard) <= len(events) + 2 * 2


# Configuration


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"command": []}, "at least 1 item"),
        ({"command": ["notify-send"]}, "'notify-send' is no absolute path; nothing is searched for along PATH"),
        ({"command": ["./notify"]}, "is no absolute path"),
        ({"command": ["/bin/echo", "a\0b"]}, "NUL"),
        ({"cwd": "here"}, "expected an absolute path"),
        ({"retry_s": 9, "retry_max_s": 3}, "retry_s is 9, expected at most retry_max_s"),
        ({"environment": {"A=B": "x"}}, "'A=B' is no name of an environment variable"),
        ({"environment": {"A": "x\0"}}, "NUL"),
        ({"environment": {"STREAMCLS_KIND": "x"}}, "set by the subscriber itself"),
        ({"pass_environment": ["A B"]}, "'A B' is no name of an environment variable"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        ExecSubscriber.Config.model_validate({"command": ["/bin/true"]} | options)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"command": ["/nowhere/at/all"]}, "command: /nowhere/at/all does not exist or is no file"),
        ({"command": ["/"]}, "command: / does not exist or is no file"),
        ({"command": ["/etc/passwd"]}, "command: /etc/passwd must not be executed"),
        ({"cwd": "/nowhere/at/all"}, "cwd: the folder /nowhere/at/all does not exist"),
        ({"pass_environment": ["NOT_SET_ANYWHERE"]}, "pass_environment: NOT_SET_ANYWHERE is not set"),
    ],
)
def test_what_is_not_there_is_found_by_the_check(options: dict[str, Any], problem: str) -> None:
    config = ExecSubscriber.Config.model_validate({"command": ["/bin/sh"]} | options)
    (found,) = ExecSubscriber.preflight(config)
    assert problem in found


def test_two_that_share_a_spool_are_told_so(runner: Callable[..., ExecSubscriber]) -> None:
    runner()
    with pytest.raises(StreamclsError, match="give each one a spool of its own"):
        runner()


def test_without_a_spool_the_state_folder_is_used(
    runner: Callable[..., ExecSubscriber], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    runner(spool="")
    assert (tmp_path / "state" / "exec" / "outbox.jsonl").exists()
