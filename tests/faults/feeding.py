"""Audio in real time: a file that grows, and a sender over ZeroMQ."""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "chaos"))

import zmq
from tones import RATE, pieces

__all__ = ["PIECE_S", "RATE", "Tape", "Wire", "frames_of"]

PIECE_S = 0.1


class Tape(threading.Thread):
    """A file that grows in real time, as a recorder's does."""

    def __init__(self, path: Path, seed: int) -> None:
        super().__init__(daemon=True)
        self.path = path
        self._audio = pieces(seed, PIECE_S)
        self._halt = threading.Event()
        path.touch()

    def run(self) -> None:
        began, count = time.monotonic(), 0
        while not self._halt.is_set():
            with self.path.open("ab") as file:  # by its name each time: it may be another one by now
                file.write(next(self._audio))
            count += 1
            self._halt.wait(max(0.0, began + count * PIECE_S - time.monotonic()))

    def halt(self) -> None:
        self._halt.set()
        self.join()


def frames_of(stream: str, audio: bytes, first_sample: int, **header: object) -> list[bytes]:
    """Return a message of the ingest format; ``header`` overrides."""
    said = {"version": 1, "sample_rate": RATE, "channels": 1, "encoding": "pcm_s16le", "first_sample": first_sample}
    return [stream.encode(), json.dumps({**said, **header}).encode(), audio]


class Wire(threading.Thread):
    """A sender of the stream ``wire``, in real time, over the ingest port."""

    def __init__(self, port: int, seed: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._audio = pieces(seed, PIECE_S)
        self._halt = threading.Event()

    def run(self) -> None:
        with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
            socket.linger = 0
            socket.reconnect_ivl = 50
            socket.connect(f"tcp://127.0.0.1:{self._port}")
            began, count, index = time.monotonic(), 0, 0
            while not self._halt.is_set():
                audio = next(self._audio)
                message = frames_of("wire", audio, index, captured_at=time.time())
                while not self._halt.is_set():
                    with suppress(zmq.Again):
                        socket.send_multipart(message, zmq.NOBLOCK)
                        break
                    self._halt.wait(0.01)
                index += len(audio) // 2
                count += 1
                self._halt.wait(max(0.0, began + count * PIECE_S - time.monotonic()))

    def halt(self) -> None:
        self._halt.set()
        self.join()
