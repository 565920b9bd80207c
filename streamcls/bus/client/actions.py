"""What the core of a client wants done with its sockets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Action", "Ask", "Hush", "Listen", "Reconnect", "Unlisten"]


@dataclass(frozen=True, slots=True)
class Listen:
    """Subscribe to a topic on the present connection."""

    topic: bytes


@dataclass(frozen=True, slots=True)
class Unlisten:
    """Take that back."""

    topic: bytes


@dataclass(frozen=True, slots=True)
class Ask:
    """Send a request to a replay endpoint, over the connection that is there, if it leads to that endpoint."""

    endpoint: str
    request: bytes


@dataclass(frozen=True, slots=True)
class Hush:
    """Close the connection to the replay endpoint: no answer is wanted any more."""


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Replace every socket, and subscribe again."""


Action: TypeAlias = Listen | Unlisten | Ask | Hush | Reconnect
