"""``streamcls send`` as a user types it, into a real source."""

from __future__ import annotations

import io
import json
import threading
import wave
from typing import TYPE_CHECKING

import click
import numpy as np
import pytest
import zmq
from click.testing import CliRunner

import streamcls_zmq
from streamcls import AudioFormat, Chunk, EndOfStream, SourceContext
from streamcls.audio import decode_pcm
from streamcls_zmq.sender import paced
from streamcls_zmq.source import ZmqSource

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_S = 20.0


@pytest.fixture
def run():
    @click.group()
    def cli() -> None:
        """Stand in for the command line that the plugin is given."""

    streamcls_zmq.register_commands(cli)
    runner = CliRunner()

    def invoke(*arguments: str, data: bytes | None = None):
        return runner.invoke(cli, ["send", *map(str, arguments)], input=data)

    return invoke


class Receiver:
    """A source running in a thread until a stream ends or enough chunks have come."""

    def __init__(self, folder: Path) -> None:
        self.endpoint = f"ipc://{folder}/in"
        self.items: list = []
        self._stop = threading.Event()
        self._wanted: int | None = None
        (source_class,) = streamcls_zmq.register_sources()
        self._source = source_class(source_class.Config(bind=self.endpoint), SourceContext("ingest", folder))
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for item in self._source.items(self._stop):
            self.items.append(item)
            if isinstance(item, EndOfStream):
                self._stop.set()

    def until_end(self) -> list[Chunk]:
        self._thread.join(LIMIT_S)
        self.close()
        assert isinstance(self.items[-1], EndOfStream)
        return self.items[:-1]

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def counters(self) -> dict[str, int]:
        return self._source.counters


@pytest.fixture
def receiver(tmp_path):
    one = Receiver(tmp_path)
    yield one
    one.close()


