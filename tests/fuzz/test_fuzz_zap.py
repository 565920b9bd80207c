"""Whatever is sent to the authenticator, it goes on answering, and lets in nobody whom it does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st
from secured import PATIENCE_MS, Bus, make_client
from zmq.utils import z85

from streamcls.bus import zap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamcls.bus.keys import ClientKeys

RAW = st.lists(st.binary(max_size=300), max_size=12)
VERSIONS = st.sampled_from([b"1.0", b"1.1", b"", b"1.0\0"])
TEXT = st.one_of(
    st.sampled_from([b"publish", b"replay", b"control", b"", b"CURVE", b"PLAIN", b"NULL"]), st.binary(max_size=300)
)
NEARLY = st.tuples(VERSIONS, TEXT, TEXT, TEXT, TEXT, TEXT, st.one_of(st.binary(min_size=32, max_size=32), TEXT)).map(
    list
)
REQUESTS = st.one_of(RAW, NEARLY, st.tuples(NEARLY, RAW).map(lambda both: both[0] + both[1]))


@pytest.fixture(scope="module")
def admitting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bus, ClientKeys]]:
    """Return an authenticator and the keys of the one client that it knows."""
    bus = Bus(tmp_path_factory.mktemp("zap") / "keys")
    keys = make_client(bus.folder, "desk")
    bus.security.reload()
    yield bus, keys
    bus.close()


@given(st.one_of(RAW, REQUESTS.map(lambda body: [b"id", b"", *body])))
def test_parsing_never_raises_and_what_it_accepts_has_an_answer(frames: list[bytes]) -> None:
    request = zap.parse_request(frames)
    if request is not None:
        assert zap.refused(request)[:2] == frames[:2]
        assert zap.refused(request)[3] == frames[3]
        assert len(request.key) in {0, 40}


@given(st.lists(REQUESTS, min_size=1, max_size=20))
@settings(deadline=None, max_examples=50)
def test_a_known_client_is_answered_after_anything(
    admitting: tuple[Bus, ClientKeys], requests: list[list[bytes]]
) -> None:
    bus, keys = admitting
    admitted = bus.security.counters["admitted"]
    with bus.context.socket(zmq.DEALER) as asking:
        asking.linger = 0
        asking.connect(zap.ENDPOINT)
        for request in requests:
            asking.send_multipart([b"", *request] if request else [b""])
        key = z85.decode(keys.public)
        asking.send_multipart([b"", b"1.0", b"last", b"publish", b"127.0.0.1", b"", b"CURVE", key])
        while True:
            assert asking.poll(PATIENCE_MS)
            answer = asking.recv_multipart()
            assert answer[:2] == [b"", b"1.0"]
            if answer[2] == b"last" and answer[3] == b"200":
                break
            assert answer[3:] == [b"300", b"refused", b"", b""]
    assert bus.security.counters["admitted"] == admitted + 1
