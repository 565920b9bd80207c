"""The source on real sockets: PULL and SUB over tcp, ipc and inproc, and senders that misbehave."""

from __future__ import annotations

import json
import os
import socket as plain
import threading
import time
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import zmq

from streamcls import Chunk, EndOfStream, RetryableSourceError, Source, SourceContext, SourceError, StreamStatus
from streamcls_zmq.source import ZmqSource

LIMIT_S = 20.0
"""No test waits longer for what never comes."""


def message(stream: str = "a", first: int = 0, length: int = 160, value: float = 0.5, **more) -> list[bytes]:
    header = {"version": 1, "sample_rate": 16_000, "channels": 1, "encoding": "pcm_f32le", "first_sample": first}
    return [stream.encode(), json.dumps(header | more).encode(), np.full(length, value, "<f4").tobytes()]


@pytest.fixture
def make(tmp_path):
    def source(**settings) -> ZmqSource:
        return ZmqSource(ZmqSource.Config(**settings), SourceContext("ingest", tmp_path))

    return source


@pytest.fixture
def peer():
    """Make sockets of a sender that are closed at the end."""
    made = []

    def socket(kind: int, *, context: zmq.Context | None = None) -> zmq.Socket:
        made.append((context or zmq.Context.instance()).socket(kind))
        made[-1].linger = 0
        made[-1].sndtimeo = round(LIMIT_S * 1_000)
        return made[-1]

    yield socket
    for one in made:
        one.close()


def collect(source: ZmqSource, wanted: int, stop: threading.Event | None = None) -> list:
    """Run a source until it has yielded so many items."""
    stop = stop or threading.Event()
    guard = threading.Timer(LIMIT_S, stop.set)
    guard.start()
    items = []
    try:
        for item in source.items(stop):
            items.append(item)
            if len(items) == wanted:
                stop.set()
    finally:
        guard.cancel()
    assert len(items) == wanted, source.counters
    return items


def run_until(source: ZmqSource, done) -> list:
    """Run a source in this thread until a condition on it holds."""
    stop = threading.Event()
    items: list = []

    def watch() -> None:
        give_up = threading.Timer(LIMIT_S, stop.set)
        give_up.start()
        while not stop.is_set() and not done():
            stop.wait(0.005)
        give_up.cancel()
        stop.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    items.extend(source.items(stop))
    watcher.join()
    assert done(), source.counters
    return items


def free_port() -> int:
    with plain.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(params=["tcp", "ipc", "inproc"])
def endpoint(request, tmp_path) -> str:
    if request.param == "tcp":
        return f"tcp://127.0.0.1:{free_port()}"
    return f"ipc://{tmp_path}/in" if request.param == "ipc" else f"inproc://{tmp_path.name}"


def test_it_is_a_source(make):
    source = make(bind="inproc://x")

    assert isinstance(source, Source)
    assert source.live
    assert not make(bind="inproc://x", live=False).live


def test_audio_pushed_to_a_bound_endpoint_arrives(make, peer, endpoint):
    push = peer(zmq.PUSH)
    push.connect(endpoint)
    for index in range(3):
        push.send_multipart(message(first=160 * index, value=index / 4, captured_at=100.0 + index))

    items = collect(make(bind=endpoint), 3)

    assert [(item.stream, item.first_sample, item.captured_at) for item in items] == [
        ("a", 0, 100.0),
        ("a", 160, 101.0),
        ("a", 320, 102.0),
    ]
    assert np.concatenate([item.samples for item in items])[:, 0].tolist() == [0.0] * 160 + [0.25] * 160 + [0.5] * 160


def test_audio_of_a_publisher_arrives_filtered_by_stream(make, peer, endpoint):
    publisher = peer(zmq.XPUB)
    publisher.bind(endpoint)
    source = make(connect=endpoint, subscribe=["radio-", "b"])
    stop = threading.Event()
    items: list = []
    runner = threading.Thread(target=lambda: items.extend(collect(source, 2, stop)))
    runner.start()
    publisher.rcvtimeo = round(LIMIT_S * 1_000)
    assert {publisher.recv(), publisher.recv()} == {b"\x01radio-", b"\x01b"}
    for name in ("a", "radio-1", "tv-1", "b"):
        publisher.send_multipart(message(name))
    runner.join()

    assert [item.stream for item in items] == ["radio-1", "b"]


