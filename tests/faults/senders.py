"""Faults of senders: killed, gone in the middle of a message, sending what is no audio."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import wave
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import zmq
from stage import RATE, TOOL, Seen, Stage, frames_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["garbage_from_a_sender", "half_a_frame", "half_a_message", "sender_killed"]

_GREETING = bytes([0xFF, *bytes(8), 0x7F, 3, 0]) + b"NULL".ljust(20, b"\0") + bytes(32)
"""ZMTP 3.0, mechanism NULL, as a client (rfc.zeromq.org/spec/23)."""
_MORE, _LONG, _COMMAND = 1, 2, 4


def sender_killed(folder: Path) -> Seen:
    """A sender is killed in mid-programme; later another one goes on under the same name."""
    path = folder / "programme.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.random.default_rng(5).integers(-500, 500, 120 * RATE, "<i2").tobytes())
    with Stage(folder) as stage:
        stage.start()
        stage.settle()
        command = [sys.executable, str(TOOL), "send", str(path), "--to", f"tcp://127.0.0.1:{stage.ingest_port}"]
        command += ["--stream", "studio-b", "--realtime"]
        sender = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stage.hear("studio-b")
        sender.kill()
        sender.wait()
        line = stage.line("studio-b", "its sender did not say that it is over")
        events = [
            stage.event("stream.status", "studio-b", state="stalled"),
            stage.event("stream.status", "studio-b", state="ended"),
        ]
        before = len(stage.windows("studio-b"))
        sender = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stage.until(lambda: len(stage.windows("studio-b")) > before + 4, "windows of the next sender")
        sender.kill()
        sender.wait()
        well = stage.status()
        others = stage.witnessed()
        exit_code = stage.stop()
    return Seen(
        "a sender is killed in mid-programme",
        "`streamcls send --realtime` gets SIGKILL; later another one begins under the same name (`idle_s = 2` here, 30 by default)",
        log=[line],
        events=events,
        exits={"status": well.exit, "run, stopped by SIGTERM": exit_code},
        lost="what that sender had not handed over",
        recovers="by itself: after `idle_s` the stream ends and what is open is closed; the next audio of that name begins a new stream",
        others=others,
    )


@contextmanager
def _peer(port: int) -> Iterator[socket.socket]:
    """A ZMTP peer of our own, after the handshake, as a PUSH socket."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        peer.sendall(_GREETING)
        _take(peer, 64)
        kind = b"\x0bSocket-Type" + struct.pack(">I", 4) + b"PUSH"
        ready = b"\x05READY" + kind
        peer.sendall(bytes([_COMMAND, len(ready)]) + ready)
        _, size = _take(peer, 2)
        _take(peer, size)
        yield peer


