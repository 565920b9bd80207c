"""Mutated messages against the ZeroMQ ingest.

``STREAMCLS_FUZZ`` multiplies the number of inputs: 1, the default, is a few thousand.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamcls import Chunk, EndOfStream, StreamStatus
from streamcls_zmq.config import ZmqConfig
from streamcls_zmq.ingest import REASONS, MalformedMessageError, parse_message
from streamcls_zmq.streams import StreamTable, new_counters

FACTOR = float(os.environ.get("STREAMCLS_FUZZ", "1"))
MUTATIONS = round(3_000 * FACTOR)
EXAMPLES = max(10, round(300 * FACTOR))
MAX_STREAMS = 8
MAX_WAITING_BYTES = 64 << 20
MAX_MESSAGE_BYTES = 1 << 14

ODD_VALUES = [
    None, True, False, 0, 1, -1, 2, 64, 65, 768_000, 768_001, 2**31, 2**32, 2**53 - 1, 2**53, 2**63, 2**64, 10**19,
    -(2**63), 0.0, -0.0, 0.5, 1e308, -1e-308, 1.0, "", "1", "pcm_s16le", "pcm_f32le", "\x00", "\ud800", "é" * 9,
    [], [1], {}, {"a": {}}, [[[[]]]], 1_700_000_000, 1_700_000_000_000,
]  # fmt: skip
ODD_TEXTS = [
    b"NaN", b"-Infinity", b"1e999", b"-1e999", b"9" * 400, b"-" + b"9" * 30, b"[" * 900, b'{"a":' * 300, b'"\\ud800"',
    b"\xff\xfe", b"\x00", b"1.", b"01", b"+1", b"0x10", b"1e5", b"'", b"nul", b"/**/", b"\xef\xbb\xbf",
]  # fmt: skip
NAMES = [b"a", b"b", b"c1", b"radio-1", b"..", b"", b"a/b", b"x" * 128, b"x" * 129, "é".encode(), b"\xff", b"a\n"]
KEYS = ["version", "sample_rate", "channels", "encoding", "first_sample", "captured_at", "end", "other"]
ENCODINGS = ["pcm_s16le", "pcm_s24le", "pcm_f32le"]


def valid(rng: random.Random, cursor: dict[bytes, int]) -> list[bytes]:
    """Return a message as a sender of good will makes it, mostly in order."""
    name = rng.choice([b"a", b"b", b"c1", b"radio-1", *(b"s%d" % number for number in range(20))])
    channels = rng.choice([1, 1, 1, 2, 64])
    encoding = rng.choice(ENCODINGS)
    length = rng.choice([0, 1, 2, 7, 40])
    first = max(0, cursor.get(name, 0) + rng.choice([0] * 8 + [-1, 1, -40, 40, 5_000, -5_000, 2**40]))
    first = min(first, 2**53 - 100)
    cursor[name] = first + length
    values = np.zeros(length * channels, "<f4")
    data = {"pcm_f32le": values.tobytes(), "pcm_s16le": bytes(2 * len(values)), "pcm_s24le": bytes(3 * len(values))}
    header = {
        "version": 1,
        "sample_rate": rng.choice([8_000, 8_000, 8_000, 1, 44_100, 768_000]),
        "channels": channels,
        "encoding": encoding,
        "first_sample": first,
        "captured_at": rng.choice([0, 1.5, 1_700_000_000.25, None]),
        "end": rng.random() < 0.05 or not length,
    }
    return [name, json.dumps(header).encode(), data[encoding]]


def mutate(rng: random.Random, frames: list[bytes]) -> list[bytes]:
    """Damage a message in one way."""
    frames = list(frames)
    match rng.randrange(9):
        case 0:  # flip, insert or remove bytes of one frame
            index = rng.randrange(len(frames)) if frames else 0
            if frames:
                damaged = bytearray(frames[index])
                for _ in range(rng.randint(1, 4)):
                    place = rng.randint(0, len(damaged))
                    kept = rng.choice([0, 1])
                    damaged[place : place + kept] = rng.randbytes(rng.choice([0, 1, 3]))
                frames[index] = bytes(damaged)
        case 1:  # another number of frames
            del frames[rng.randint(0, len(frames)) :]
        case 2:
            frames += [rng.randbytes(rng.randint(0, 20))] * rng.choice([1, 2, 50])
        case 3:  # another name
            frames[:1] = [rng.choice(NAMES)]
        case 4 | 5:  # a field with an odd value, missing or doubled
            frames[1:2] = [odd_field(rng, frames[1] if len(frames) > 1 else b"{}")]
        case 6:  # odd text in the JSON
            header = frames[1] if len(frames) > 1 else b"{}"
            place = rng.randint(0, len(header))
            frames[1:2] = [header[:place] + rng.choice(ODD_TEXTS) + header[place + rng.randint(0, 3) :]]
        case 7:  # any audio
            frames[2:3] = [rng.randbytes(rng.choice([0, 1, 2, 3, 4, 6, 12, 100, 128, 192, 256, 1 << 15]))]
        case 8:
            rng.shuffle(frames)
    return frames


def odd_field(rng: random.Random, header: bytes) -> bytes:
    try:
        fields = json.loads(header)
    except (ValueError, RecursionError):
        return header
    if not isinstance(fields, dict):
        return header
    key = rng.choice(KEYS)
    if rng.random() < 0.2:
        fields.pop(key, None)
        return json.dumps(fields).encode()
    if rng.random() < 0.1:
        return json.dumps(fields).encode()[:-1] + b', "%s": 1}' % key.encode()
    fields[key] = rng.choice(ODD_VALUES)
    return json.dumps(fields).encode()


class Checker:
    """A table of streams, and what must hold of it whatever it is fed."""

    def __init__(self) -> None:
        self.counters = new_counters()
        config = ZmqConfig(
            bind="inproc://x", max_streams=MAX_STREAMS, max_message_bytes=MAX_MESSAGE_BYTES, idle_s=3.0, reorder_s=0.2
        )
        self.table = StreamTable(config, "fuzz", self.counters)
        self.names = set(self.counters)
        self.ends: dict[str, int] = {}
        self.formats: dict[str, tuple[int, int]] = {}
        self.now = 0.0

    def feed(self, frames: list[bytes], pause: float) -> None:
        self.now += pause
        self.check(self.table.push(frames, self.now))
        self.check(self.table.expire(self.now))
        assert len(self.table) <= MAX_STREAMS
        assert 0 <= self.table.waiting_bytes <= MAX_WAITING_BYTES
        assert set(self.counters) == self.names
        assert min(self.counters.values()) >= 0
        assert self.counters["streams"] == len(self.table)
        assert self.counters["malformed"] == sum(self.counters[f"malformed_{reason}"] for reason in REASONS)

    def check(self, items: list) -> None:
        for item in items:
            match item:
                case Chunk():
                    kind = (item.sample_rate, item.samples.shape[1])
                    assert len(item.samples)
                    assert item.samples.dtype == np.float32
                    assert np.all(np.abs(item.samples) <= 1_000)
                    assert item.first_sample >= self.ends.get(item.stream, 0)
                    assert item.end_sample <= 2**53
                    assert self.formats.setdefault(item.stream, kind) == kind
                    self.ends[item.stream] = item.end_sample
                case EndOfStream():
                    assert item.stream in self.ends
                    del self.ends[item.stream], self.formats[item.stream]
                case StreamStatus():
                    assert item.state == "stalled"
                    assert item.stream in self.ends
                case _:
                    raise AssertionError(item)

    def finish(self) -> None:
        """After a long silence nothing is left."""
        self.check(self.table.expire(self.now + 1_000.0))
        assert (len(self.table), self.table.waiting_bytes, self.ends) == (0, 0, {})


def test_mutated_messages_never_break_the_table_of_streams():
    rng = random.Random(20_240_611)
    checker = Checker()
    cursor: dict[bytes, int] = {}
    damage: Counter[int] = Counter()
    for _ in range(MUTATIONS):
        frames = valid(rng, cursor)
        times = rng.choice([0, 0, 1, 1, 2, 4])
        damage[times] += 1
        for _ in range(times):
            frames = mutate(rng, frames)
        checker.feed(frames, rng.choice([0.0, 0.0, 0.01, 0.05, 0.3]))
    checker.finish()
    # The inputs are worth something: all reasons are met, and much gets through.
    assert all(checker.counters[f"malformed_{reason}"] for reason in REASONS)
    assert checker.counters["chunks"] > MUTATIONS // 10
    for name in ("late", "trimmed", "reordered", "gaps", "restarts", "ended", "refused", "idle"):
        assert checker.counters[name], name


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(ENCODINGS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner),
    max_leaves=12,
)
headers = st.one_of(
    st.binary(max_size=64),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {
            "version": st.just(1) | json_values,
            "sample_rate": st.integers(1, 768_000) | json_values,
            "channels": st.integers(1, 64) | json_values,
            "encoding": st.sampled_from(ENCODINGS) | json_values,
            "first_sample": st.integers(0, 2**53) | json_values,
        },
        optional={"captured_at": st.floats() | json_values, "end": st.booleans() | json_values},
    ).map(lambda value: json.dumps(value).encode()),
)
messages = st.one_of(
    st.lists(st.binary(max_size=64), max_size=5),
    st.tuples(st.sampled_from(NAMES) | st.binary(max_size=10), headers, st.binary(max_size=256)).map(list),
)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(messages)
def test_a_message_is_understood_or_refused_with_a_reason(frames):
    refused = None
    try:
        arrival = parse_message(frames, max_message_bytes=MAX_MESSAGE_BYTES, max_chunk_s=10.0)
    except MalformedMessageError as error:
        refused = error
    if refused is None:
        assert arrival.end or len(arrival.chunk.samples)
        assert 0 <= arrival.chunk.first_sample <= arrival.chunk.end_sample < 2**53
    else:
        assert refused.reason in REASONS
        assert str(refused).isprintable()
        assert len(str(refused)) < 500


@settings(max_examples=max(10, EXAMPLES // 10), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(messages, st.sampled_from([0.0, 0.1, 5.0])), max_size=20))
def test_any_sequence_of_messages_leaves_the_table_in_order(sequence):
    checker = Checker()
    for frames, pause in sequence:
        checker.feed(frames, pause)
    checker.finish()
