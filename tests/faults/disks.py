"""Faults of disks: the state folder read-only, full or gone, the journal deleted."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from stage import Seen, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = [
    "disk_full",
    "disk_full_at_start",
    "journal_deleted",
    "read_only_at_start",
    "read_only_while_running",
    "runtime_folder_full",
]

_SMALL_MB = 100


@contextmanager
def _mounted(place: Path, *arguments: str) -> Iterator[None]:
    """Mount something; skip where this may not."""
    place.mkdir(exist_ok=True)
    result = subprocess.run(["mount", *arguments, str(place)], capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"only root may write to the table of mounts: {result.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def _ext4(folder: Path) -> Iterator[None]:
    """Mount a small ext4 in a file as the state folder: a file system that makes itself read-only when it is in trouble."""
    image = folder / "disk.img"
    with image.open("wb") as file:
        file.truncate(_SMALL_MB << 20)
    result = subprocess.run(["mkfs.ext4", "-q", str(image)], capture_output=True, check=False)
    if result.returncode:
        pytest.skip("no ext4 can be made here")
    with _mounted(folder / "state", "-o", "loop,errors=remount-ro", str(image)):
        yield


def _fill(filler: Path) -> None:
    """Take every byte that is left."""
    for piece in (1 << 16, 512):
        with suppress(OSError), filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(piece))


def read_only_while_running(folder: Path) -> Seen:
    """The disk under the state folder aborts, as after an I/O error, and is read-only from one moment to the next."""
    with _ext4(folder), Stage(folder) as stage:
        stage.start()
        stage.settle()
        subprocess.run(["mount", "-o", "remount,abort", str(stage.state)], check=True)
        stage.hear("tape", 40)  # with an alert or two in it
        line = stage.line("journal", "ERROR")
        asked = stage.status("journal")
        doctor = stage.doctor("storage")
        assert doctor[0] == 1
        others = stage.witnessed()
        waits = stage.beat()["journal"]["unwritten"]
        assert waits
        exit_code = stage.stop()
    return Seen(
        "the state folder's disk becomes read-only while it runs",
        "an ext4 in a file (`errors=remount-ro`) is aborted with `mount -o remount,abort`,"
        " as the kernel does it after an I/O error",
        log=[line],
        status=asked.wrong,
        doctor=doctor[1],
        exits={"status": asked.exit, "doctor": doctor[0], "run, stopped by SIGTERM": exit_code},
        lost="nothing of what is published. What was published since is in memory (10000 events at most): "
        "a kill now costs late subscribers those, "
        f"and a followed file is read again from the last checkpoint. At that moment {waits} events waited",
        recovers="by itself once the disk can be written, as in the next one. An aborted ext4 is unmounted first: stop, repair, start",
        others=others,
    )


def read_only_at_start(folder: Path) -> Seen:
    """The state folder is read-only at the start, and writable later."""
    return _disk_that_comes_late(
        folder,
        "the state folder is read-only at the start",
        "a tmpfs is remounted `ro` before the start, and `rw` while the daemon runs",
        lambda state: _remount(state, "ro"),
        lambda state: _remount(state, "rw"),
    )


def disk_full_at_start(folder: Path) -> Seen:
    """The disk is full at the start, and has room later."""
    return _disk_that_comes_late(
        folder,
        "the disk is full at the start",
        f"a tmpfs of {_SMALL_MB} MiB as state folder is filled before the start, and emptied while the daemon runs",
        lambda state: _fill(state / "filler"),
        lambda state: (state / "filler").unlink(),
    )


def _remount(place: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(place)], check=True)


def _disk_that_comes_late(
    folder: Path, fault: str, injected: str, break_it: Callable[[Path], object], mend_it: Callable[[Path], object]
) -> Seen:
    state = folder / "state"
    with _mounted(state, "-t", "tmpfs", "-o", f"size={_SMALL_MB}m", "tmpfs"), Stage(folder) as stage:
        break_it(state)
        doctor = stage.doctor("storage")
        assert doctor[0] == 1
        stage.start()
        stage.settle()
        line = stage.line("journal", "ERROR")
        asked = stage.status("journal")
        told = stage.beat()["journal"]
        mend_it(state)
        stage.until(lambda: stage.beat()["journal"]["state"] == "ok", "a journal that is well again")
        stage.until(lambda: stage.beat()["journal"]["unwritten"] == 0, "a journal that has everything")
        well = stage.status()
        others = stage.witnessed()
        back = stage.line("can be written again")
        exit_code = stage.stop()
        assert exit_code == 0
    return Seen(
        fault,
        injected,
        log=[line, back],
        status=asked.wrong,
        doctor=doctor[1],
        exits={
            "doctor": doctor[0],
            "status": asked.exit,
            "status, once writable": well.exit,
            "run, stopped by SIGTERM": exit_code,
        },
        lost=f"nothing: the daemon starts and publishes; {told['unwritten']} events or more waited in memory and were written afterwards",
        recovers="by itself, as soon as it can be written",
        others=others,
    )


def disk_full(folder: Path) -> Seen:
    """The disk fills up while it runs, and has room again."""
    state = folder / "state"
    with _mounted(state, "-t", "tmpfs", "-o", f"size={_SMALL_MB}m", "tmpfs"), Stage(folder) as stage:
        stage.start()
        stage.settle()
        filler = state / "filler"
        _fill(filler)
        line = stage.line("journal", "ERROR")
        asked = stage.status("journal")
        doctor = stage.doctor("storage")
        assert doctor[0] == 1
        waits = stage.beat()["journal"]["unwritten"]
        filler.unlink()
        stage.until(lambda: stage.beat()["journal"]["state"] == "ok", "a journal that is well again")
        stage.until(lambda: stage.beat()["journal"]["unwritten"] == 0, "a journal that has everything")
        well = stage.status()
        others = stage.witnessed()
        back = stage.line("can be written again")
        exit_code = stage.stop()
    return Seen(
        "the disk is full",
        f"a tmpfs of {_SMALL_MB} MiB as state folder is filled to the last byte, and emptied again",
        log=[line, back],
        status=asked.wrong,
        doctor=doctor[1],
        exits={
            "status": asked.exit,
            "doctor": doctor[0],
            "status, with room": well.exit,
            "run, stopped by SIGTERM": exit_code,
        },
        lost=f"nothing: {waits} events waited in memory and were written afterwards",
        recovers="by itself, as soon as there is room",
        others=others,
    )


def journal_deleted(folder: Path) -> Seen:
    """Somebody removes the journal's files while it runs."""
    with Stage(folder) as stage:
        stage.start()
        stage.settle()
        before = stage.beat()["journal"]["journal"]
        for path in stage.state.glob("journal.sqlite3*"):
            path.unlink()
        line = stage.line("journal.sqlite3", "removed")
        stage.until(lambda: stage.beat()["journal"]["journal"] != before, "another journal")
        stage.until(lambda: stage.beat()["journal"]["state"] == "ok", "a journal that is well")
        others = stage.witnessed()
        assert (stage.state / "journal.sqlite3").exists()
        exit_code = stage.stop()
    return Seen(
        "the journal is deleted while it runs",
        "`rm journal.sqlite3*` in the state folder",
        log=[line],
        events=["daemon.heartbeat studio journal.journal is another identity"],
        exits={"run, stopped by SIGTERM": exit_code},
        lost="what the journal held, for subscribers that had not taken it yet: they are told so. Nothing of what is published",
        recovers="by itself: a new journal is begun at once",
        others=others,
    )


