"""Names as levels of MQTT topics and as ids for Home Assistant, such that two names never become one."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

__all__ = ["Message", "Topics", "level", "slug"]

_LONGEST: Final = 180
"""Bytes of an escaped name. MQTT allows 65535 for a whole topic; brokers and people have less patience."""
_NOT_PLAIN: Final = re.compile(rb"[^A-Za-z0-9._:@-]")
_NOT_ID: Final = re.compile(rb"[^A-Za-z0-9-]")


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be published. An empty retained payload removes what the broker retained."""

    topic: str
    payload: bytes
    retain: bool


def level(name: str) -> str:
    """Return a name as one level of a topic: what is no letter, digit or ``. _ : @ -`` becomes ``%`` and two hexadecimal digits.

    ``+``, ``#`` and ``/`` mean something in topics, so ``radio+1`` is ``radio%2B1``. Two names never have one level in common.
    """
    return _shortened(name, _NOT_PLAIN, "%", "%02X") or "%"


def slug(*names: str) -> str:
    """Return names as one id of letters, digits, ``_`` and ``-``, as Home Assistant wants it.

    What is no letter, digit or ``-`` becomes ``_`` and two hexadecimal digits; between two names stand two ``_``, which
    therefore nothing else gives.
    """
    return "__".join(_shortened(name, _NOT_ID, "_", "%02x") for name in names)


def _shortened(name: str, special: re.Pattern[bytes], mark: str, digits: str) -> str:
    raw = name.encode("utf-8", "surrogatepass")
    escaped = special.sub(lambda found: (mark + digits % found[0][0]).encode(), raw).decode("ascii")
    if len(escaped) <= _LONGEST:
        return escaped
    # No escaped name contains the mark followed by x.
    return f"{escaped[: _LONGEST // 2]}{mark}x{hashlib.sha256(raw).hexdigest()[:32]}"


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one daemon."""

    prefix: str
    daemon: str

    @property
    def availability(self) -> str:
        """``online`` or ``offline``."""
        return f"{self.prefix}/{level(self.daemon)}/availability"

    def genre(self, stream: str) -> str:
        """Return where it is said what plays."""
        return f"{self.of(stream)}/genre"

    def status(self, stream: str) -> str:
        """Return where it is said what has become of the stream."""
        return f"{self.of(stream)}/status"

    def alert(self, stream: str, label: str) -> str:
        """Return where it is said whether an alert of that label is open."""
        return f"{self.of(stream)}/alert/{level(label)}"

    def event(self, stream: str, kind: str) -> str:
        """Return where events of one kind are published as they come."""
        return f"{self.of(stream)}/event/{level(kind)}"

    def of(self, stream: str) -> str:
        """Return what the topics of a stream begin with."""
        return f"{self.prefix}/{level(self.daemon)}/{level(stream)}"