def write_wav(path: Path, samples: np.ndarray, rate: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


@pytest.fixture
def recording() -> np.ndarray:
    """Every 16-bit value, in disorder, on two channels: shape (65536, 2)."""
    random = np.random.default_rng(3)
    values = np.arange(-32_768, 32_768)
    return np.stack([random.permutation(values), random.permutation(values)], axis=1)


@pytest.mark.parametrize("encoding", ["pcm_s16le", "pcm_s24le", "pcm_f32le"])
def test_a_sixteen_bit_file_arrives_bit_for_bit(run, receiver, tmp_path, recording, encoding):
    path = write_wav(tmp_path / "a.wav", recording, 44_100)

    result = run(path, "--to", receiver.endpoint, "--stream", "song", "--encoding", encoding)

    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "sent 1.49 s of audio in 15 messages" in result.stderr
    chunks = receiver.until_end()
    expected = decode_pcm(recording.astype("<i2").tobytes(), AudioFormat(44_100, 2, "pcm_s16le"))
    assert np.array_equal(np.concatenate([chunk.samples for chunk in chunks]), expected)
    assert [chunk.first_sample for chunk in chunks] == list(range(0, 65_536, 4_410))
    assert {(chunk.stream, chunk.sample_rate) for chunk in chunks} == {("song", 44_100)}


def test_the_wall_clock_advances_with_the_samples(run, receiver, tmp_path, recording):
    path = write_wav(tmp_path / "a.wav", recording[:16_000], 16_000)

    assert run(path, "--to", receiver.endpoint, "--stream", "a", "--first-sample", "500").exit_code == 0
    chunks = receiver.until_end()
    assert [chunk.first_sample for chunk in chunks] == list(range(500, 16_500, 1_600))
    assert np.diff([chunk.captured_at for chunk in chunks]) == pytest.approx([0.1] * 9, abs=1e-5)


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("pcm_u8", bytes(range(256))),
        ("pcm_s16le", bytes(range(256))),
        ("pcm_s24le", bytes(range(252))),
        ("pcm_s32le", bytes(range(256))),
        ("pcm_f32le", np.linspace(-1, 1, 64, dtype="<f4").tobytes()),
    ],
)
def test_raw_audio_of_any_encoding_comes_from_standard_input(run, receiver, encoding, data):
    arguments = ("-", "--to", receiver.endpoint, "--stream", "raw", "--rate", "1000", "--channels", "2")

    result = run(*arguments, "--input-encoding", encoding, "--chunk-ms", "7", data=data)

    assert result.exit_code == 0, result.output
    chunks = receiver.until_end()
    expected = decode_pcm(data, AudioFormat(1_000, 2, encoding))
    assert np.array_equal(np.concatenate([chunk.samples for chunk in chunks]), expected)
    assert all(chunk.captured_at is not None for chunk in chunks)
    assert len(chunks) == -(-len(expected) // 7)


def test_raw_audio_is_mono_and_sixteen_bit_unless_said_otherwise(run, receiver):
    assert run("-", "--to", receiver.endpoint, "--stream", "a", "--rate", "8000", data=b"\x00\x40" * 10).exit_code == 0
    (chunk,) = receiver.until_end()
    assert chunk.samples.tolist() == [[0.5]] * 10


def test_bytes_after_the_last_whole_sample_are_left_out_and_named(run, receiver):
    result = run("-", "--to", receiver.endpoint, "--stream", "a", "--rate", "8000", data=b"\x00\x40" * 10 + b"x")

    assert result.exit_code == 0
    assert "left out: 1 bytes at the end" in result.stderr
    (chunk,) = receiver.until_end()
    assert len(chunk.samples) == 10


def test_long_chunks_of_many_channels_stay_within_what_a_source_accepts(run, receiver):
    data = np.zeros(64 * 20_000, "<i2").tobytes()
    arguments = ("--rate", "48000", "--channels", "64", "--chunk-ms", "10000")

    assert run("-", "--to", receiver.endpoint, "--stream", "a", *arguments, data=data).exit_code == 0
    chunks = receiver.until_end()
    assert sum(len(chunk.samples) for chunk in chunks) == 20_000
    assert receiver.counters["malformed"] == 0


def test_without_an_end_the_stream_stays_open(run, tmp_path, recording):
    path = write_wav(tmp_path / "a.wav", recording[:1_000], 16_000)
    pull = zmq.Context.instance().socket(zmq.PULL)
    pull.rcvtimeo = round(LIMIT_S * 1_000)
    pull.bind(f"ipc://{tmp_path}/plain")

    for arguments in (["--no-end"], []):
        assert run(path, "--to", f"ipc://{tmp_path}/plain", "--stream", "a", *arguments).exit_code == 0
    received = [pull.recv_multipart() for _ in range(3)]
    pull.close()

    headers = [json.loads(frames[1]) for frames in received]
    assert [header.get("end", False) for header in headers] == [False, False, True]
    assert [len(frames[2]) for frames in received] == [8_000, 8_000, 0]
    assert headers[2]["first_sample"] == 1_000


def test_nobody_at_the_endpoint_is_an_error_that_names_it(run, tmp_path, recording):
    path = write_wav(tmp_path / "a.wav", recording, 16_000)
    endpoint = f"ipc://{tmp_path}/nobody"

    result = run(path, "--to", endpoint, "--stream", "a", "--timeout", "0.2")

    assert result.exit_code == 1
    assert f"{endpoint}: nobody answered within 0.2 s" in result.output


def test_a_peer_of_another_kind_is_nobody(run, tmp_path, recording):
    path = write_wav(tmp_path / "a.wav", recording, 16_000)
    with zmq.Context.instance().socket(zmq.PUB) as publisher:
        publisher.bind(f"ipc://{tmp_path}/bus")
        result = run(path, "--to", f"ipc://{tmp_path}/bus", "--stream", "a", "--timeout", "0.2")

    assert result.exit_code == 1
    assert "nobody answered" in result.output


@pytest.mark.parametrize(("seconds", "text"), [(1, "nobody took the rest"), (12, "nobody took the audio")])
def test_a_receiver_that_takes_nothing_is_an_error(run, tmp_path, seconds, text):
    with zmq.Context.instance().socket(zmq.PULL) as pull:
        pull.rcvhwm = 1
        pull.rcvbuf = 4_096
        pull.bind(f"ipc://{tmp_path}/full")
        data = np.zeros(768_000 * seconds // 10, "<i4").tobytes()
        arguments = ("--rate", "768000", "--input-encoding", "pcm_s32le", "--chunk-ms", "100", "--timeout", "0.3")
        result = run("-", "--to", f"ipc://{tmp_path}/full", "--stream", "a", *arguments, data=data * 10)
        pull.linger = 0

    assert result.exit_code == 1, result.output
    assert text in result.output


def test_a_file_that_is_no_audio_is_an_error_that_names_it(run, receiver, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"no audio at all")

    result = run(path, "--to", receiver.endpoint, "--stream", "a")

    assert result.exit_code == 1
    assert str(path) in result.output


def test_an_error_in_the_middle_still_ends_the_stream(run, receiver):
    samples = np.zeros(200, "<f4")
    samples[150] = np.nan
    arguments = ("--rate", "1000", "--input-encoding", "pcm_f32le")

    result = run("-", "--to", receiver.endpoint, "--stream", "a", *arguments, data=samples.tobytes())

    assert result.exit_code == 1
    assert "value 50 of pcm_f32le is nan" in result.output
    (chunk,) = receiver.until_end()
    assert len(chunk.samples) == 100


def test_no_audio_on_standard_input_is_an_error(run, receiver):
    result = run("-", "--to", receiver.endpoint, "--stream", "a", "--rate", "8000", data=b"")

    assert result.exit_code == 1
    assert "no audio on standard input" in result.output


WRONG_USAGE = {
    "no such file": ["missing.wav", "--to", "ipc:///x", "--stream", "a"],
    "no endpoint": ["-", "--stream", "a", "--rate", "8000"],
    "no stream": ["-", "--to", "ipc:///x", "--rate", "8000"],
    "a bad endpoint": ["-", "--to", "127.0.0.1:5756", "--stream", "a", "--rate", "8000"],
    "an endpoint in this process": ["-", "--to", "inproc://x", "--stream", "a", "--rate", "8000"],
    "a bad name": ["-", "--to", "ipc:///x", "--stream", "a/b", "--rate", "8000"],
    "raw without a rate": ["-", "--to", "ipc:///x", "--stream", "a"],
    "a rate for a file": [__file__, "--to", "ipc:///x", "--stream", "a", "--rate", "8000"],
    "a bad encoding": ["-", "--to", "ipc:///x", "--stream", "a", "--rate", "8000", "--encoding", "mp3"],
    "an index too large": ["-", "--to", "ipc:///x", "--stream", "a", "--rate", "8000", "--first-sample", str(1 << 53)],
}


@pytest.mark.parametrize("arguments", WRONG_USAGE.values(), ids=WRONG_USAGE)
def test_wrong_usage_is_exit_status_two(run, arguments):
    result = run(*arguments)

    assert result.exit_code == 2
    assert "Error: " in result.output


class FakeTime:
    """A clock that only sleeping, always a little too long, moves."""

    def __init__(self) -> None:
        self.now = 50.0
        self.naps: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds + 0.001


def chunks_of(count: int, first: int = 0) -> list[Chunk]:
    samples = np.zeros((100, 1), np.float32)
    return [Chunk("a", samples, 1_000, first + 100 * index) for index in range(count)]


def test_pacing_does_not_drift():
    time = FakeTime()
    left = [time.now for _ in paced(iter(chunks_of(1_000, first=77)), lambda: time.now, time.sleep)]

    assert np.array(left) - 50.0 == pytest.approx(np.arange(1, 1_001) * 0.1 + 0.001)


def test_pacing_catches_up_after_a_pause():
    time = FakeTime()
    left = []
    for index, _ in enumerate(paced(iter(chunks_of(6)), lambda: time.now, time.sleep)):
        left.append(round(time.now - 50.0, 2))
        if index == 1:
            time.now += 0.25
    assert left == [0.1, 0.2, 0.45, 0.45, 0.5, 0.6]


def test_audio_sent_in_real_time_arrives_whole(run, receiver):
    arguments = ("--rate", "1000", "--chunk-ms", "1", "--realtime")

    assert run("-", "--to", receiver.endpoint, "--stream", "a", *arguments, data=bytes(6)).exit_code == 0
    assert [chunk.first_sample for chunk in receiver.until_end()] == [0, 1, 2]


def test_the_hooks_offer_the_source_and_the_command(run):
    assert streamcls_zmq.register_sources() == [ZmqSource]
    help_text = run("--help")
    assert help_text.exit_code == 0
    assert "--realtime" in help_text.output
    assert io.StringIO(help_text.output).readline().startswith("Usage: ")