def runtime_folder_full(folder: Path) -> Seen:
    """There is no room for the sockets of subscribers in processes of their own."""
    place = folder / "run"
    more = f'[[subscriber]]\ntype = "jsonl"\npath = "{folder}/events.jsonl"\nisolate = true\n'
    with (
        _mounted(place, "-t", "tmpfs", "-o", "size=64k,nr_inodes=3", "tmpfs"),
        Stage(folder, more=more, env={"RUNTIME_DIRECTORY": str(place)}) as stage,
    ):
        for number in range(3):
            with suppress(OSError):
                (place / str(number)).touch()
        stage.start(feed=False)
        exit_code = stage.wait()
        lines = stage.lines()
        assert exit_code == 1, stage.tail()
        assert "Traceback" not in "".join(lines), stage.tail()
        for path in place.iterdir():
            path.unlink()
        subprocess.run(["mount", "-o", "remount,nr_inodes=1000", str(place)], check=True)
        stage.start()
        stage.settle()
        others = stage.witnessed()
        stopped = stage.stop()
    return Seen(
        "/run is full at the start",
        "`RUNTIME_DIRECTORY` is a tmpfs without a free inode; a subscriber is `isolate = true`, for which the daemon makes a socket there",
        log=lines[-1:],
        exits={"run": exit_code, "run, with room": stopped},
        lost="the start, in as many words; systemd tries again",
        recovers="with the next start, once there is room",
        others=others,
    )