def test_one_source_binds_and_connects_at_several_places(make, peer, tmp_path):
    endpoints = [f"ipc://{tmp_path}/{name}" for name in "abcd"]
    source = make(bind=endpoints[:2], connect=endpoints[2:])
    publishers = []
    for endpoint in endpoints[2:]:
        publishers.append(peer(zmq.XPUB))
        publishers[-1].bind(endpoint)
        publishers[-1].rcvtimeo = round(LIMIT_S * 1_000)
    for name, endpoint in zip("ab", endpoints, strict=False):
        push = peer(zmq.PUSH)
        push.connect(endpoint)
        push.send_multipart(message(name))
    items: list = []
    runner = threading.Thread(target=lambda: items.extend(collect(source, 4)))
    runner.start()
    for name, publisher in zip("cd", publishers, strict=True):
        assert publisher.recv() == b"\x01"
        publisher.send_multipart(message(name))
    runner.join()

    assert sorted(item.stream for item in items) == ["a", "b", "c", "d"]
    assert len(source.endpoints) == 2


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this machine has no IPv6")
def test_a_numeric_ipv6_address_can_be_bound(make, peer):
    source = make(bind="tcp://[::1]:*")
    push = peer(zmq.PUSH)
    push.ipv6 = True

    def send() -> None:
        _wait_bound(source)
        push.connect(source.endpoints[0])
        push.send_multipart(message())

    sender = threading.Thread(target=send)
    sender.start()
    items = collect(source, 1)
    sender.join()
    assert [item.stream for item in items] == ["a"]


def test_a_port_that_is_taken_can_be_tried_again(make, peer):
    with plain.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        endpoint = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        source = make(bind=endpoint)
        with pytest.raises(RetryableSourceError, match=f"^bind {endpoint}: Address already in use; choose"):
            next(source.items(threading.Event()))
    push = peer(zmq.PUSH)
    push.connect(endpoint)
    push.send_multipart(message())

    assert len(collect(source, 1)) == 1


def test_an_ipc_path_is_not_taken_from_who_listens_there(make, peer, tmp_path):
    endpoint = f"ipc://{tmp_path}/in"
    owner = peer(zmq.PULL)
    owner.bind(endpoint)

    with pytest.raises(RetryableSourceError, match="somebody else listens there"):
        next(make(bind=endpoint).items(threading.Event()))
    push = peer(zmq.PUSH)
    push.connect(endpoint)
    push.send(b"still yours")
    owner.rcvtimeo = round(LIMIT_S * 1_000)
    assert owner.recv() == b"still yours"


def test_a_socket_file_left_behind_is_no_obstacle(make, peer, tmp_path):
    path = tmp_path / "in"
    with plain.socket(plain.AF_UNIX) as dead:
        dead.bind(str(path))
    push = peer(zmq.PUSH)
    push.connect(f"ipc://{path}")
    push.send_multipart(message())

    assert len(collect(make(bind=f"ipc://{path}"), 1)) == 1


@pytest.mark.parametrize("settings", [{}, {"bind": "tcp://0.0.0.0:5756"}, {"connect": "nonsense"}])
def test_what_preflight_refuses_is_never_opened(make, settings):
    with pytest.raises(SourceError, match=r"bind|connect") as caught:
        next(make(**settings).items(threading.Event()))
    assert not isinstance(caught.value, RetryableSourceError)
    assert "ingest" not in str(caught.value), "whoever tells of it names the source"


def test_an_endpoint_that_will_never_work_is_no_matter_of_time(make, tmp_path):
    endpoint = f"ipc://{tmp_path}/missing/in"

    with pytest.raises(SourceError, match=endpoint) as caught:
        next(make(bind=endpoint).items(threading.Event()))
    assert not isinstance(caught.value, RetryableSourceError)


