"""Lines for systemd's journal and for machines."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from streamcls.service.logs import configure_logs, without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEVELS = [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3), (logging.CRITICAL, 2)]


def burn(text: str) -> None:
    raise OSError(text)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Any]:
    """A file that stands for the journal: standard error is it, and the environment says so."""
    with (tmp_path / "journal").open("w+", encoding="utf-8") as file:
        facts = os.fstat(file.fileno())
        environment = {"JOURNAL_STREAM": f"{facts.st_dev}:{facts.st_ino}"}

        def start(log_format: Any = "auto", level: str = "debug") -> None:
            configure_logs(level, file, log_format, environment)

        start.lines = lambda: (tmp_path / "journal").read_text(encoding="utf-8").splitlines()  # type: ignore[attr-defined]
        yield start


def test_in_the_journal_each_line_has_its_priority_and_no_time(journal: Any) -> None:
    journal()
    for level, _ in LEVELS:
        logging.getLogger("streamcls.x").log(level, "words")
    assert journal.lines() == [f"<{priority}>streamcls.x: words" for _, priority in LEVELS]


def test_in_the_journal_every_line_of_a_traceback_has_it(journal: Any) -> None:
    journal()
    try:
        burn("disk\non fire")
    except OSError:
        logging.getLogger("streamcls.x").exception("stream %s: it raised", "radio-1")
    lines = journal.lines()
    assert len(lines) > 4
    assert all(line.startswith("<3>") for line in lines)
    assert lines[-1] == "<3>on fire"


@pytest.mark.parametrize("log_format", ["auto", "text"])
def test_a_stream_that_is_not_the_journals_has_times(log_format: Any, tmp_path: Path) -> None:
    """The variable is inherited by processes whose standard error goes elsewhere."""
    with (tmp_path / "elsewhere").open("w", encoding="utf-8") as file:
        for named in ("1:2", "", "nonsense"):
            configure_logs("info", file, log_format, {"JOURNAL_STREAM": named})
            logging.getLogger("x").info("words")
    for line in (tmp_path / "elsewhere").read_text(encoding="utf-8").splitlines():
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w", line)
        assert line.endswith("INFO     x: words")


def test_text_is_text_in_the_journal_too(journal: Any) -> None:
    journal("text")
    logging.getLogger("x").info("words")
    assert journal.lines()[0].endswith("INFO     x: words")
    assert not journal.lines()[0].startswith("<")


def said(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_has_a_line_for_each_message_whatever_is_in_it() -> None:
    stream = io.StringIO()
    configure_logs("info", stream, "json", {})
    logging.getLogger("streamcls.worker").warning('two\nlines, "quoted", ü, %s', "\x1b[31m")
    (line,) = said(stream)
    assert line.pop("time")[10:11] == "T"
    assert line == {
        "level": "warning",
        "logger": "streamcls.worker",
        "message": 'two\nlines, "quoted", ü, \x1b[31m',
        "thread": "MainThread",
    }
    assert stream.getvalue().isascii()


@pytest.mark.parametrize(
    ("message", "values", "extra", "expected"),
    [
        ("stream %s: its pipeline raised", ("radio-1",), {}, {"stream": "radio-1"}),
        ("source %s: %s: %s", ("mic", "retrying", "x"), {}, {"source": "mic"}),
        ("subscriber %s is behind", ("webhook",), {}, {"subscriber": "webhook"}),
        ("upstream %s", ("x",), {}, {}),
        ("stream radio-1", (), {}, {}),
        ("words", (), {"stream": "a", "source": "b", "password": "c"}, {"stream": "a", "source": "b"}),
        ("stream %s", ("a",), {"stream": "b"}, {"stream": "b"}),
    ],
)
def test_json_says_whom_it_is_about(
    message: str, values: tuple[object, ...], extra: dict[str, str], expected: dict[str, str]
) -> None:
    stream = io.StringIO()
    configure_logs("info", stream, "json", {})
    logging.getLogger("x").error(message, *values, extra=extra)
    (line,) = said(stream)
    assert {key: line[key] for key in line.keys() - {"time", "level", "logger", "message", "thread"}} == expected


def test_json_has_the_exception_beside_the_message() -> None:
    stream = io.StringIO()
    configure_logs("info", stream, "json", {})
    try:
        burn("on fire")
    except OSError:
        logging.getLogger("x").exception("it raised")
    (line,) = said(stream)
    assert line["message"] == "it raised"
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("OSError: on fire")


def test_json_in_the_journal_has_the_priority_before_it(journal: Any) -> None:
    journal("json")
    logging.getLogger("x").error("words")
    (line,) = journal.lines()
    assert line.startswith("<3>{")
    assert json.loads(line[3:])["message"] == "words"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("https://ada:hunter22@example.org/hook failed", "hunter22"),
        ("GET https://example.org/?a=1&access_token=hunter22&b=2", "hunter22"),
        ("wss://example.org/x?Password=hunter22", "hunter22"),
        ("Authorization: Bearer hunter22hunter22", "hunter22"),
        ("https://example.org/?key=hunter22", "hunter22"),
    ],
)
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_proves_who_asks_is_not_shown(text: str, secret: str, log_format: Any) -> None:
    stream = io.StringIO()
    configure_logs("info", stream, log_format, {})
    try:
        burn(text)
    except OSError:
        logging.getLogger("x").exception("source %s: %s", text, text)
    assert secret not in stream.getvalue()
    assert "example.org" in stream.getvalue() or "Bearer" in stream.getvalue()


@pytest.mark.parametrize(
    "text",
    ["tcp://127.0.0.1:5757 is bound", "the key of desk: known", "stream a@b: c://", "the bearer of news", "x?a=1&b=2"],
)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert without_secrets(text) == text


class Gone(io.StringIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def write(self, _text: str) -> int:
        raise self._error


@pytest.mark.parametrize("log_format", ["auto", "text", "json"])
@pytest.mark.parametrize(
    "error", [BrokenPipeError(), OSError(5, "I/O"), ValueError("closed"), RuntimeError("reentrant call")], ids=repr
)
def test_where_nobody_reads_it_any_more_nothing_is_raised(log_format: Any, error: Exception) -> None:
    configure_logs("info", Gone(error), log_format, {})
    logging.getLogger("x").error("words")


def test_a_closed_stream_raises_nothing() -> None:
    stream = io.StringIO()
    configure_logs("info", stream)
    stream.close()
    configure_logs("info", stream)
    logging.getLogger("x").error("words")


def test_a_message_with_a_mistake_is_told_of_and_raises_nothing() -> None:
    stream = io.StringIO()
    configure_logs("info", stream)
    logging.getLogger("x").error("two %s %s", "one")  # noqa: PLE1206 - the mistake
    assert "a message of x cannot be shown (TypeError)" in stream.getvalue()


@pytest.mark.parametrize("how", ["exec 2>&-", "exec 2>/dev/full"])
def test_a_process_whose_standard_error_is_gone_goes_on(how: str) -> None:
    code = (
        "import logging\nfrom streamcls.service.logs import configure_logs\nconfigure_logs('info')\n"
        "for _ in range(1000): logging.getLogger('x').error('words')\nprint('done')"
    )
    result = subprocess.run(
        ["sh", "-c", f'{how}; exec "$0" -c "$1"', sys.executable, code], stdout=subprocess.PIPE, timeout=60, check=False
    )
    assert result.stdout == b"done\n"
    assert result.returncode == 0


def test_lines_of_many_threads_are_whole() -> None:
    stream = io.StringIO()
    configure_logs("info", stream, "json", {})

    def talk(number: int) -> None:
        for _ in range(200):
            logging.getLogger("x").info("stream %s: %s", number, "y" * 200)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
    assert sorted(line["stream"] for line in said(stream)) == sorted(str(n) for n in range(4) for _ in range(200))
