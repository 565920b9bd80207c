"""Real music through a growing WAV, ZeroMQ and a microphone, in one daemon, against `classify` on the same samples."""

from __future__ import annotations

import itertools
import signal
import struct
import subprocess
import threading
import wave
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soxr
from daemon import STREAMCLS, DaemonProcess, Listener, classify, free_port, payload, write_in_real_time
from pulse import running_pulse

from streamcls.audio.decode import read_file

if TYPE_CHECKING:
    from pathlib import Path

PIECE_S = 0.1
CLIP = "gtzan_full30/blues"


def _pcm(data: Path, rate: int, channels: int) -> bytes:
    """A real 30 s clip as s16, at the model's rate or another, in mono or (slightly unlike channels) stereo."""
    path = sorted((data / CLIP).glob("*"))[7]
    samples, source_rate = read_file(path)
    mono = samples.mean(axis=1)
    if rate != source_rate:
        mono = soxr.resample(mono, source_rate, rate)
    wide = np.stack([mono * (1.0 - 0.1 * channel) for channel in range(channels)], axis=1)
    return np.clip(np.rint(wide * 32767), -32768, 32767).astype("<i2").tobytes()


def _unfinished_header(rate: int, channels: int) -> bytes:
    """What a recorder writes first, when it does not know yet how long the file will be."""
    width = 2 * channels
    return (
        struct.pack("<4sI4s", b"RIFF", 0xFFFFFFFF, b"WAVE")
        + struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * width, width, 16)
        + struct.pack("<4sI", b"data", 0xFFFFFFFF)
    )


def _pieces(pcm: bytes, rate: int, channels: int) -> list[bytes]:
    """Pieces of a tenth of a second that end in the middle of samples."""
    size = round(rate * PIECE_S) * 2 * channels
    cuts = [0, *(at - 1 for at in range(size, len(pcm), size)), len(pcm)]
    return [pcm[a:b] for a, b in itertools.pairwise(cuts)]


@pytest.mark.slow
def test_three_sources_say_what_classify_says(tmp_path: Path, data: Path) -> None:
    formats = {"a": (22_050, 1), "b": (44_100, 2)}
    events, ingest = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
    growing = {key: tmp_path / f"growing-{key}.wav" for key in formats}
    config = tmp_path / "daemon.toml"
    config.write_text(
        f"""
[daemon]
state_dir = "{tmp_path / "state"}"
[bus]
publish = ["{events}"]
[[source]]
name = "zmq"
type = "zmq"
bind = ["{ingest}"]
[[source]]
name = "mic"
type = "mic"
"""
        + "".join(
            f'[[source]]\nname = "file-{key}"\ntype = "filetail"\npath = "{path}"\nstart = "beginning"\n'
            for key, path in growing.items()
        ),
        encoding="utf-8",
    )
    audio = {key: _pcm(data, *audio_format) for key, audio_format in formats.items()}
    finished = {}
    for key, (rate, channels) in formats.items():
        finished[key] = tmp_path / f"finished-{key}.wav"
        with wave.open(str(finished[key]), "wb") as file:
            file.setnchannels(channels)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(audio[key])
        growing[key].write_bytes(_unfinished_header(rate, channels))
    expected = {
        (source, key): classify(finished[key], f"{source}-{key}", config)
        for source in ("file", "zmq")
        for key in formats
    }

    with running_pulse() as sink, DaemonProcess(config, env=sink.env) as daemon:
        listener = Listener(events)
        listener.start()
        assert listener.wait_for(lambda seen: any(e["subject"] == "mic" for e in seen), 30), daemon.text()
        writers = [
            threading.Thread(
                target=write_in_real_time, args=(growing[key], _pieces(audio[key], *formats[key]), PIECE_S)
            )
            for key in formats
        ]
        senders = [
            subprocess.Popen(
                [*STREAMCLS, "send", str(finished[key]), "--to", ingest, "--stream", f"zmq-{key}", "--realtime"]
            )
            for key in formats
        ]
        player = threading.Thread(target=sink.play, args=(finished["b"],))
        for thread in [*writers, player]:
            thread.start()
        for thread in [*writers, player]:
            thread.join(60)
        assert [sender.wait(60) for sender in senders] == [0, 0]
        windows = {key: [e for e in expected["file", key] if e["type"].endswith(".window")] for key in formats}
        for key in formats:
            # The last window may need samples that the resampler delivers at the end of a stream only, and a growing file has no end.
            enough = len(windows[key]) - 2

            def arrived(seen: list[dict[str, Any]], name: str = f"file-{key}", enough: int = enough) -> bool:
                return sum(e["subject"] == name and e["type"].endswith(".window") for e in seen) >= enough

            assert listener.wait_for(arrived, 20), daemon.text()
            assert listener.wait_for(lambda seen, name=f"zmq-{key}": any(_ended(e, name) for e in seen), 20), (
                daemon.text()
            )  # type: ignore[misc]
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.text()
        listener.wait_for(lambda seen: any(_ended(e, "file-a") for e in seen), 5)
        listener.halt()

    assert listener.holes == 0
    for key in formats:
        for kind in ("genre.window", "moderation.window"):
            want = [payload(e) for e in expected["zmq", key] if e["type"] == f"streamcls.{kind}"]
            assert len(want) > 20
            assert [payload(e) for e in listener.of(kind, f"zmq-{key}")] == want
            from_file = [payload(e) for e in listener.of(kind, f"file-{key}")]
            assert len(from_file) >= len(want) - 1
            assert from_file == want[: len(from_file)]
        for kind in ("genre.segment", "moderation.alert"):
            want = [payload(e) for e in expected["zmq", key] if e["type"] == f"streamcls.{kind}"]
            assert [payload(e) for e in listener.of(kind, f"zmq-{key}")] == want
            from_file = [e for e in listener.of(kind, f"file-{key}") if e["data"].get("reason") != "shutdown"]
            open_until_end = [
                e
                for e in expected["file", key]
                if e["type"] == f"streamcls.{kind}" and e["data"].get("reason") != "end of stream"
            ]
            assert [payload(e) for e in from_file] == [payload(e) for e in open_until_end]
        assert [
            e["data"]["reason"] for e in listener.of("genre.segment", f"file-{key}") if e["data"]["phase"] == "closed"
        ][-1] == "shutdown"
    heard = [e for e in listener.of("genre.window", "mic") if e["data"]["level_dbfs"] > -60]
    assert len(heard) > 15, daemon.text()
    assert all(e["data"]["started_at"] for e in heard)


def _ended(event: dict[str, Any], stream: str) -> bool:
    return (
        event["subject"] == stream and event["type"] == "streamcls.stream.status" and event["data"]["state"] == "ended"
    )
