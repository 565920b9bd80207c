"""Log lines on standard error: for people at a terminal, for systemd's journal, or as JSON for machines."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

__all__ = ["LogFormat", "configure_logs", "set_level", "without_secrets"]

LogFormat: TypeAlias = Literal["auto", "text", "json"]

_COLOURS: Final = {
    logging.DEBUG: "2",
    logging.INFO: "",
    logging.WARNING: "33",
    logging.ERROR: "31",
    logging.CRITICAL: "1;31",
}
_PRIORITIES: Final = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""Lowest level and its priority in sd-daemon(3); what is below is 7."""
_DEBUG_PRIORITY: Final = 7
_TIME: Final = "%H:%M:%S"
_DATE_AND_TIME: Final = "%Y-%m-%d %H:%M:%S"
_JOURNAL: Final = "JOURNAL_STREAM"
_SUBJECTS: Final = ("stream", "source", "subscriber")
_ABOUT: Final = re.compile(rf"({'|'.join(_SUBJECTS)}) %s\b")
"""How a message begins that is about one of these: its first value is the name."""
_USER_INFO: Final = re.compile(r"(?<=://)[^/\s@\"']+@")
_QUERY: Final = re.compile(
    r"(?i)([?&;](?:[a-z0-9_.-]*(?:token|secret|passw(?:or)?d|passphrase|api-?key|signature)|pwd|key|sig)=)[^&;\s\"'#]+"
)
_BEARER: Final = re.compile(r"(?i)\b(bearer|basic) +[a-z0-9+/._~=-]{8,}")


def without_secrets(text: str) -> str:
    """Return a text without what addresses and headers in it carry to prove who asks: other people's code may have put it there."""
    text = _USER_INFO.sub("…@", text)
    text = _QUERY.sub(r"\1…", text)
    return _BEARER.sub(r"\1 …", text)


class _TextFormatter(logging.Formatter):
    """Lines with the time, and where they are kept also with the date; in colour on a terminal that wants it."""

    def __init__(self, *, terminal: bool, colour: bool) -> None:
        super().__init__("%(asctime)s %(levelname)-8s %(name)s: %(message)s", _TIME if terminal else _DATE_AND_TIME)
        self._colour = terminal and colour

    def format(self, record: logging.LogRecord) -> str:
        text = without_secrets(super().format(record))
        code = _COLOURS.get(record.levelno, "")
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and code else text


class _JournalFormatter(logging.Formatter):
    """Lines that begin with their priority, each of them, since the journal takes each for a message; it knows the time itself."""

    def __init__(self) -> None:
        super().__init__("%(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        prefix = _prefix(record)
        return "\n".join(prefix + line for line in without_secrets(super().format(record)).splitlines() or [""])


class _JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``message``, ``thread``; where known who it is about and ``exception``."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        facts: dict[str, str] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
            "thread": record.threadName or "",
            **{key: without_secrets(value) for key, value in _about(record).items()},
        }
        if record.exc_info:
            facts["exception"] = without_secrets(self.formatException(record.exc_info))
        text = json.dumps(facts, ensure_ascii=True)
        return _prefix(record) + text if self._journal else text


class _Handler(logging.StreamHandler["TextIO"]):
    """Writes where somebody may have hung up; that is not the concern of whoever has something to say."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        error = sys.exc_info()[1]
        if isinstance(error, (OSError, ValueError, RuntimeError)) and not isinstance(error, UnicodeError):
            return  # nobody reads it any more, it is closed, or a signal came while a line was written
        try:
            words = f"a message of {record.name} cannot be shown ({type(error).__name__}): {record.msg!r}"
            self.stream.write(_prefix(record) + ascii(without_secrets(words)) + "\n")
            self.stream.flush()
        except (OSError, ValueError, RuntimeError):
            return


def configure_logs(
    level: str,
    stream: TextIO | None = None,
    log_format: LogFormat = "auto",
    environment: Mapping[str, str] | None = None,
) -> None:
    """Send the log of streamcls and its plugins to ``stream`` (standard error).

    Parameters
    ----------
    level
        ``debug``, ``info``, ``warning`` or ``error``.
    log_format
        ``auto``: with priorities and without times where systemd's journal reads it, else as ``text``; ``text``: on a
        terminal with times and in colour, else with date and time; ``json``: an object a line.
    """
    environment = os.environ if environment is None else environment
    target = stream if stream is not None else sys.stderr
    root = logging.getLogger()
    root.setLevel(level.upper())
    if target is None:  # the process was started without one
        root.handlers[:] = [logging.NullHandler()]
        return
    handler = _Handler(target)
    journal = _is_journal(target, environment.get(_JOURNAL, ""))
    if log_format == "json":
        handler.setFormatter(_JsonFormatter(journal=journal))
    elif journal and log_format == "auto":
        handler.setFormatter(_JournalFormatter())
    else:
        handler.setFormatter(_TextFormatter(terminal=_is_terminal(target), colour=not environment.get("NO_COLOR")))
    root.handlers[:] = [handler]


def set_level(level: str) -> None:
    """Change the level of the log: ``debug``, ``info``, ``warning`` or ``error``."""
    logging.getLogger().setLevel(level.upper())


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (OSError, ValueError):
        return False


def _is_journal(stream: TextIO, named: str) -> bool:
    """Whether a stream is the one that systemd has connected with its journal, as ``$JOURNAL_STREAM`` names it: DEVICE:INODE."""
    try:
        facts = os.fstat(stream.fileno())
    except (OSError, ValueError):  # of ValueError: io.UnsupportedOperation, closed
        return False
    return named == f"{facts.st_dev}:{facts.st_ino}"


def _prefix(record: logging.LogRecord) -> str:
    priority = next((number for least, number in _PRIORITIES if record.levelno >= least), _DEBUG_PRIORITY)
    return f"<{priority}>"


def _about(record: logging.LogRecord) -> dict[str, str]:
    """Return whom a message is about: as its ``extra`` says, or as it begins."""
    about = {key: str(value) for key in _SUBJECTS if (value := getattr(record, key, None)) is not None}
    found = _ABOUT.match(record.msg) if isinstance(record.msg, str) else None
    if found and isinstance(record.args, tuple) and record.args:
        about.setdefault(found[1], str(record.args[0]))
    return about
