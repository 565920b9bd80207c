"""Faults of time: the clock is set, the whole process stands still."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from stage import Seen, Stage

__all__ = ["clock_set_back", "clock_set_forward", "process_stopped"]

_HOUR_S = 3600
_STOPPED_S = 20.0
_LIBRARY = "libfaketimeMT.so.1"


def _faked(clock: Path) -> dict[str, str]:
    """Return an environment in which the time of day is what a file says, and no other clock is touched."""
    found = next(Path("/usr/lib").glob(f"**/faketime/{_LIBRARY}"), None)
    if found is None:
        pytest.skip("libfaketime is not installed (apt install libfaketime)")
    return {
        "LD_PRELOAD": str(found),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def _clock_set(folder: Path, by_s: int, fault: str) -> Seen:
    clock = folder / "clock"
    clock.write_text("+0\n")
    with Stage(folder, env=_faked(clock)) as stage:
        stage.start()
        stage.settle()
        fresh = folder / "clock.new"
        fresh.write_text(f"{by_s:+d}\n")
        fresh.rename(clock)
        stage.until(lambda: bool(stage.listener.of("daemon.clock", "studio")), "daemon.clock")
        event = stage.listener.of("daemon.clock", "studio")[0]
        assert abs(event["data"]["jump_s"] - by_s) < 2
        line = stage.line("streamcls.watch", "WARNING")
        stage.until(lambda: _closed(stage) >= 3, "alerts after that")
        others = stage.witnessed()
        longest = _durations(stage)
        well = stage.status()
        doctor = stage.doctor("clock")
        assert not stage.beat()["stuck"]
        exit_code = stage.stop()
    return Seen(
        fault,
        f"`libfaketime` gives the daemon a time of day that is {by_s:+d} s from one moment to the next; other clocks are not touched",
        log=[line],
        events=[f"daemon.clock studio {event['data']}"],
        doctor=doctor[1],
        exits={"status": well.exit, "run, stopped by SIGTERM": exit_code},
        lost=f"nothing. The longest of the alerts, of a second of tone each, has `duration_s` = {longest:.1f}; "
        "no watchdog fires, nothing stalls. "
        "`started_at` and `ended_at` are what the clock said at the time, so that an alert which"
        " was open then begins by one and ends by another",
        recovers="nothing has to",
        others=others,
    )


def _closed(stage: Stage) -> int:
    alerts = [event["data"] for event in stage.listener.of("moderation.alert", "wire")]
    return sum(data["phase"] == "closed" for data in alerts)


def _durations(stage: Stage) -> float:
    """Check that each closed alert's duration is that of its samples; return the longest in seconds."""
    longest = 0.0
    for stream in ("tape", "wire"):
        for event in stage.listener.of("moderation.alert", stream):
            data: dict[str, Any] = event["data"]
            if data["phase"] != "closed":
                continue
            by_samples = (data["end_sample"] - data["first_sample"]) / data["sample_rate"]
            assert abs(data["duration_s"] - by_samples) < 0.001, data
            longest = max(longest, data["duration_s"])
    assert 0 < longest < 10
    return longest


def clock_set_back(folder: Path) -> Seen:
    """The time of day is set back by an hour."""
    return _clock_set(folder, -_HOUR_S, "the clock is set back by an hour")


def clock_set_forward(folder: Path) -> Seen:
    """The time of day is set forward by an hour."""
    return _clock_set(folder, _HOUR_S, "the clock is set forward by an hour")


def process_stopped(folder: Path) -> Seen:
    """The whole process stands still for a while, and goes on."""
    with Stage(folder, daemon="stuck_s = 5.0\nstall_s = 5.0") as stage:
        stage.start()
        stage.settle()
        assert stage.process is not None
        stage.process.send_signal(signal.SIGSTOP)
        before = len(stage.lines())
        time.sleep(_STOPPED_S / 2)
        asked = stage.tool("status", str(stage.config))
        time.sleep(_STOPPED_S / 2)
        stage.process.send_signal(signal.SIGCONT)
        stage.hear("tape")
        stage.until(lambda: stage.beat()["streams"]["wire"]["waiting_s"] < 1, "the sender's audio taken up")
        others = stage.witnessed(but=["wire"])
        facts = stage.beat()["streams"]["wire"]
        lines = [stage.line("the whole process stood still", after=before)]
        gap = stage.event("stream.status", "wire", state="gap")
        assert not stage.beat()["stuck"]
        well = stage.status()
        exit_code = stage.stop()
    assert asked.exit == 1
    return Seen(
        "the whole process is stopped for half a minute",
        "SIGSTOP, and half a minute later SIGCONT (`stuck_s = 5`)",
        log=lines,
        events=[gap],
        status=asked.text.splitlines()[:1],
        exits={"status, while it is stopped": asked.exit, "status": well.exit, "run, stopped by SIGTERM": exit_code},
        lost=f"nothing of a file. Of what was sent live, which waited in ZeroMQ's queues, "
        f"{facts['lost_samples']} samples in {facts['gaps']} gaps: "
        "beyond `buffer_s` live audio is dropped. Under systemd the watchdog starts it anew after `WatchdogSec`",
        recovers="by itself; nobody is blamed for the time",
        others=others,
    )
