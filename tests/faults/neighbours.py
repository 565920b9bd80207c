"""Faults of those beside the daemon: a web server that hangs, memory that ends."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zmq
from stage import RATE, Seen, Stage, frames_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["out_of_memory", "web_server_hangs"]

_MIB = 1 << 20
_GROUPS = Path("/sys/fs/cgroup/memory")
_WEBHOOK = """
[[subscriber]]
name = "hook"
type = "webhook"
url = "{url}/"
timeout_s = 2.0
spool = "{folder}/spool"
"""


def web_server_hangs(folder: Path) -> Seen:
    """The web server of a subscriber takes requests and answers none, for a while."""
    from http_receiver import Answer, receiving

    go_on = threading.Event()
    with (
        receiving(lambda _: Answer(after=go_on)) as receiver,
        Stage(folder, more=_WEBHOOK.format(url=receiver.url, folder=folder)) as stage,
    ):
        stage.start()
        stage.settle()
        receiver.wait_for(lambda requests: len(requests) >= 2)
        line = stage.line("hook", "WARNING")
        stage.hear("wire", 40)
        behind = stage.beat()["subscribers"]["hook"]
        during = stage.tool("status", str(stage.config), "--json")
        go_on.set()
        sent = {event["id"] for event in stage.listener.events if event["type"] == "streamcls.moderation.alert"}
        stage.until(lambda: bool(sent) and sent <= set(receiver.ids), "every alert at the server")
        well = stage.status()
        others = stage.witnessed()
        exit_code = stage.stop()
    return Seen(
        "a subscriber's web server hangs",
        "the server of a `webhook` takes requests and does not answer, and later does (`timeout_s = 2`)",
        log=[line],
        events=[f"daemon.heartbeat studio subscribers.hook = {behind}"],
        status=during.wrong,
        exits={"status": during.exit, "status, with answers": well.exit, "run, stopped by SIGTERM": exit_code},
        lost="nothing: events wait in the subscriber's outbox on the disk and are sent again, with the same Idempotency-Key",
        recovers="by itself",
        others=others,
    )


@contextmanager
def _memory(limit: int) -> Iterator[Path]:
    """Make a control group with that much memory; skip where this may not."""
    group = _GROUPS / f"faults-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(f"{limit}")
    except OSError as error:
        pytest.skip(f"no memory can be limited here: {error}")
    try:
        yield group
    finally:
        with suppress(OSError):
            group.rmdir()


def out_of_memory(folder: Path) -> Seen:
    """Senders take so much memory that the kernel ends it, and it is started anew."""
    with _memory(1 << 30) as group:
        into = ("sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(group))
        with Stage(folder, prefix=into) as stage:
            stage.start()
            stage.settle()
            used = int((group / "memory.usage_in_bytes").read_text())
            limit = used + _MIB
            (group / "memory.limit_in_bytes").write_text(f"{limit}")
            _burden(stage)
            exit_code = stage.wait()
            assert exit_code == -signal.SIGKILL
            first = stage.listener.events[-1]["epoch"]
            stage.prefix = []
            stage.start()
            stage.until(lambda: stage.listener.events[-1]["epoch"] != first, "another life")
            stage.hear("tape")
            line = stage.line("streams that go on", "tape")
            facts = stage.beat()["streams"]["tape"]
            assert (facts["gaps"], facts["lost_samples"]) == (0, 0)
            stopped = stage.stop()
    return Seen(
        "the kernel ends it for want of memory",
        f"a control group with {limit // _MIB} MiB, of which {used // _MIB} were in use, and a sender that opens 300 streams",
        log=[line],
        exits={"run": exit_code, "run, started anew and stopped by SIGTERM": stopped},
        lost="as with every kill: nothing of what was published, nothing of a file; of a live source what was to be heard meanwhile",
        recovers="systemd starts it anew; the file goes on where it was, without a window missing",
        others=f"`tape`: no gap; heard up to sample {facts['next_sample']} over both lives",
    )


def _burden(stage: Stage) -> None:
    """Open many streams, with ten seconds of audio each."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as sender:
        sender.linger = 10_000
        sender.connect(f"tcp://127.0.0.1:{stage.ingest_port}")
        for number in range(300):
            sender.send_multipart(frames_of(f"more-{number}", bytes(20 * RATE), 0))
