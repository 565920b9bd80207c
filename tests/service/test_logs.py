from __future__ import annotations

import io
import logging
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from streamcls.service.logs import configure_logs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("level", "expected"),
    [("debug", ["d", "i", "w", "e"]), ("info", ["i", "w", "e"]), ("warning", ["w", "e"]), ("error", ["e"])],
)
def test_the_level_says_what_is_shown(level: str, expected: list[str]) -> None:
    stream = io.StringIO()
    configure_logs(level, stream)
    log = logging.getLogger("streamcls.some.part")
    for name, text in [("debug", "d"), ("info", "i"), ("warning", "w"), ("error", "e")]:
        getattr(log, name)(text)
    assert [line.rpartition(": ")[2] for line in stream.getvalue().splitlines()] == expected


def test_a_line_has_time_level_and_origin() -> None:
    line = r"\d\d:\d\d:\d\d WARNING  streamcls_mic.source: source desk: 3\n"
    stream = io.StringIO()
    configure_logs("info", stream)
    logging.getLogger("streamcls_mic.source").warning("source %s: %d", "desk", 3)
    assert re.fullmatch(rf"\d{{4}}-\d\d-\d\d {line}", stream.getvalue()), "kept for months, so with the date"
    terminal = Terminal()
    configure_logs("info", terminal)
    logging.getLogger("streamcls_mic.source").info("source %s: %d", "desk", 3)
    assert re.fullmatch(line.replace("WARNING ", "INFO    "), terminal.getvalue())


@pytest.mark.parametrize(
    ("terminal", "no_colour", "coloured"), [(True, "", True), (True, "1", False), (False, "", False)]
)
def test_colour_only_on_a_terminal_that_wants_it(
    terminal: bool, no_colour: str, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", no_colour)
    stream = Terminal() if terminal else io.StringIO()
    configure_logs("info", stream)
    logging.getLogger("x").error("boom")
    logging.getLogger("x").info("calm")
    error, calm = stream.getvalue().splitlines()
    assert error.startswith("\x1b[31m") is coloured
    assert error.endswith("\x1b[0m") is coloured
    assert "\x1b" not in calm


def test_configuring_again_replaces_and_does_not_double() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure_logs("info", first)
    configure_logs("error", second)
    logging.getLogger("x").info("calm")
    logging.getLogger("x").error("boom")
    assert first.getvalue() == ""
    assert second.getvalue().count("boom") == 1
    assert "calm" not in second.getvalue()


def test_logs_go_to_standard_error() -> None:
    code = "import logging\nfrom streamcls.service.logs import configure_logs\nconfigure_logs('info')\nlogging.getLogger('x').info('calm')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == ""
    assert result.stderr.endswith("INFO     x: calm\n")
