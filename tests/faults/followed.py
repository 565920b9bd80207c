"""Faults of followed files: truncated, replaced, not readable, full of bytes that are no audio."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from stage import AS_ANYBODY, RATE, Seen, Stage

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["file_not_readable", "file_replaced", "file_truncated", "garbage_in_a_file"]

_FLOATS = """
[[source]]
name = "floats"
type = "filetail"
path = "{path}"
poll_s = 0.05
format = {{ sample_rate = 8000, channels = 1, encoding = "pcm_f32le" }}
"""


def file_truncated(folder: Path) -> Seen:
    """A recorder empties its file in mid-programme and writes on."""
    with Stage(folder, tapes=("tape", "reel")) as stage:
        stage.start()
        stage.settle()
        (folder / "reel.raw").write_bytes(b"")  # opened with O_TRUNC
        event = stage.event("stream.status", "reel", state="gap")
        line = stage.line("reel", "truncated")
        stage.hear("reel")
        well = stage.status()
        others = stage.witnessed(but=["reel"])
        _one_jump(stage)
        exit_code = stage.stop()
    return Seen(
        "a followed file is truncated in mid-programme",
        "the file is opened with O_TRUNC while the recorder appends to it, and the recorder writes on",
        log=[line],
        events=[event],
        exits={"status": well.exit, "run, stopped by SIGTERM": exit_code},
        lost="what had been appended and not been read yet, at most 0.05 s here (`poll_s`); "
        "the index shows a gap, and what is open is closed by it",
        recovers="by itself, from the file's new beginning",
        others=others,
    )


def file_replaced(folder: Path) -> Seen:
    """Another file takes the place of the followed one, as log rotation does."""
    with Stage(folder, tapes=("tape", "reel")) as stage:
        stage.start()
        stage.settle()
        fresh = folder / "fresh.raw"
        fresh.touch()
        fresh.rename(folder / "reel.raw")
        event = stage.event("stream.status", "reel", state="gap")
        line = stage.line("reel", "replaced")
        stage.hear("reel")
        well = stage.status()
        others = stage.witnessed(but=["reel"])
        _one_jump(stage)
        exit_code = stage.stop()
    return Seen(
        "a followed file is replaced",
        "an empty file is renamed to its name (`mv`), and the recorder goes on in that one",
        log=[line],
        events=[event],
        exits={"status": well.exit, "run, stopped by SIGTERM": exit_code},
        lost="nothing: the old file is read to its end; the index shows a gap of one sample between the two",
        recovers="by itself",
        others=others,
    )


def _one_jump(stage: Stage) -> None:
    facts = stage.beat()["streams"]["reel"]
    assert facts["gaps"] == 1, facts
    assert stage.listener.holes == 0


def file_not_readable(folder: Path) -> Seen:
    """The daemon's user may not read the file, and is permitted to while it runs."""
    with Stage(folder, tapes=("tape", "reel"), prefix=AS_ANYBODY) as stage:
        reel = folder / "reel.raw"
        reel.chmod(0o000)
        stage.start()
        stage.hear("tape")
        event = stage.event("stream.status", "reel", state="retrying")
        line = stage.line("source reel", "retrying")
        asked = stage.status("source reel: retrying")
        reel.chmod(0o600)
        stage.hear("reel")
        well = stage.status()
        others = stage.witnessed()
        exit_code = stage.stop()
    return Seen(
        "an audio file is not readable",
        "`chmod 000`; the daemon runs without the capabilities that let root pass over modes (`setpriv`)",
        log=[line],
        events=[event],
        status=asked.wrong,
        exits={"status": asked.exit, "status, once readable": well.exit, "run, stopped by SIGTERM": exit_code},
        lost="nothing: it is read from its beginning once it can be",
        recovers="by itself: the file is tried again and again",
        others=others,
    )


def garbage_in_a_file(folder: Path) -> Seen:
    """A recorder writes floats that are no audio."""
    path = folder / "floats.raw"
    path.touch()
    with Stage(folder, sources=_FLOATS.format(path=path)) as stage:
        quiet = struct.pack("<f", 1e-4) * RATE * 2
        stage.start()
        _append(path, quiet)
        stage.settle()
        stage.until(lambda: bool(stage.windows("floats")), "a window of floats")
        _append(path, struct.pack("<f", float("nan")) * RATE)
        line = stage.line("floats", "dropped")
        _append(path, struct.pack("<f", float("inf")) * RATE + bytes(range(256)) * 64 + quiet)
        stage.until(lambda: stage.beat()["streams"]["floats"]["gaps"] >= 1, "a gap")
        stage.until(lambda: stage.windows("floats")[-1] > 4 * RATE, "windows behind the garbage")
        counters = stage.beat()["sources"]["floats"]["counters"]
        assert counters["bad_chunks"] >= 1
        lost = stage.beat()["streams"]["floats"]["lost_samples"]
        well = stage.status()
        others = stage.witnessed()
        exit_code = stage.stop()
    return Seen(
        "a file holds floats that are no audio",
        "one second of not-a-number, one of infinity and 16 KiB of counting bytes between quiet samples of `pcm_f32le`",
        log=[line],
        events=[
            f"daemon.heartbeat studio sources.floats.counters.bad_chunks = {counters['bad_chunks']}, streams.floats.lost_samples = {lost}"
        ],
        exits={"status": well.exit, "run, stopped by SIGTERM": exit_code},
        lost=f"the chunks with such samples: {lost} samples here, as a gap",
        recovers="by itself, with the next chunk that is audio",
        others=others,
    )


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
