"""``streamcls send``: a file, or raw PCM from standard input, to a ``zmq`` source."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from streamcls import AudioError, AudioFormat, Chunk
from streamcls.types import ENCODINGS as INPUT_ENCODINGS
from streamcls.types import Encoding
from streamcls_zmq.endpoints import endpoint_problem
from streamcls_zmq.ingest import ENCODINGS, END_OF_INDEX, stream_name_problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

__all__ = ["send"]

_STDIN: Final = "-"
_DEFAULT_CHANNELS: Final = 1
_DEFAULT_INPUT: Final[Encoding] = "pcm_s16le"
_MAX_AUDIO_BYTES: Final = 512 << 10
"""Audio of one message, so that it stays well below what a source accepts."""


@dataclass(frozen=True, slots=True)
class _Job:
    stream: str
    endpoint: str
    encoding: str
    chunk_ms: int
    first_sample: int
    realtime: bool
    no_end: bool
    timeout_s: float
    keys: Path | None


def _endpoint(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    problem = endpoint_problem(value, bind=False)
    if not problem and value.startswith("inproc://"):
        problem = "inproc reaches nobody outside this process"
    if problem:
        raise click.BadParameter(f"{value!r}: {problem}")
    return value


def _stream(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    problem = stream_name_problem(value)
    if problem:
        raise click.BadParameter(problem)
    return value


@click.command(short_help="Send audio to a zmq source.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--to",
    "endpoint",
    required=True,
    callback=_endpoint,
    metavar="ENDPOINT",
    help="Where a zmq source listens, e.g. tcp://127.0.0.1:5756.",
)
@click.option("--stream", required=True, callback=_stream, metavar="NAME", help="Name of the stream.")
@click.option("--realtime", is_flag=True, help="Take as long as the audio lasts, not as short as it goes.")
@click.option(
    "--encoding",
    type=click.Choice(ENCODINGS),
    default="pcm_f32le",
    show_default=True,
    help="Encoding on the wire. pcm_f32le loses nothing; pcm_s16le is exact for 16-bit audio.",
)
@click.option(
    "--chunk-ms",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    metavar="MS",
    help="Audio per message, in milliseconds.",
)
@click.option(
    "--first-sample",
    type=click.IntRange(0, END_OF_INDEX - 1),
    default=0,
    show_default=True,
    metavar="N",
    help="Index of the first sample.",
)
@click.option("--rate", type=click.IntRange(1, 768_000), metavar="HZ", help="Sample rate of raw input.")
@click.option("--channels", type=click.IntRange(1, 64), metavar="N", help="Channels of raw input [1].")
@click.option(
    "--input-encoding",
    type=click.Choice(list(INPUT_ENCODINGS)),
    help=f"Encoding of raw input [{_DEFAULT_INPUT}].",
)
@click.option("--no-end", is_flag=True, help="Leave the stream open after the last sample.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0.1, 86_400),
    default=10.0,
    show_default=True,
    metavar="S",
    help="Give up when nobody takes the audio for so many seconds.",
)
@click.option(
    "--keys",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Your file from streamcls keys add, where the daemon admits known keys only.",
)
def send(file: str, rate: int | None, channels: int | None, input_encoding: Encoding | None, **options: Any) -> None:
    """Send FILE's audio to a zmq source, or raw PCM from standard input where FILE is -.

    FILE may be of any format that FFmpeg reads. Rate and channels stay as they are.
    """
    from streamcls_zmq.sender import DeliveryError

    job = _Job(**options)
    if file != _STDIN:
        if (rate, channels, input_encoding) != (None, None, None):
            raise click.UsageError("--rate, --channels, --input-encoding are for raw input (FILE is -)")
        chunks = _read_file(Path(file), job)
    elif rate is None:
        raise click.UsageError("raw audio from standard input needs --rate")
    else:
        raw = AudioFormat(rate, channels or _DEFAULT_CHANNELS, input_encoding or _DEFAULT_INPUT)
        chunks = _read_raw(sys.stdin.buffer, raw, job)
    try:
        seconds, messages = _send(chunks, job)
    except (AudioError, DeliveryError) as error:
        raise click.ClickException(str(error)) from error
    what = f"{seconds:.2f} s of audio in {messages} messages"
    click.echo(f"sent {what} to {job.endpoint} as stream {job.stream}", err=True)


def _send(chunks: Iterator[Chunk], job: _Job) -> tuple[float, int]:
    """Send all chunks and, also when reading fails, the end; return seconds of audio and messages."""
    from streamcls.bus.keys import load_client_keys
    from streamcls_zmq.sender import DeliveryError, Sender, end_frames, message_frames, paced

    last: Chunk | None = None
    samples = messages = 0
    with Sender(job.endpoint, job.timeout_s, None if job.keys is None else load_client_keys(job.keys)) as sender:
        try:
            for chunk in paced(chunks) if job.realtime else chunks:
                sender.send(message_frames(chunk, job.encoding))
                last = chunk
                samples += len(chunk.samples)
                messages += 1
        except DeliveryError:
            last = None
            raise
        finally:
            if last is not None and not job.no_end:
                sender.send(end_frames(last, job.encoding))
    if last is None:
        raise AudioError("no audio on standard input")
    return samples / last.sample_rate, messages


def _chunk_length(job: _Job, rate: int, channels: int) -> int:
    most = _MAX_AUDIO_BYTES // (INPUT_ENCODINGS[job.encoding] * channels)
    return max(1, min(round(job.chunk_ms * rate / 1_000), most))


def _read_file(path: Path, job: _Job) -> Iterator[Chunk]:
    """Decode a file and cut it anew: chunks of the wanted length, the last one shorter."""
    import numpy as np

    from streamcls.audio.decode import decode_file

    began: float | None = None
    pending: list[Any] = []
    have = 0
    position = job.first_sample

    def cut(samples: Any, rate: int) -> Chunk:
        nonlocal began
        began = time.time() if began is None else began
        captured_at = began + (position - job.first_sample) / rate
        return Chunk(job.stream, samples, rate, position, captured_at)

    rate = 0
    for chunk in decode_file(path, job.stream):
        rate = chunk.sample_rate
        length = _chunk_length(job, rate, chunk.samples.shape[1])
        pending.append(chunk.samples)
        have += len(chunk.samples)
        if have < length:
            continue
        joined = np.concatenate(pending)
        done = 0
        while have - done >= length:
            yield cut(joined[done : done + length], rate)
            position += length
            done += length
        pending = [joined[done:]]
        have -= done
    if have:
        yield cut(np.concatenate(pending), rate)


def _read_raw(stream: BinaryIO, raw: AudioFormat, job: _Job) -> Iterator[Chunk]:
    """Read raw PCM as it comes; a chunk is as old as it is long when its last byte arrives."""
    from streamcls.audio import decode_pcm

    size = raw.bytes_per_sample
    length = _chunk_length(job, raw.sample_rate, raw.channels)
    position = job.first_sample
    while data := stream.read(length * size):
        rest = len(data) % size
        if rest:
            click.echo(f"left out: {rest} bytes at the end, no whole sample of {size} bytes", err=True)
        samples = decode_pcm(data[: len(data) - rest], raw)
        if len(samples):
            captured_at = time.time() - len(samples) / raw.sample_rate
            yield Chunk(job.stream, samples, raw.sample_rate, position, captured_at)
        position += len(samples)