def _take(peer: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = peer.recv(count - len(data))
        assert piece, "the daemon hung up"
        data += piece
    return data


def _frame(body: bytes, *, more: bool) -> bytes:
    return bytes([_LONG | (_MORE if more else 0)]) + struct.pack(">Q", len(body)) + body


def _gone_midway(folder: Path, fault: str, injected: str, *, whole_frames: int, cut: bool) -> Seen:
    """A peer sends whole messages, then part of one, and closes; another one goes on where the audio was."""
    audio = np.random.default_rng(6).integers(-500, 500, RATE // 10, "<i2").tobytes()
    with Stage(folder) as stage:
        stage.start()
        stage.settle()
        with _peer(stage.ingest_port) as peer:
            for number in range(10):
                name, header, body = frames_of("studio-b", audio, number * RATE // 10)
                peer.sendall(_frame(name, more=True) + _frame(header, more=True) + _frame(body, more=False))
            stage.hear("studio-b", 2)
            name, header, body = frames_of("studio-b", audio, RATE)
            parts = [_frame(name, more=True), _frame(header, more=True), _frame(body, more=False)]
            peer.sendall(b"".join(parts[:whole_frames]))
            if cut:
                peer.sendall(parts[whole_frames][: len(parts[whole_frames]) // 2])
        with _peer(stage.ingest_port) as peer:  # comes back, and sends that message again, and more
            for number in range(10, 20):
                name, header, body = frames_of("studio-b", audio, number * RATE // 10)
                peer.sendall(_frame(name, more=True) + _frame(header, more=True) + _frame(body, more=False))
            stage.hear("studio-b", 4)
        facts = stage.beat()
        assert facts["streams"]["studio-b"]["gaps"] == 0
        assert facts["streams"]["studio-b"]["next_sample"] == 2 * RATE
        assert facts["sources"]["wire"]["counters"]["malformed"] == 0
        well = stage.status()
        others = stage.witnessed()
        exit_code = stage.stop()
    return Seen(
        fault,
        injected,
        events=["none: the sender is back before `idle_s` is over, and `gaps` of the stream stays 0"],
        exits={"status": well.exit, "run, stopped by SIGTERM": exit_code},
        lost="the message that was not whole; nothing here, where the sender sends it again. Never is a part of one taken for audio",
        recovers="by itself: the stream goes on at the next whole message; what is missing is waited for (`reorder_s`), and is a gap then",
        others=others,
    )


def half_a_frame(folder: Path) -> Seen:
    """A sender's connection ends in the middle of a frame."""
    return _gone_midway(
        folder,
        "a sender dies in the middle of a frame",
        "a ZMTP peer of our own sends ten messages, then two frames and half the third, and closes; "
        "a second one sends that message again, and more",
        whole_frames=2,
        cut=True,
    )


def half_a_message(folder: Path) -> Seen:
    """A sender's connection ends between two frames of a message."""
    return _gone_midway(
        folder,
        "a sender dies between two frames",
        "as above, with one frame, which announces more, and no other",
        whole_frames=1,
        cut=False,
    )


def garbage_from_a_sender(folder: Path) -> Seen:
    """A sender sends what is no audio."""
    nan = struct.pack("<f", float("nan")) * (RATE // 10)
    wrong = [
        frames_of("studio-b", nan, 0, encoding="pcm_f32le"),
        frames_of("studio-b", b"\1\2\3", 0),
        frames_of("studio-b", b"\1\2", -1),
        frames_of("studio-b", b"\1\2", 0, version=9),
        frames_of("../../etc", b"\1\2", 0),
        [b"studio-b", b"{", b"\1\2"],
        [b"studio-b"],
        [bytes(range(256)) * 8] * 9,
    ]
    with Stage(folder) as stage:
        stage.start()
        stage.settle()
        with zmq.Context() as context, context.socket(zmq.PUSH) as sender:
            sender.linger = 5000
            sender.connect(f"tcp://127.0.0.1:{stage.ingest_port}")
            for message in wrong:
                sender.send_multipart(message)
        with socket.create_connection(("127.0.0.1", stage.ingest_port)) as peer:
            peer.sendall(bytes(range(256)) * 64)  # and what is not even ZMTP
        stage.until(lambda: stage.beat()["sources"]["wire"]["counters"]["malformed"] == len(wrong), "all counted")
        line = stage.line("wire", "studio-b", "dropped")
        counters = {
            key: count
            for key, count in stage.beat()["sources"]["wire"]["counters"].items()
            if "malformed" in key and count
        }
        well = stage.status()
        others = stage.witnessed()
        exit_code = stage.stop()
    return Seen(
        "a sender sends garbage",
        "not-a-number, half a sample, an index below 0, another version, a name that is a path, "
        "no JSON, one frame, nine frames, and 16 KiB that are no ZMTP",
        log=[line],
        events=[f"daemon.heartbeat studio sources.wire.counters = {json.dumps(counters)}"],
        exits={"status": well.exit, "run, stopped by SIGTERM": exit_code},
        lost="those messages, each counted by its reason",
        recovers="nothing has to: other senders and streams do not notice",
        others=others,
    )
