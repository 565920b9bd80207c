"""The configuration of the source ``zmq``."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from streamcls import ComponentConfig
from streamcls_zmq.endpoints import endpoint_problem, is_loopback

__all__ = ["ZmqConfig", "config_problems"]


def _as_list(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Strings = Annotated[tuple[str, ...], BeforeValidator(_as_list)]
"""One string or a list of them."""


class ZmqConfig(ComponentConfig):
    """Where audio comes from and what a sender may ask for.

    Attributes
    ----------
    bind
        Endpoints at which senders (PUSH) are awaited; one or a list.
    connect
        Endpoints of publishers (PUB, XPUB) to subscribe to; one or a list.
    subscribe
        Prefixes of stream names wanted from ``connect``; the default is every stream.
    live
        True: a daemon that is behind drops audio, which shows as a gap. False: it leaves messages unread, so
        that senders at ``bind`` wait. (A publisher at ``connect`` never waits: it drops.)
    curve
        True: senders at ``bind`` have to hold a key of the domain ``ingest`` and may send the streams that it permits; this needs
        ``curve = true`` in ``[security]``. False: anybody may send. None: as ``[security]`` says.
    insecure
        Allows ``bind`` to an address that other machines reach, although senders are not authenticated.
    max_streams
        Streams at a time; further ones are refused until one has ended.
    idle_s
        A stream of which nothing came for so many seconds has ended.
    max_message_bytes
        Longest message accepted, all frames together.
    max_chunk_s
        Longest audio in one message, in seconds.
    reorder_s
        For how much later audio, and for how many seconds, a missing chunk is waited for before it is a gap.
        Also how far back a chunk may lie and still count as late, not as a sign that the sender began anew.
    receive_hwm
        Messages that ZeroMQ keeps unread, per sender.
    """

    bind: Strings = ()
    connect: Strings = ()
    subscribe: Strings = ("",)
    live: bool = True
    curve: bool | None = None
    insecure: bool = False
    max_streams: int = Field(default=1_000, ge=1, le=100_000)
    idle_s: float = Field(default=30.0, gt=0, le=86_400)
    max_message_bytes: int = Field(default=1 << 20, ge=1 << 10, le=1 << 28)
    max_chunk_s: float = Field(default=10.0, gt=0, le=600)
    reorder_s: float = Field(default=0.5, ge=0, le=10)
    receive_hwm: int = Field(default=1_000, ge=1, le=1_000_000)


def config_problems(config: ZmqConfig) -> list[str]:
    """Return everything that is wrong with a configuration, as sentences, without opening anything."""
    problems: list[str] = []
    if not config.bind and not config.connect:
        problems.append('neither bind nor connect is given: name an endpoint, e.g. bind = "tcp://127.0.0.1:5756"')
    if config.curve and not config.bind:
        problems.append("curve has no effect without bind: a publisher at connect is not authenticated")
    if config.curve and config.insecure:
        problems.append("curve and insecure contradict each other: leave one of them out")
    if not config.connect and config.subscribe != ("",):
        problems.append("subscribe has no effect without connect: senders at bind are not filtered")
    for key, endpoints in (("bind", config.bind), ("connect", config.connect)):
        for endpoint in dict.fromkeys(endpoints):
            problem = endpoint_problem(endpoint, bind=key == "bind")
            if problem:
                problems.append(f"{key} {endpoint!r}: {problem}")
            elif endpoints.count(endpoint) > 1:
                problems.append(f"{key} {endpoint!r} is listed {endpoints.count(endpoint)} times")
            elif key == "bind" and not (config.insecure or config.curve) and not is_loopback(endpoint):
                problems.append(
                    f"bind {endpoint!r} can be reached from other machines, and senders are not "
                    "authenticated: bind to 127.0.0.1, [::1] or an ipc path, say curve = true here and in [security], "
                    "or say insecure = true"
                )
    return problems
