"""A line of figures every few seconds, written as it is taken."""

from __future__ import annotations

import csv
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from soaking import procfs
from soaking.rotation import Rotations
from streamcls.service.control_path import ControlError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from soaking.process import DaemonProcess

__all__ = ["COLUMNS", "AudioTally", "Sampler", "facts_of"]

COLUMNS: Final = (
    "t_s", "phase", "rss_kb", "anonymous_kb", "pss_kb", "uss_kb", "threads", "files", "cpu_s", "harness_cpu_s",
    "streams", "sent_s", "audio_s", "behind_s", "published", "waiting", "journal_bytes", "journal_first",
    "journal_position", "rotations", "unwritten", "dropped_samples", "waiting_s", "clips", "clip_bytes", "reloads",
    "refused", "reconnects", "wrong",
)  # fmt: skip
_SHARES_EVERY: Final = 6
"""The kernel walks all pages for them, so they are taken with each sixth sample."""


def facts_of(status: Mapping[str, Any]) -> dict[str, Any]:
    """Pick from what a daemon tells of itself; members that it does not have are left out."""
    streams = status.get("streams", {}).values()
    journal, clips = status.get("journal", {}), status.get("evidence", {})
    reload = status.get("reload", {})
    found = {
        "streams": len(streams),
        "published": status.get("published"),
        "waiting": status.get("waiting"),
        "journal_bytes": journal.get("bytes"),
        "journal_first": journal.get("first"),
        "journal_position": journal.get("position"),
        "unwritten": journal.get("unwritten"),
        "dropped_samples": sum(stream.get("dropped_samples", 0) for stream in streams),
        "waiting_s": round(max((stream.get("waiting_s", 0.0) for stream in streams), default=0.0), 2),
        "clips": clips.get("clips"),
        "clip_bytes": clips.get("bytes"),
        "reloads": reload.get("count"),
        "refused": reload.get("refused"),
        "wrong": len(status.get("wrong", ())),
    }
    return {key: value for key, value in found.items() if value is not None}


class AudioTally:
    """Adds up the audio that a daemon has worked on, from what it states of each stream; streams begin anew, and end.

    Attributes
    ----------
    seconds
        Over all streams that ever were; what an ended stream had since the look before is not counted.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._known: dict[str, float] = {}

    def note(self, streams: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the streams as a status tells of them."""
        for name, stream in streams.items():
            now, before = float(stream.get("audio_s", 0.0)), self._known.get(name, 0.0)
            self.seconds += now - before if now >= before else now
        self._known = {name: float(stream.get("audio_s", 0.0)) for name, stream in streams.items()}


class Sampler(threading.Thread):
    """Takes a sample every ``every_s`` seconds.

    Attributes
    ----------
    phase
        What the run is at; stands in each line.
    rows
        All samples so far.
    status
        What the daemon told last.
    wrong
        Each thing that the daemon said is wrong with it, with how many samples said so.
    unanswered
        Samples at which the daemon did not answer.
    """

    def __init__(
        self, path: Path, daemon: DaemonProcess, extra: Callable[[], dict[str, Any]], *, every_s: float = 5.0
    ) -> None:
        super().__init__(name="sampler", daemon=True)
        self.phase = "settling"
        self.rows: list[dict[str, Any]] = []
        self.status: dict[str, Any] = {}
        self.wrong: dict[str, int] = {}
        self.unanswered = 0
        self._path, self._daemon, self._extra, self._every_s = path, daemon, extra, every_s
        self.rotations = Rotations()
        self.audio = AudioTally()
        self._halt = threading.Event()
        self.begun = time.monotonic()

    def run(self) -> None:
        """Sample until halted, or until the daemon has ended."""
        with self._path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            number = 0
            while not self._halt.wait(max(0.0, self.begun + number * self._every_s - time.monotonic())):
                try:
                    row = self._sample(number)
                except (OSError, KeyError):
                    return  # the process has gone; who waits for it says so
                writer.writerow(row)
                file.flush()
                self.rows.append(row)
                number += 1

    def ask_now(self) -> dict[str, Any]:
        """Return what the daemon tells at this moment; nothing where it does not answer."""
        try:
            return self._daemon.ask("status")
        except ControlError:
            return {}

    def halt(self) -> None:
        """End."""
        self._halt.set()
        self.join(60)

    def _sample(self, number: int) -> dict[str, Any]:
        pid, row = self._daemon.pid, {"t_s": round(time.monotonic() - self.begun, 2), "phase": self.phase}
        memory = procfs.memory_kb(pid)
        row |= {"rss_kb": memory["rss"], "anonymous_kb": memory["anonymous"], "threads": memory["threads"]}
        row |= {"files": procfs.open_files(pid), "cpu_s": round(procfs.cpu_seconds(pid), 2)}
        row |= {"harness_cpu_s": round(time.process_time(), 2)}
        if number % _SHARES_EVERY == 0:
            row |= {f"{name}_kb": value for name, value in procfs.shares_kb(pid).items()}
        row |= self._extra()
        try:
            self.status = self._daemon.ask("status")
        except ControlError:
            self.unanswered += 1
            return row
        for text in self.status.get("wrong", ()):
            self.wrong[text] = self.wrong.get(text, 0) + 1
        self.audio.note(self.status.get("streams", {}))
        facts = facts_of(self.status) | {"audio_s": round(self.audio.seconds, 1)}
        if "journal_first" in facts:
            self.rotations.note(facts["journal_first"], facts["journal_position"])
        return row | facts | {"rotations": self.rotations.count}
