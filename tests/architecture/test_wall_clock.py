"""Durations, time-outs and pauses go by a clock that nobody sets. Who reads the time of day is named here, with the reason."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHOWN = "what it stamps is a time of day for people and other machines"
CAPTURED = "when audio was captured"
KEPT = "what is kept for days, over restarts, goes by the time of day on purpose"
COMPARED = "to compare it with the steady clocks, or to look at it"
REASONS = {
    "streamcls/bus/deadletters.py": SHOWN,
    "streamcls/bus/journal.py": KEPT,
    "streamcls/bus/numbering.py": "epochs sort by when they began",
    "streamcls/bus/outbox.py": SHOWN,
    "streamcls/bus/publisher.py": SHOWN,
    "streamcls/cli/people.py": "until when a mute is meant",
    "streamcls/daemon/busside.py": "handed to the publisher and to what people said",
    "streamcls/daemon/core.py": "handed on, and stamps heartbeats",
    "streamcls/daemon/watch.py": COMPARED,
    "streamcls/runtime/clocks.py": COMPARED,
    "streamcls/service/audit.py": SHOWN,
    "streamcls/service/doctor/clock.py": COMPARED,
    "streamcls/service/evidence.py": KEPT,
    "streamcls/service/people/kept.py": "names a file that is set aside",
    "streamcls/service/people/people.py": "mutes and silences end at a time of day",
    "plugins/streamcls_demo/source.py": CAPTURED,
    "plugins/streamcls_filetail/file.py": CAPTURED,
    "plugins/streamcls_filetail/source.py": CAPTURED,
    "plugins/streamcls_mic/source.py": CAPTURED,
    "plugins/streamcls_sqlite/report.py": "what is asked for by day",
    "plugins/streamcls_sqlite/subscriber.py": KEPT,
    "plugins/streamcls_webhook/sender.py": "signs with it, and is told by it when to come again",
    "plugins/streamcls_zmq/send.py": CAPTURED,
}
OF_TIME = {"time", "time_ns", "localtime", "gmtime", "ctime"}
OF_DATETIME = {"now", "utcnow", "today"}


def _reads(tree: ast.Module) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "time" and OF_TIME & {n.name for n in node.names}:
            return True
        if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
            continue
        if node.value.id == "time" and node.attr in {"time", "time_ns"}:
            return True
        if node.value.id in {"datetime", "date"} and node.attr in OF_DATETIME:
            return True
    return False


def _readers() -> set[str]:
    found = set()
    for path in [*(ROOT / "streamcls").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]:
        name = str(path.relative_to(ROOT))
        if not name.startswith("streamcls/training/") and _reads(ast.parse(path.read_text(encoding="utf-8"))):
            found.add(name)
    return found


def test_only_these_read_the_time_of_day() -> None:
    readers = _readers()
    assert not readers - REASONS.keys(), "use time.monotonic, or say here why the time of day is meant"
    assert not REASONS.keys() - readers, "these do not read it any more"


def test_the_check_sees_a_reader() -> None:
    for text in (
        "import time\nx = time.time()",
        "from time import time",
        "from datetime import datetime\ndatetime.now()",
    ):
        assert _reads(ast.parse(text))
    assert not _reads(ast.parse("import time\nx = time.monotonic()"))
