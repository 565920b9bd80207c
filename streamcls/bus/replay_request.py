"""What somebody may ask the replay endpoint, checked. Pure: no socket, no file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from streamcls.errors import BusError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LARGEST_REQUEST", "MOST_EVENTS", "Request", "RequestError", "parse_request"]

LARGEST_REQUEST: Final = 1 << 16
"""Bytes; a peer that sends a longer frame is disconnected."""
MOST_EVENTS: Final = 1_000
"""In one page."""
_USUAL_EVENTS: Final = 500
_LONGEST_NAME: Final = 64
_LONGEST_TEXT: Final = 512
_MOST_FILTERS: Final = 100
_MOST_REPORTED: Final = 1_000
_LARGEST_NUMBER: Final = 1 << 53


class RequestError(BusError):
    """A request that is not answered.

    Attributes
    ----------
    code
        One of ``malformed``, ``unknown_op``, ``not_allowed``, ``journal_failed``, ``journal_changed``.
    facts
        Further members of the answer.
    """

    def __init__(self, code: str, text: str, facts: Mapping[str, Any] | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.facts = dict(facts or {})


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose common members are sound.

    Attributes
    ----------
    id
        The asker's own name for it, which the answer repeats.
    client
        What the asker calls itself.
    kinds, streams
        Beginnings of kinds, and names or shell patterns; empty: all.
    limit
        Most events wanted.
    missed
        Events that the asker reports as lost on the way, in all.
    members
        Everything that stood in it.
    """

    id: str
    op: str
    client: str
    kinds: tuple[str, ...]
    streams: tuple[str, ...]
    limit: int
    missed: int
    members: Mapping[str, Any]

    def text(self, name: str, default: str | None = None) -> str:
        """Return a member that is text of at most 512 characters."""
        return _text(self.members, name, default, _LONGEST_TEXT)

    def number(self, name: str, default: int) -> int:
        """Return a member that is a whole number of at least 0."""
        return _number(self.members, name, default)


def parse_request(frame: bytes) -> Request:
    """Read a request.

    Raises
    ------
    RequestError
        Whatever is wrong with it; nothing else is raised.
    """
    if len(frame) > LARGEST_REQUEST:
        raise RequestError("malformed", f"the request has {len(frame)} bytes, expected at most {LARGEST_REQUEST}")
    try:
        members = json.loads(frame.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise RequestError("malformed", f"the request is no JSON: {str(error)[:_LONGEST_TEXT]}") from None
    if not isinstance(members, dict):
        raise RequestError("malformed", "the request is no JSON object")
    return Request(
        _text(members, "request", "", _LONGEST_NAME),
        _text(members, "op", None, _LONGEST_NAME),
        _text(members, "client", "", _LONGEST_NAME) or "unnamed",
        _filters(members, "kinds"),
        _filters(members, "streams"),
        min(MOST_EVENTS, max(1, _number(members, "limit", _USUAL_EVENTS))),
        _missed(members.get("missed", {})),
        members,
    )


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _text(members: Mapping[str, Any], name: str, default: str | None, longest: int) -> str:
    value = members.get(name, default)
    if not isinstance(value, str) or len(value) > longest or not value.isprintable():
        raise RequestError("malformed", f"{name} must be text of at most {longest} characters")
    return value


def _number(members: Mapping[str, Any], name: str, default: int) -> int:
    value = members.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or (value != default and not 0 <= value < _LARGEST_NUMBER):
        raise RequestError("malformed", f"{name} must be a whole number from 0")
    return value


def _filters(members: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = members.get(name, [])
    sound = isinstance(value, list) and len(value) <= _MOST_FILTERS
    if not sound or not all(isinstance(part, str) and len(part) <= _LONGEST_TEXT for part in value):
        raise RequestError("malformed", f"{name} must be a list of at most {_MOST_FILTERS} texts")
    return tuple(value)


def _missed(value: Any) -> int:
    if not isinstance(value, dict) or len(value) > _MOST_REPORTED:
        raise RequestError("malformed", f"missed must be an object of at most {_MOST_REPORTED} topics")
    return sum(_number(value, topic, 0) for topic in value)
