"""Faults at the start: a port that is taken, a configuration that may not be read, too few open files."""

from __future__ import annotations

import resource
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from daemon import Listener
from stage import AS_ANYBODY, Seen, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "configuration_not_readable",
    "few_open_files_at_start",
    "few_open_files_while_running",
    "ingest_port_taken",
    "publish_port_taken",
    "replay_port_taken",
    "second_daemon",
]


@contextmanager
def _taken(port: int) -> Iterator[None]:
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", port))
        somebody.listen()
        yield


def _port_taken(folder: Path, which: str, key: str, offset: int) -> Seen:
    with Stage(folder) as stage:
        with _taken(stage.port + offset):
            doctor = stage.doctor("ports")
            assert doctor[0] == 1
            stage.start(feed=False)
            refused = stage.wait()
            lines = stage.lines()
            assert refused == 1, stage.tail()
            assert "Traceback" not in "".join(lines)
        stage.start()
        stage.settle()
        others = stage.witnessed()
        exit_code = stage.stop()
    told = next(line for line in lines if "CRITICAL" in line)[len("00:00:00 ") :]
    assert str(stage.port + offset) in told
    return Seen(
        f"the port of `{key}` is taken at the start",
        f"another process listens at the {which} port",
        log=[told],
        doctor=doctor[1],
        exits={"doctor": doctor[0], "run": refused, "run, once free": exit_code},
        lost="the start; systemd tries again (`Restart=on-failure`)",
        recovers="with the next start, once the port is free",
        others=others,
    )


def publish_port_taken(folder: Path) -> Seen:
    """Somebody else has the bus's port."""
    return _port_taken(folder, "bus's", "[bus] publish", 0)


def replay_port_taken(folder: Path) -> Seen:
    """Somebody else has the port at which the past is asked for."""
    return _port_taken(folder, "answers'", "[bus] replay", 1)


def ingest_port_taken(folder: Path) -> Seen:
    """Somebody else has the port at which senders are awaited, and frees it later."""
    with Stage(folder) as stage:
        with _taken(stage.ingest_port):
            doctor = stage.doctor("ports")
            assert doctor[0] == 1
            stage.start(feed=False)
            line = stage.line("source wire", "retrying")
            event = stage.event("stream.status", "wire", state="retrying")
            asked = stage.status("source wire: retrying")
        stage.start_feeding()
        stage.settle()
        well = stage.status()
        others = stage.witnessed()
        exit_code = stage.stop()
    return Seen(
        "the port of a `zmq` source is taken at the start",
        "another process listens at the ingest port, and ends later",
        log=[line],
        events=[event],
        status=asked.wrong,
        doctor=doctor[1],
        exits={
            "doctor": doctor[0],
            "status": asked.exit,
            "status, once free": well.exit,
            "run, stopped by SIGTERM": exit_code,
        },
        lost="what senders cannot hand over meanwhile; they wait, or drop, as they are told to",
        recovers="by itself",
        others=others,
    )


def second_daemon(folder: Path) -> Seen:
    """A second daemon is started on the same configuration."""
    with Stage(folder) as stage:
        stage.start()
        stage.settle()
        second = stage.tool("run", str(stage.config))
        assert second.exit == 1, second.text
        assert "Traceback" not in second.text
        others = stage.witnessed()
        well = stage.status()
        exit_code = stage.stop()
    told = next(line for line in second.text.splitlines() if "CRITICAL" in line)[len("00:00:00 ") :]
    return Seen(
        "a second daemon is started on the same configuration",
        "`streamcls run` twice",
        log=[told],
        exits={"run, the second": second.exit, "status of the first": well.exit, "run, the first": exit_code},
        lost="nothing; the first does not notice",
        recovers="nothing has to",
        others=others,
    )


def configuration_not_readable(folder: Path) -> Seen:
    """The daemon's user may not read the configuration."""
    with Stage(folder, prefix=AS_ANYBODY) as stage:
        stage.config.chmod(0o000)
        doctor = stage.doctor("configuration", prefixed=True)
        check = stage.tool("check", str(stage.config), prefixed=True)
        stage.start(feed=False)
        exit_code = stage.wait()
        lines = stage.lines()
        assert exit_code == 78, stage.tail()
        assert "Permission denied" in "".join(lines)
        assert doctor[0] == 1
        assert check.exit == 78
        stage.config.chmod(0o600)
        stage.start()
        stage.settle()
        others = stage.witnessed()
        stopped = stage.stop()
    return Seen(
        "the configuration is not readable",
        "`chmod 000`; the daemon runs without the capabilities that let root pass over modes (`setpriv`)",
        log=lines,
        doctor=doctor[1],
        exits={"check": check.exit, "doctor": doctor[0], "run": exit_code, "run, once readable": stopped},
        lost="the start; systemd does not try again (`RestartPreventExitStatus=78`)",
        recovers="with a start by hand, once it can be read",
        others=others,
    )


def few_open_files_at_start(folder: Path) -> Seen:
    """The limit of open files is too low to start with."""
    with Stage(folder, prefix=("prlimit", "--nofile=40:40")) as stage:
        doctor = stage.doctor("system", prefixed=True)
        assert doctor[0] == 1
        stage.start(feed=False)
        exit_code = stage.wait()
        lines = stage.lines()
        assert exit_code == 1, stage.tail()
        assert "only 40 files may be open" in "".join(lines), stage.tail()
        assert "Traceback" not in "".join(lines), stage.tail()
        stage.prefix = []
        stage.start()
        stage.settle()
        others = stage.witnessed()
        stopped = stage.stop()
    return Seen(
        "too few open files at the start",
        "`prlimit --nofile=40:40`",
        log=lines,
        doctor=doctor[1],
        exits={"doctor": doctor[0], "run": exit_code, "run, with more": stopped},
        lost="the start; systemd tries again",
        recovers="with the next start, once the limit is higher (`LimitNOFILE=`). "
        "A soft limit that is too low is raised by the daemon itself, up to 4096",
        others=others,
    )


def few_open_files_while_running(folder: Path) -> Seen:
    """The limit of open files is reached while it runs."""
    with Stage(folder, tapes=("tape", "reel")) as stage:
        stage.start()
        stage.settle()
        assert stage.process is not None
        before = resource.prlimit(stage.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(stage.process.pid, resource.RLIMIT_NOFILE, (8, before[1]))
        fresh = folder / "fresh.raw"  # which the daemon now cannot open
        fresh.touch()
        fresh.rename(folder / "reel.raw")
        line = stage.line("source reel", "retrying")
        event = stage.event("stream.status", "reel", state="retrying")
        blind = stage.tool("status", str(stage.config))
        said = stage.line("nobody can ask now")
        late = Listener(f"tcp://127.0.0.1:{stage.port}")  # nor can anybody subscribe
        late.start()
        resource.prlimit(stage.process.pid, resource.RLIMIT_NOFILE, before)
        stage.hear("reel")
        stage.until(lambda: bool(late.events), "events for who subscribed meanwhile")
        late.halt()
        well = stage.status()
        others = stage.witnessed(but=["reel"])
        exit_code = stage.stop()
    return Seen(
        "too few open files while it runs",
        "`prlimit --nofile=8` on the running daemon, and a followed file is replaced, so that it must open one",
        log=[line, said],
        events=[event],
        status=blind.text.splitlines()[:1],
        exits={"status": blind.exit, "status, with the old limit": well.exit, "run, stopped by SIGTERM": exit_code},
        lost="nothing of a file; a live source misses what comes until it can be opened",
        recovers="by itself, once files can be opened",
        others=others,
    )
