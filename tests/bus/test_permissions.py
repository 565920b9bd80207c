"""A permission means the same for one event as for a subscription, and a subscription never gets more than it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcls.bus.permissions import (
    DOMAINS,
    EVERYBODY,
    KINDS,
    NOBODY,
    TOPIC_END,
    Principal,
    intersection,
    kind_problem,
    stream_problem,
)


def who(kinds: tuple[str, ...] = (), streams: tuple[str, ...] = ()) -> Principal:
    return Principal("desk", "k" * 40, frozenset(["publish"]), kinds, streams)


@pytest.mark.parametrize(
    ("kinds", "streams", "kind", "stream", "allowed"),
    [
        ((), (), "moderation.alert", "radio-1", True),
        ((), (), "daemon.heartbeat", "studio", True),
        (("genre.*",), (), "genre.segment", "radio-1", True),
        (("genre.",), (), "genre.segment", "radio-1", True),
        (("genre.*",), (), "moderation.alert", "radio-1", False),
        (("genre.*",), (), "daemon.heartbeat", "studio", False),
        (("genre",), (), "genre.segment", "radio-1", False),
        (("moderation.alert",), (), "moderation.alert", "radio-1", True),
        (("moderation.alert",), (), "moderation.alerts", "radio-1", False),
        (("*",), (), "own.kind", "radio-1", True),
        ((), ("radio-1",), "genre.segment", "radio-1", True),
        ((), ("radio-1",), "genre.segment", "radio-10", False),
        ((), ("radio-*",), "genre.segment", "radio-10", True),
        ((), ("radio-*",), "genre.segment", "tv-1", False),
        ((), ("*",), "daemon.heartbeat", "studio", False),
        (("*",), ("radio-1",), "daemon.heartbeat", "radio-1", False),
        (("*", "daemon.heartbeat"), ("radio-1",), "daemon.heartbeat", "studio", True),
        (("*", "daemon.heartbeat"), ("radio-1",), "daemon.journal", "studio", False),
        (("daemon.*",), ("radio-1",), "daemon.journal", "studio", True),
    ],
)
def test_an_event_is_allowed(
    kinds: tuple[str, ...], streams: tuple[str, ...], kind: str, stream: str, *, allowed: bool
) -> None:
    assert who(kinds, streams).allows(kind, stream) is allowed


def test_nobody_may_see_nothing_and_everybody_all() -> None:
    assert not NOBODY.allows("genre.segment", "radio-1")
    assert not NOBODY.allows_stream("radio-1")
    assert NOBODY.topics() == frozenset()
    assert EVERYBODY.allows("moderation.alert", "radio-1")
    assert EVERYBODY.control
    assert EVERYBODY.topics() == {b""}
    assert set(DOMAINS) == EVERYBODY.domains


def test_redundant_beginnings_are_left_out() -> None:
    assert who(("genre.*", "genre.segment", "moderation.alert")).topics() == {b"genre.", b"moderation.alert/"}


@pytest.mark.parametrize(
    ("wanted", "real"),
    [
        (b"", {b"genre.", b"stream.status/"}),
        (b"genre.", {b"genre."}),
        (b"genre.segment/radio-1", {b"genre.segment/radio-1"}),
        (b"gen", {b"genre."}),
        (b"moderation.", set()),
        (b"stream.status", {b"stream.status/"}),
        (b"_sync/abc", {b"_sync/abc"}),
        (b"_sync/", set()),
        (b"_", set()),
    ],
)
def test_a_subscription_is_cut_down(wanted: bytes, real: set[bytes]) -> None:
    assert intersection(wanted, who(("genre.*", "stream.status")).topics()) == real


KIND_PATTERNS = st.sampled_from(
    [*KINDS, "*", "genre.*", "genre.", "moderation.*", "daemon.*", "d*", "genre.s*", "own.kind"]
)
STREAM_PATTERNS = st.sampled_from(["radio-1", "radio-10", "radio-*", "radio-1*", "tv", "*", "r*"])
STREAMS = st.sampled_from(["radio-1", "radio-10", "radio-2", "tv", "tv2", "studio"])


@given(
    st.lists(KIND_PATTERNS, max_size=3).map(tuple),
    st.lists(STREAM_PATTERNS, max_size=3).map(tuple),
    st.sampled_from(KINDS),
    STREAMS,
    st.integers(0, 40),
)
def test_what_is_sent_is_what_is_allowed_and_asked_for(
    kinds: tuple[str, ...], streams: tuple[str, ...], kind: str, stream: str, length: int
) -> None:
    principal = who(kinds, streams)
    topic = f"{kind}/{stream}".encode() + TOPIC_END
    for wanted in (topic[:length], b"genre.", b"moderation.alert/radio-1", b""):
        sent = any(topic.startswith(real) for real in intersection(wanted, principal.topics()))
        assert sent == (principal.allows(kind, stream) and topic.startswith(wanted))


@pytest.mark.parametrize("pattern", ["", "a/b", "**", "a*b", "genre.\n", "é", "a b", "x" * 200, "_sync/*", "."])
def test_a_pattern_that_could_be_misread_is_refused(pattern: str) -> None:
    assert kind_problem(pattern)
    assert stream_problem(pattern)
