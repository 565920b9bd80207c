"""Checks whether every record of an audit log is there, in its place and as it was written, and every clip as well."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from streamcls.bus.wire import TYPE_PREFIX
from streamcls.service.audit import is_audited
from streamcls.service.chain import BEGINNING, predecessor_of, read_entries

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from streamcls.service.chain import Entry

__all__ = ["Fault", "Report", "verify_clips", "verify_log"]

_BLOCK: Final = 1 << 20
_MOST_FAULTS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong, and where."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(slots=True)
class Report:
    """What was found.

    Attributes
    ----------
    number, last
        Of the newest record: its number, its hash.
    clips
        SHA-256 by path, of every clip whose evidence was recorded.
    removed
        Why a clip was removed, by path, as far as it was recorded.
    seen
        Whether the hash that was noted elsewhere is in the chain, and how many records follow it; None where it is not.
    """

    files: list[str] = field(default_factory=list)
    records: int = 0
    events: int = 0
    number: int = 0
    last: str = ""
    clips: dict[str, str] = field(default_factory=dict)
    removed: dict[str, str] = field(default_factory=dict)
    intact: int = 0
    seen: int | None = None
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fault(self, where: str, what: str) -> None:
        """Note a fault; of very many only the first ones are kept."""
        if len(self.faults) < _MOST_FAULTS:
            self.faults.append(Fault(where, what))


def verify_log(path: Path, *, archived: bool = False, noted: str = "") -> Report:
    """Check a log and the older files that it goes on from.

    Parameters
    ----------
    path
        Its newest file; the older ones lie beside it.
    archived
        Older files have been moved away on purpose: the chain begins with the oldest that is there.
    noted
        Hash of a record that was noted elsewhere.

    Raises
    ------
    OSError
        A file cannot be read.
    """
    report = Report()
    walk = _Walk(report, noted)
    files = [path]
    while (name := predecessor_of(files[0])) is not None:
        older = path.with_name(name)
        if not older.is_file() or older in files or older.parent != path.parent:
            break
        files.insert(0, older)
    for file in files:
        report.files.append(file.name)
        for entry in read_entries(file):
            walk.take(f"{file.name} line {entry.line}", entry, archived=archived)
    report.number, report.last = walk.number, walk.last
    if not report.records:
        report.fault(path.name, "it holds no record")
    elif not walk.found:
        report.faults.clear()
        report.fault(
            path.name,
            f"none of its {report.records} lines is a record: it is no audit log (a configuration is named with --config), "
            "or all of it was overwritten",
        )
    return report


def verify_clips(report: Report, folder: Path) -> None:
    """Compare every clip that the log knows with the file in the folder."""
    for path, digest in report.clips.items():
        file = folder / path
        if not file.is_file():
            if path in report.removed:
                continue
            report.fault(path, "this clip is missing, and no record says that it was removed")
        elif _digest(file) != digest:
            report.fault(path, f"this clip has been changed: its SHA-256 is no longer {digest}")
        else:
            report.intact += 1
    known = set(report.clips)
    unknown = [str(f.relative_to(folder)) for f in sorted(folder.rglob("*.flac")) if f.is_file()]
    report.notes += [f"{path}: no record tells of this clip" for path in unknown if path not in known]


class _Walk:
    """Goes from record to record. After a fault it goes on from the record that stands there."""

    def __init__(self, report: Report, noted: str) -> None:
        self._report = report
        self._noted = noted
        self.number = self.found = 0
        self.last = ""
        self._computed = ""
        self._sequences: dict[tuple[str, str], int] = {}

    def take(self, where: str, entry: Entry, *, archived: bool) -> None:
        report, record = self._report, entry.record
        report.records += 1
        number = record.get("number") if record is not None else None
        if record is None or not isinstance(number, int):
            report.fault(where, "this is no record" if entry.whole else "it breaks off in the middle of a record")
            self.number, self.last = self.number + 1, ""
            return
        self.found += 1
        if not entry.whole:
            report.fault(where, f"the line of record {number} breaks off before its end")
        if entry.stated != entry.computed:
            report.fault(where, f"record {number} has been changed: its hash is not that of its content")
        self._link(where, record, number, archived=archived)
        if self._noted and report.seen is not None:
            report.seen += 1
        if self._noted in (entry.stated, entry.computed) and self._noted:
            report.seen = 0
        self.number, self.last, self._computed = number, entry.stated, entry.computed
        self._content(where, record)

    def _link(self, where: str, record: Mapping[str, Any], number: int, *, archived: bool) -> None:
        """Check that a record stands where it belongs."""
        report, previous, expected = self._report, record.get("previous"), self.number + 1
        first = report.records == 1
        if first and number != 1:
            if not archived:
                report.fault(where, f"the log begins with record {number}: records 1 to {number - 1} are not here")
        elif number > expected:
            gone = f"record {expected} is" if number == expected + 1 else f"records {expected} to {number - 1} are"
            report.fault(where, f"{gone} missing before record {number}")
        elif number < expected:
            report.fault(where, f"record {number} stands where record {expected} belongs")
        elif first:
            if previous != BEGINNING:
                report.fault(where, "record 1 claims that another is before it")
        elif self.last and previous not in (self.last, self._computed):
            report.fault(
                where,
                f"record {number} does not follow the record {self.number} that stands before it: one of the two was changed",
            )

    def _content(self, where: str, record: Mapping[str, Any]) -> None:
        if record.get("what") == "missed":
            self._report.notes.append(f"{where}: {record.get('events')} events were lost before they could be recorded")
            self._sequences.clear()
        if record.get("what") == "torn":
            self._report.notes.append(
                f"{where}: a record was torn by a crash; what was left of it is in {record.get('kept_as')}"
            )
        event = record.get("event")
        if not isinstance(event, dict) or not isinstance(event.get("data"), dict):
            return
        report, data = self._report, event["data"]
        kind = str(event.get("type", "")).removeprefix(TYPE_PREFIX)
        report.events += 1
        path, digest = data.get("path"), data.get("sha256")
        if kind == "moderation.evidence" and isinstance(path, str) and isinstance(digest, str):
            report.clips[path] = digest
            report.removed.pop(path, None)
        elif kind == "daemon.evidence" and data.get("state") == "removed" and isinstance(path, str):
            report.removed[path] = str(data.get("reason", ""))
        if is_audited(kind):
            self._sequence(where, event, kind)

    def _sequence(self, where: str, event: Mapping[str, Any], kind: str) -> None:
        """Every event of these kinds is recorded, so that their own numbers have no hole either."""
        topic, text = (str(event.get("epoch")), f"{kind}/{event.get('subject')}"), str(event.get("sequence"))
        if not (text.isascii() and text.isdigit()):
            return
        sequence, before = int(text), self._sequences.get(topic)
        if before is not None and sequence > before + 1:
            self._report.fault(
                where, f"{sequence - before - 1} events of {topic[1]} before number {sequence} were never recorded"
            )
        self._sequences[topic] = max(sequence, before or 0)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
