"""What a configuration of the zmq source may say."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from streamcls_zmq.source import ZmqSource

Config = ZmqSource.Config


def test_one_endpoint_or_a_list_is_taken():
    one = Config(bind="tcp://127.0.0.1:5756", connect="ipc:///run/a", subscribe="radio-")
    several = Config(bind=["tcp://127.0.0.1:5756"], connect=["ipc:///run/a"], subscribe=["radio-"])

    assert one == several
    assert ZmqSource.preflight(one) == []


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://127.0.0.1:5756",
        "tcp://127.8.8.8:*",
        "tcp://localhost:0",
        "tcp://lo:5756",
        "tcp://[::1]:5756",
        "ipc:///run/streamcls/ingest",
        "ipc://@abstract",
        "inproc://here",
    ],
)
def test_an_endpoint_of_this_machine_may_be_bound(endpoint):
    assert ZmqSource.preflight(Config(bind=endpoint)) == []


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://*:5756",
        "tcp://0.0.0.0:5756",
        "tcp://[::]:5756",
        "tcp://192.168.1.7:5756",
        "tcp://eth0:1",
        "tcp://me.example:1",
    ],
)
def test_an_endpoint_that_others_reach_is_bound_only_on_demand(endpoint):
    (problem,) = ZmqSource.preflight(Config(bind=endpoint))

    assert endpoint in problem
    assert "insecure = true" in problem
    assert ZmqSource.preflight(Config(bind=endpoint, insecure=True)) == []


@pytest.mark.parametrize("endpoint", ["tcp://studio.example:5800", "tcp://10.0.0.7:1", "tcp://[2001:db8::1]:5800"])
def test_any_publisher_may_be_connected_to(endpoint):
    assert ZmqSource.preflight(Config(connect=endpoint)) == []


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        ("", "expected tcp://HOST:PORT"),
        ("127.0.0.1:5756", "expected tcp://HOST:PORT"),
        ("udp://127.0.0.1:5756", "expected tcp://HOST:PORT"),
        ("tcp://", "expected an address"),
        ("tcp://127.0.0.1", "expected tcp://HOST:PORT"),
        ("tcp://127.0.0.1:http", "expected tcp://HOST:PORT"),
        ("tcp://::1:5756", "in square brackets"),
        ("tcp://[127.0.0.1]:5756", "no IPv6 address"),
        ("tcp://127.0.0.1:65536", "the port is 65536"),
        ("tcp://127.0.0.1: 5756", "without blanks"),
        ("ipc:///" + "x" * 107, "the path has 108 bytes"),
    ],
)
@pytest.mark.parametrize("key", ["bind", "connect"])
def test_a_malformed_endpoint_is_named(key, endpoint, text):
    (problem,) = ZmqSource.preflight(Config(**{key: endpoint}))

    assert problem.startswith(f"{key} {endpoint!r}: ")
    assert text in problem


@pytest.mark.parametrize("endpoint", ["tcp://*:5756", "tcp://127.0.0.1:*", "tcp://127.0.0.1:0"])
def test_a_wildcard_cannot_be_connected_to(endpoint):
    (problem,) = ZmqSource.preflight(Config(connect=endpoint))

    assert "must be given" in problem


def test_all_problems_are_told_at_once():
    config = Config(bind=["tcp://*:1", "nonsense", "inproc://a", "inproc://a"], subscribe=["radio-"])

    assert [problem.split(" ")[0] for problem in ZmqSource.preflight(config)] == ["subscribe", "bind", "bind", "bind"]


def test_a_source_without_an_endpoint_is_a_problem():
    (problem,) = ZmqSource.preflight(Config())

    assert "neither bind nor connect" in problem


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_streams", 0),
        ("idle_s", 0),
        ("idle_s", float("nan")),
        ("idle_s", float("inf")),
        ("max_message_bytes", 100),
        ("max_message_bytes", 1 << 40),
        ("max_chunk_s", 0),
        ("reorder_s", -0.1),
        ("reorder_s", 3_600),
        ("receive_hwm", 0),
        ("bind", 5_756),
        ("bnd", "tcp://127.0.0.1:1"),
    ],
)
def test_a_value_out_of_its_bounds_is_refused(key, value):
    with pytest.raises(ValidationError, match=key):
        Config(**{key: value})
