"""Faults that come with a reload: a model that is garbage, signals without end."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import zmq
from stage import PIECE_S, RATE, STRIDE, Seen, Stage, frames_of
from tones import pieces

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["model_replaced_by_garbage", "signal_storm", "ten_times_the_load"]

_STORM_S = 5.0


def model_replaced_by_garbage(folder: Path) -> Seen:
    """The model's file is overwritten while it is in use; then a reload is asked for, and a restart, and it is put back."""
    with Stage(folder) as stage:
        stage.start()
        stage.settle()
        model = stage.bundle / "model.json"
        sound = model.read_bytes()
        model.write_bytes(bytes(range(256)) * 64)
        stage.hear("tape")
        refused = stage.tool("reload", str(stage.config))
        assert refused.exit == 1, refused.text
        assert "model.json" in refused.text
        event = stage.event("daemon.reload", "studio", state="refused")
        line = stage.line("reload", "refused")
        doctor = stage.doctor("models", "configuration")
        assert doctor[0] == 1
        others = stage.witnessed()
        asked = stage.tool("status", str(stage.config))
        stopped = stage.stop()
        before = len(stage.lines())
        stage.start()
        restarted = stage.wait()
        lines = stage.lines()[before:]
        assert restarted == 78, lines
        assert "model.json" in "\n".join(lines)
        model.write_bytes(sound)
        stage.start()
        stage.hear("tape")
        stage.hear("wire")
        well = stage.status()
        again = stage.tool("reload", str(stage.config))
        assert again.exit == 0, again.text
        end = stage.stop()
    return Seen(
        "a model's file is replaced by garbage",
        "16 KiB of counting bytes over the file of a model in use; then `streamcls reload`, then a restart",
        log=[line, *lines],
        events=[event],
        status=asked.text.splitlines()[:1],
        doctor=doctor[1],
        exits={
            "reload": refused.exit,
            "status": asked.exit,
            "doctor": doctor[0],
            "run, stopped by SIGTERM": stopped,
            "run, restarted": restarted,
            "status, with the model": well.exit,
            "run, stopped again": end,
        },
        lost="nothing while it runs: the model is in memory, a reload is refused and the old one goes on. A restart does not start",
        recovers="with a sound file: a start or a reload. systemd does not try again meanwhile (`RestartPreventExitStatus=78`)",
        others=others,
    )


def signal_storm(folder: Path) -> Seen:
    """SIGHUP again and again, as fast as it goes, with a configuration that changes back and forth."""
    with Stage(folder, tapes=("tape", "reel")) as stage:
        stage.start()
        stage.settle()
        assert stage.process is not None
        text = stage.config.read_text("utf-8")
        head, _, reel = text.partition('\n[[source]]\nname = "reel"')
        without = head + reel[reel.index("\n[[") :]
        sent, deadline = 0, time.monotonic() + _STORM_S
        while time.monotonic() < deadline:
            fresh = folder / "fresh.toml"
            fresh.write_text(text if (sent // 500) % 2 else without, "utf-8")
            fresh.rename(stage.config)
            for _ in range(100):
                stage.process.send_signal(signal.SIGHUP)
            sent += 100
            time.sleep(0.002)
        stage.config.write_text(text, "utf-8")
        asked = stage.tool("reload", str(stage.config))
        assert asked.exit == 0, asked.text
        stage.hear("reel")
        done = stage.beat()["reload"]
        others = stage.witnessed(but=["reel"])
        line = stage.line("reload", "applied")
        event = stage.event("daemon.reload", "studio", state="applied")
        well = stage.status()
        assert not stage.beat()["stuck"]
        exit_code = stage.stop()
    assert done["count"] < sent / 10
    return Seen(
        "a storm of SIGHUP",
        f"{sent} signals in {_STORM_S:g} s, while a source comes and goes in the file every 500",
        log=[line],
        events=[event],
        exits={"reload": asked.exit, "status": well.exit, "run, stopped by SIGTERM": exit_code},
        lost=f"nothing: signals that come while a reload waits are one; there were {done['count']} reloads, {done['refused']} refused",
        recovers="by itself: what stands in the file at the end is in force",
        others=others,
    )


_STREAMS = """
[[stream]]
match = "wire"
models = ["tones"]
policies = ["moderation"]
priority = 10
"""


@contextmanager
def _crowd(port: int, count: int) -> Iterator[None]:
    """Send so many more streams in real time for a while."""
    over = threading.Event()

    def send() -> None:
        with zmq.Context() as context, context.socket(zmq.PUSH) as sender:
            sender.linger = 0
            sender.connect(f"tcp://127.0.0.1:{port}")
            audio = pieces(7, PIECE_S)
            began = time.monotonic()
            for number in itertools.count():
                piece = next(audio)
                for stream in range(count):
                    sender.send_multipart(frames_of(f"crowd-{stream}", piece, number * len(piece) // 2))
                if over.wait(max(0.0, began + (number + 1) * PIECE_S - time.monotonic())):
                    return

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def ten_times_the_load(folder: Path) -> Seen:
    """Ten times as many live streams come as one worker can classify, for a while."""
    with Stage(
        folder, backend="slow", streams=_STREAMS, tapes=(), more="[overload]\ncalm_s = 2.0\n", daemon="buffer_s = 5.0"
    ) as stage:
        text = stage.config.read_text("utf-8")
        stage.config.write_text(text.replace("workers = 2", "workers = 1"), "utf-8")
        stage.start()
        stage.settle()
        before = stage.beat()["resident_bytes"]
        able = 1 / (RATE / STRIDE * 0.02)
        count = round(10 * able)
        with _crowd(stage.ingest_port, count):
            line = stage.line("is overloaded")
            events = [
                stage.event("stream.status", "wire", stride_factor=4),
                stage.event("stream.status", "crowd-60", state="shed"),
            ]
            given_up = stage.line("are given up for now")
            asked = stage.status("overload", "given up")
            stage.hear("wire", 24)
            during = stage.beat()
        stage.until(lambda: stage.beat()["workers"]["worker-0"]["stride_factor"] == 1, "the grid as it was")
        well = stage.status()
        stage.hear("wire")
        after = stage.beat()
        windows = stage.windows("wire")
        assert windows[-1] - windows[-2] == STRIDE
        exit_code = stage.stop()
    kept = after["streams"]["wire"]
    assert kept["dropped_samples"] == 0, kept
    assert during["resident_bytes"] < before + (200 << 20)
    shed = sum(facts["state"] == "shed" for facts in during["streams"].values())
    return Seen(
        "ten times the load",
        f"{count} live streams beside one that counts (`priority = 10`), where one worker has time for {able:.0f}: each window takes 20 ms",
        log=[line, given_up],
        events=events,
        status=asked.wrong,
        exits={"status": asked.exit, "status, afterwards": well.exit, "run, stopped by SIGTERM": exit_code},
        lost=f"by declared steps: windows between the ones of a wider stride, then the audio of {shed} streams, as announced gaps. "
        f"Memory grew by {(during['resident_bytes'] - before) >> 20} MiB and stayed there",
        recovers="by itself, step by step; see [overload](overload.md)",
        others=f"`wire`, which has the higher priority: {kept['dropped_samples']} samples lost; windows on each place of the grid again",
    )
