"""Who a client is and what it may see, and which part of a subscription that leaves. Pure: no socket, no file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from streamcls.bus.wire import SYNC_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "DOMAINS",
    "EVERYBODY",
    "KINDS",
    "NOBODY",
    "TOPIC_END",
    "Principal",
    "intersection",
    "kind_problem",
    "stream_problem",
]

DOMAINS: Final = ("publish", "replay", "ingest", "control")
"""What a key may be good for: receive events, ask for past ones, send audio; ``control`` (acknowledge, mute) goes with ``replay``."""

KINDS: Final = (
    "genre.window",
    "genre.segment",
    "moderation.window",
    "moderation.alert",
    "moderation.ack",
    "moderation.mute",
    "moderation.evidence",
    "signal.alert",
    "stream.status",
    "daemon.heartbeat",
    "daemon.journal",
    "daemon.evidence",
    "daemon.subscriber",
    "daemon.clock",
    "daemon.reload",
)
"""The kinds that exist without a stranger's policy. A permission for some streams and ``genre.*`` is spelt out with them."""

TOPIC_END: Final = b"/"
"""What every topic ends in on an endpoint with CURVE, so that no topic is the beginning of another one."""

_ABOUT_DAEMON: Final = "daemon."
_SYNC: Final = SYNC_PREFIX.encode()
_KIND: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\*?|\*")
_STREAM: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:@+-]{0,127}\*?|\*")


def kind_problem(pattern: str) -> str:
    """Say in a clause what is wrong with a pattern for kinds, or return an empty string."""
    return "" if _KIND.fullmatch(pattern) else f"{pattern[:60]!r} is no kind, expected e.g. moderation.alert or genre.*"


def stream_problem(pattern: str) -> str:
    """Say in a clause what is wrong with a pattern for streams, or return an empty string."""
    return "" if _STREAM.fullmatch(pattern) else f"{pattern[:60]!r} is no stream, expected e.g. radio-1 or radio-*"


@dataclass(frozen=True, slots=True)
class Principal:
    """A client that has shown that it holds a key.

    Attributes
    ----------
    name
        Its name in the folder of keys.
    key
        Its public key, 40 characters of Z85.
    domains
        Of :data:`DOMAINS`.
    kinds
        Kinds it may see: an exact one, or a beginning that ends in ``*`` or in a dot; empty for all.
    streams
        Streams it may see, or send to where ``domains`` has ``ingest``: an exact name, or a beginning that ends in ``*``; empty for all.
    """

    name: str
    key: str
    domains: frozenset[str] = field(default_factory=frozenset)
    kinds: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()

    @property
    def control(self) -> bool:
        """Whether it may acknowledge and mute."""
        return "control" in self.domains

    def allows(self, kind: str, stream: str) -> bool:
        """Say whether it may see an event.

        Events about the daemon (``daemon.…``) belong to no stream: ``streams`` does not apply to them, and where it is given they
        are allowed only if ``kinds`` names them.
        """
        if not self.domains:
            return False
        if self.streams and kind.startswith(_ABOUT_DAEMON):
            return any(pattern.startswith(_ABOUT_DAEMON) and _kind_fits(pattern, kind) for pattern in self.kinds)
        return (not self.kinds or any(_kind_fits(pattern, kind) for pattern in self.kinds)) and self.allows_stream(
            stream
        )

    def allows_stream(self, stream: str) -> bool:
        """Say whether a stream is among its streams."""
        if not self.domains:
            return False
        return not self.streams or any(_fits(*_split(pattern), stream) for pattern in self.streams)

    def topics(self, known: Iterable[str] = KINDS) -> frozenset[bytes]:
        """Return the beginnings of topics that it may see on an endpoint where topics end in :data:`TOPIC_END`.

        Parameters
        ----------
        known
            Kinds with which a beginning of kinds is spelt out where ``streams`` is given. An event of a kind that is neither here
            nor named in full by the permission is then not sent, though ``allows`` it.
        """
        if not self.domains:
            return frozenset()
        found: set[str] = set()
        for pattern in self.kinds or ("*",):
            kind, exact = _split_kind(pattern)
            if not self.streams:
                found.add(f"{kind}/" if exact else kind)
                continue
            for name in (kind,) if exact else [name for name in known if name.startswith(kind)]:
                if name.startswith(_ABOUT_DAEMON):
                    found.update([f"{name}/"] if pattern.startswith(_ABOUT_DAEMON) else [])
                else:
                    found.update(_stream_topic(name, *_split(stream)) for stream in self.streams)
        return frozenset(
            topic.encode() for topic in found if not any(topic != other and topic.startswith(other) for other in found)
        )


EVERYBODY: Final = Principal("everybody", "", frozenset(DOMAINS))
"""Whoever connects where there is no CURVE."""

NOBODY: Final = Principal("nobody", "")
"""A connection whose key is not, or no longer, known: nothing is allowed."""


def intersection(wanted: bytes, permitted: Iterable[bytes]) -> frozenset[bytes]:
    """Return the beginnings of topics that a subscription may really have.

    Parameters
    ----------
    wanted
        The beginning of topics that was asked for. ``_sync/`` and a token is always allowed, since that is no event.
    permitted
        From :meth:`Principal.topics`.
    """
    if wanted.startswith(_SYNC) and len(wanted) > len(_SYNC):
        return frozenset([wanted])
    found = set()
    for topic in permitted:
        if wanted.startswith(topic):
            return frozenset([wanted])
        if topic.startswith(wanted):
            found.add(topic)
    return frozenset(found)


def _split(pattern: str) -> tuple[str, bool]:
    """Return a pattern without its star, and whether it is exact."""
    return (pattern[:-1], False) if pattern.endswith("*") else (pattern, True)


def _split_kind(pattern: str) -> tuple[str, bool]:
    return (pattern, False) if pattern.endswith(".") else _split(pattern)


def _fits(name: str, exact: bool, value: str) -> bool:
    return value == name if exact else value.startswith(name)


def _kind_fits(pattern: str, kind: str) -> bool:
    return _fits(*_split_kind(pattern), kind)


def _stream_topic(kind: str, stream: str, exact: bool) -> str:
    return f"{kind}/{stream}{TOPIC_END.decode() if exact else ''}"