@pytest.mark.parametrize("how", ["stop", "close"])
def test_at_the_end_the_endpoint_is_free_again(make, peer, how):
    port = free_port()
    push = peer(zmq.PUSH)
    push.connect(f"tcp://127.0.0.1:{port}")
    push.send_multipart(message())
    stop = threading.Event()
    items = make(bind=f"tcp://127.0.0.1:{port}").items(stop)
    assert isinstance(next(items), Chunk)
    assert not _is_free(port)

    if how == "stop":
        stop.set()
        assert list(items) == []
    else:
        items.close()
    # ZeroMQ closes what it listens on in a thread of its own, a moment later.
    deadline = time.monotonic() + LIMIT_S
    while not _is_free(port) and time.monotonic() < deadline:
        pass
    assert _is_free(port)


def _is_free(port: int) -> bool:
    with plain.socket() as probe:
        probe.setsockopt(plain.SOL_SOCKET, plain.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
    return True


def test_stop_is_seen_in_the_middle_of_a_flood(make, peer, endpoint):
    push = peer(zmq.PUSH)
    push.connect(endpoint)
    for index in range(500):
        push.send_multipart(message(first=160 * index))

    assert len(collect(make(bind=endpoint), 10)) == 10


def test_an_idle_stream_expires_by_the_clock(peer, tmp_path):
    clock = count(0, 0.1)
    source = ZmqSource(
        ZmqSource.Config(bind="inproc://idle", idle_s=1.0), SourceContext("ingest", tmp_path), lambda: next(clock)
    )
    push = peer(zmq.PUSH)
    push.connect("inproc://idle")
    push.send_multipart(message())

    chunk, status, end = collect(source, 3)
    assert isinstance(chunk, Chunk)
    assert status == StreamStatus("a", "stalled", "nothing received for 1 s")
    assert end == EndOfStream("a")
    assert source.counters["idle"] == 1


def test_no_stream_expires_while_the_daemon_keeps_the_source_waiting(peer, tmp_path):
    now = [0.0]
    source = ZmqSource(
        ZmqSource.Config(bind="inproc://slow", idle_s=1.0), SourceContext("ingest", tmp_path), lambda: now[0]
    )
    push = peer(zmq.PUSH)
    push.connect("inproc://slow")
    for index in range(3):
        push.send_multipart(message(first=160 * index))

    stop = threading.Event()
    items = source.items(stop)
    for _ in range(3):
        assert isinstance(next(items), Chunk)
        now[0] += 100.0
    stop.set()
    assert list(items) == []
    assert source.counters["idle"] == 0


def test_a_source_that_is_not_live_leaves_messages_with_the_sender(make, peer, tmp_path):
    endpoint = f"ipc://{tmp_path}/in"
    push = peer(zmq.PUSH)
    push.sndhwm = 1
    push.sndtimeo = 0
    push.connect(endpoint)
    source = make(bind=endpoint, live=False, receive_hwm=1)
    stop = threading.Event()
    items = source.items(stop)
    sent = 0
    blocked = threading.Event()

    def send_all() -> None:
        nonlocal sent
        while sent < 400:
            push.sndtimeo = 300 if not blocked.is_set() else round(LIMIT_S * 1_000)
            try:
                push.send_multipart(message(first=16_000 * sent, length=16_000))
                sent += 1
            except zmq.Again:
                blocked.set()
        blocked.set()

    sender = threading.Thread(target=send_all)
    sender.start()
    first = next(items)
    assert blocked.wait(LIMIT_S)
    assert sent < 400
    rest = [next(items) for _ in range(399)]
    sender.join()
    stop.set()
    items.close()
    assert [chunk.first_sample for chunk in (first, *rest)] == [16_000 * index for index in range(400)]
    assert source.counters["gaps"] == 0


def test_malformed_messages_do_not_hide_the_good_ones(make, peer, endpoint):
    push = peer(zmq.PUSH)
    push.connect(endpoint)
    good = message()
    bad = [
        [b""],
        [b"", b"", b""],
        good[:2],
        [*good, b"more"],
        [*good] * 1_000,
        [b"a" * 200, *good[1:]],
        [good[0], b"[" * 4_000, good[2]],
        [good[0], b"\xff\x00", good[2]],
        [*good[:2], good[2][:-1]],
        [*good[:2], bytes(1 << 20)],
        message(value=float("nan")),
        message(first=-1),
        message(version=7),
    ]
    for index, frames in enumerate(bad):
        push.send_multipart(frames)
        push.send_multipart(message(first=160 * index))

    source = make(bind=endpoint)
    items = collect(source, len(bad))
    assert [item.first_sample for item in items] == [160 * index for index in range(len(bad))]
    assert source.counters["malformed"] == len(bad)
    assert source.counters["malformed_frames"] == 4


def test_a_frame_beyond_all_measure_cuts_off_its_sender_only(make, peer, tmp_path):
    endpoint = f"ipc://{tmp_path}/in"
    monster, good = peer(zmq.PUSH), peer(zmq.PUSH)
    monster.reconnect_ivl = -1
    monitor = monster.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    source = make(bind=endpoint, max_message_bytes=1 << 16)

    def send() -> None:
        _wait_bound(source)
        monster.connect(endpoint)
        monster.send_multipart([b"monster", b"{}", bytes(1 << 20)])
        assert monitor.poll(round(LIMIT_S * 1_000))
        good.connect(endpoint)
        good.send_multipart(message())

    sender = threading.Thread(target=send)
    sender.start()
    items = collect(source, 1)
    sender.join()
    monster.disable_monitor()
    monitor.close()

    assert [item.stream for item in items] == ["a"]
    assert source.counters["messages"] == 1


def test_a_peer_that_does_not_speak_zeromq_is_survived(make, peer):
    port = free_port()
    random = np.random.default_rng(5)
    source = make(bind=f"tcp://127.0.0.1:{port}")
    strangers: list[plain.socket] = []
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
    ready = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x04PUSH"

    def disturb() -> None:
        texts = [
            b"",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            random.bytes(10_000),
            greeting,
            greeting + random.bytes(1_000),
            greeting + ready,
            greeting + ready + b"\x03" + b"\xff" * 8,
            greeting + ready + b"\x02" + (1 << 62).to_bytes(8, "big"),
            greeting + ready + b"\x01\x05hello",
            greeting + ready + b"\x00\x05hello",
        ]
        for text in texts:
            stranger = plain.create_connection(("127.0.0.1", port))
            strangers.append(stranger)
            stranger.sendall(text)
        push = peer(zmq.PUSH)
        push.connect(f"tcp://127.0.0.1:{port}")
        push.send_multipart(message())

    disturber = threading.Thread(target=lambda: (_wait_bound(source), disturb()))
    disturber.start()
    items = run_until(source, lambda: source.counters["chunks"] and source.counters["malformed_frames"])
    disturber.join()
    for stranger in strangers:
        stranger.close()

    assert [item.stream for item in items] == ["a"]
    assert source.counters["opened"] == 1


def _wait_bound(source: ZmqSource) -> None:
    deadline = time.monotonic() + LIMIT_S
    pause = threading.Event()
    while not source.endpoints and time.monotonic() < deadline:
        pause.wait(0.005)


def test_a_sender_that_shares_no_code_with_us_is_heard(make, tmp_path, request):
    """The Python example of the documentation, run as it stands in a process of its own."""
    import subprocess
    import sys

    page = Path(request.config.rootpath, "docs", "ingest-format.md").read_text("utf-8")
    (tmp_path / "sender.py").write_text(page.split("```python\n")[1].split("```")[0])
    endpoint = f"ipc://{tmp_path}/in"
    with subprocess.Popen([sys.executable, tmp_path / "sender.py", endpoint, "tone"], env=dict(os.environ)) as sender:
        items = collect(make(bind=endpoint), 11)
    assert sender.returncode == 0

    *chunks, end = items
    assert end == EndOfStream("tone")
    assert [chunk.first_sample for chunk in chunks] == list(range(0, 16_000, 1_600))
    expected = np.rint(16_384 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)) / 32_768
    assert np.array_equal(np.concatenate([chunk.samples for chunk in chunks])[:, 0], expected.astype(np.float32))
