"""Log lines for people on standard error."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["configure_logs"]

_COLOURS: Final = {
    logging.DEBUG: "2",
    logging.INFO: "",
    logging.WARNING: "33",
    logging.ERROR: "31",
    logging.CRITICAL: "1;31",
}


class _Formatter(logging.Formatter):
    def __init__(self, *, colour: bool) -> None:
        super().__init__("%(asctime)s %(levelname)-8s %(name)s: %(message)s", "%H:%M:%S")
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        code = _COLOURS.get(record.levelno, "")
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and code else text


def configure_logs(level: str, stream: TextIO | None = None) -> None:
    """Send the log of streamcls and its plugins to ``stream`` (standard error), in colour where that is a terminal."""
    target = stream or sys.stderr
    handler = logging.StreamHandler(target)
    handler.setFormatter(_Formatter(colour=target.isatty() and not os.environ.get("NO_COLOR")))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
