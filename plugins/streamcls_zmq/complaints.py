"""Log lines about what senders do wrong: the first at once, then at most one per kind and interval."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

__all__ = ["Complaints"]

_INTERVAL_S: Final = 10.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Kind:
    at: float
    unsaid: int = 0
    latest: str = ""


class Complaints:
    """Writes warnings, never more than one per kind in ten seconds. The caller bounds the number of kinds.

    Parameters
    ----------
    source
        Name of the source, with which every line begins.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._kinds: dict[str, _Kind] = {}

    def note(self, kind: str, text: str, now: float) -> None:
        """Complain of one more thing at a time in seconds."""
        known = self._kinds.get(kind)
        if known is None:
            self._kinds[kind] = _Kind(now)
            _log.warning("%s: %s", self._source, text)
        else:
            known.unsaid += 1
            known.latest = text

    def flush(self, now: float) -> None:
        """Say, for each kind whose turn it is, what happened since its last line."""
        for name, kind in list(self._kinds.items()):
            if now - kind.at < _INTERVAL_S:
                continue
            if not kind.unsaid:
                del self._kinds[name]
                continue
            _log.warning("%s: %s (%d such in %.0f s)", self._source, kind.latest, kind.unsaid, now - kind.at)
            self._kinds[name] = _Kind(now)
