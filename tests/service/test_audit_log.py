from __future__ import annotations

import hashlib
import json
import resource
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from streamcls.config import load_config, parse_config
from streamcls.errors import StreamclsError
from streamcls.service.audit import AuditLog, configuration_digest, is_audited
from streamcls.service.chain import BEGINNING, read_entries, seal, unseal
from streamcls.service.verify import Report, verify_clips, verify_log
from streamcls.testing import example_envelopes
from streamcls.testing.envelopes import make_envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from streamcls.bus.wire import Envelope

CONFIGURATION = "c0" * 32


def alert(sequence: int, stream: str = "radio-1", **more: Any) -> Envelope:
    example = next(e for e in example_envelopes() if e["type"] == "streamcls.moderation.alert")
    data = {**example["data"], "id": f"{sequence:032x}", "label": "Säge", **more}
    return make_envelope("moderation.alert", data, stream=stream, sequence=sequence, position=10 + sequence)


def evidence(sequence: int, path: str, content: bytes) -> Envelope:
    example = next(e for e in example_envelopes() if e["type"] == "streamcls.moderation.evidence")
    data = {**example["data"], "path": path, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    return make_envelope("moderation.evidence", data, sequence=sequence, position=100 + sequence)


def removal(sequence: int, path: str, content: bytes) -> Envelope:
    data = {"state": "removed", "reason": "max_mb", "stream": "radio-1", "alert_id": "9f" * 16, "path": path}
    data["sha256"] = hashlib.sha256(content).hexdigest()
    return make_envelope("daemon.evidence", data, stream="studio", sequence=sequence, position=200 + sequence)


def opened(path: Path, **options: Any) -> AuditLog:
    return AuditLog(path, configuration=CONFIGURATION, clock=lambda: 1_767_225_600.0, **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "audit.jsonl"


@pytest.fixture
def log(path: Path) -> Iterator[AuditLog]:
    made = opened(path)
    yield made
    made.close()


def records(path: Path) -> list[dict[str, Any]]:
    return [dict(entry.record or {}) for entry in read_entries(path)]


def faults(path: Path, **options: Any) -> list[str]:
    return [str(fault) for fault in verify_log(path, **options).faults]


def test_of_every_kind_of_event_it_records_those_that_matter(log: AuditLog, path: Path) -> None:
    examples = example_envelopes()
    for event in examples:
        log.handle(event)
    kinds = {"moderation.alert", "moderation.evidence", "moderation.ack", "moderation.mute", "daemon.evidence"}
    expected = [e for e in examples if e["type"].removeprefix("streamcls.") in kinds]
    begin, *rest = records(path)
    assert (begin["number"], begin["what"], begin["predecessor"], begin["previous"]) == (1, "begin", None, BEGINNING)
    assert [record["event"] for record in rest] == expected
    assert [record["number"] for record in rest] == list(range(2, len(expected) + 2))
    assert is_audited("my.own.alert")
    assert not is_audited("genre.segment")


def test_a_record_bears_what_was_in_force(log: AuditLog, path: Path) -> None:
    for event in example_envelopes():
        log.handle(event)
    for record in records(path)[1:]:
        data = record["event"]["data"]
        assert record["configuration"] == CONFIGURATION
        assert record["position"] == int(record["event"]["position"])
        assert record["time"] == "2026-01-01T00:00:00.000Z"
        if "thresholds" in data:
            assert record["thresholds"] == data["thresholds"]
            assert (record["model_sha256"], record["front_end_sha256"]) == ("11" * 32, "22" * 32)
        assert record.get("clip_sha256") == data.get("sha256")


def test_the_chain_can_be_followed_with_sha256sum_alone(log: AuditLog, path: Path) -> None:
    """What the documentation says of the hash, done by tools that are not ours."""
    for number in range(1, 4):
        log.handle(alert(number))
    script = r"""
    previous=$(printf '0%.0s' $(seq 64))
    while IFS= read -r line; do
        stated=$(printf '%s' "$line" | sed -E 's/.*,"hash":"([0-9a-f]{64})"\}$/\1/')
        computed=$(printf '%s' "$line" | sed -E 's/,"hash":"[0-9a-f]{64}"\}$/}/' | sha256sum | cut -d' ' -f1)
        case "$line" in *"\"previous\":\"$previous\""*) ;; *) echo "broken"; exit 1;; esac
        [ "$stated" = "$computed" ] || { echo "changed"; exit 1; }
        previous=$stated
    done < "$1"
    echo "$previous"
    """
    done = subprocess.run(["bash", "-c", script, "-", str(path)], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == log.last == verify_log(path).last


def test_over_restarts_the_chain_goes_on_and_nothing_is_recorded_twice(path: Path) -> None:
    for start in range(4):
        log = opened(path)
        for number in range(1, 5 + start):
            log.handle(alert(number))
            log.handle(alert(number))
        log.close()
    assert [r["event"]["sequence"] for r in records(path)[1:]] == [str(n) for n in range(1, 8)]
    assert faults(path) == []


def test_positions_that_begin_anew_are_no_reason_to_pass_an_event_over(log: AuditLog, path: Path) -> None:
    """A journal that was set aside counts from 1 again, in the same epoch or another."""
    log.handle(alert(1) | {"position": "900"})
    log.handle(alert(2) | {"position": "1"})
    assert [r["position"] for r in records(path)[1:]] == [900, 1]


@pytest.mark.parametrize("cut", [1, 5, 200, 600])
def test_a_torn_last_line_is_kept_aside_and_a_record_says_so(path: Path, cut: int) -> None:
    log = opened(path)
    for number in (1, 2, 3):
        log.handle(alert(number))
    log.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    torn = whole[:-cut].rpartition(b"\n")[2]
    assert "breaks off" in faults(path)[0]
    log = opened(path)
    log.handle(alert(3))
    log.handle(alert(4))
    log.close()
    assert faults(path) == []
    assert [r["what"] for r in records(path)] == ["begin", "event", "event", "torn", "event", "event"]
    said = records(path)[3]
    assert (path.parent / said["kept_as"]).read_bytes() == torn
    assert (said["bytes"], said["sha256"]) == (len(torn), hashlib.sha256(torn).hexdigest())


def test_a_torn_first_line_is_kept_aside_as_well(path: Path) -> None:
    log = opened(path)
    log.open()
    log.close()
    path.write_bytes(path.read_bytes()[:100])
    log = opened(path)
    log.handle(alert(1))
    log.close()
    assert [r["what"] for r in records(path)] == ["begin", "torn", "event"]
    assert faults(path) == []


@pytest.mark.parametrize("content", [b"shopping list\n", b"no line feed", b'{"a": 1}\n'])
def test_a_file_that_is_no_audit_log_is_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(StreamclsError, match="is no audit log"):
        opened(path).handle(alert(1))
    assert path.read_bytes() == content


def test_a_disk_that_is_full_leaves_no_half_record_and_the_event_may_come_again(log: AuditLog, path: Path) -> None:
    log.handle(alert(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 300, hard))
    try:
        with pytest.raises(StreamclsError, match="cannot be written"):
            log.handle(alert(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert log.facts()["state"] == "failed"
    assert faults(path) == []
    log.handle(alert(2))
    assert log.facts() == {"state": "ok", "reason": "", "records": 3, "last": log.last}
    assert faults(path) == []


def test_two_processes_do_not_write_the_same_log(log: AuditLog, path: Path) -> None:
    log.handle(alert(1))
    with pytest.raises(StreamclsError, match="another process"):
        opened(path).handle(alert(2))


def test_a_log_that_is_large_is_set_aside_and_the_chain_goes_on(path: Path) -> None:
    log = opened(path, rotate_mb=1, sync=False)
    event = alert(1)
    for number in range(1, 2_001):
        log.handle(event | {"id": f"x/{number}", "sequence": str(number)})
    log.close()
    older = sorted(path.parent.glob("audit-*.jsonl"))
    assert len(older) >= 2
    report = verify_log(path)
    assert report.faults == []
    assert report.files == [*(file.name for file in older), path.name]
    assert (report.events, report.number) == (2_000, 2_000 + len(older) + 1)
    assert records(path)[0]["predecessor"] == {"file": older[-1].name}
    path.unlink()
    log = opened(path)
    log.handle(event | {"id": "x/new", "sequence": "3000"})
    log.close()
    assert records(path)[0]["previous"] == list(read_entries(older[-1]))[-1].stated
    older[0].unlink()
    (fault, *_) = faults(path)
    assert "are not here" in fault
    assert not [f for f in faults(path, archived=True) if "not here" in f]


def test_a_log_that_somebody_moved_away_is_gone_on_from(log: AuditLog, path: Path) -> None:
    log.handle(alert(1))
    moved = path.rename(path.with_name("archive.jsonl"))
    log.handle(alert(2))
    assert records(path)[0]["previous"] == list(read_entries(moved))[-1].stated
    assert "are not here" in faults(path)[0]
    assert faults(path, archived=True) == []


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def resealed(line: bytes, **changes: Any) -> bytes:
    record = dict(unseal(line).record or {})
    return seal(record | changes)[0]


TAMPERINGS: dict[str, tuple[Callable[[list[bytes]], list[bytes]], list[str]]] = {
    "a byte of an event": (
        lambda x: [*x[:4], x[4].replace(b"medium", b"mediun"), *x[5:]],
        ["line 5: record 5 has been changed"],
    ),
    "a byte of a hash": (
        lambda x: [*x[:4], x[4][:-5] + (b"00" if x[4][-5:-3] != b"00" else b"11") + b'"}\n', *x[5:]],
        ["line 5: record 5 has been changed"],
    ),
    "a record with a new hash of its own": (
        lambda x: [*x[:4], resealed(x[4], configuration="d0" * 32), *x[5:]],
        ["line 6: record 6 does not follow the record 5"],
    ),
    "one record removed": (
        lambda x: [*x[:4], *x[5:]],
        ["line 5: record 5 is missing before record 6", "never recorded"],
    ),
    "several removed": (
        lambda x: [*x[:3], *x[6:]],
        ["line 4: records 4 to 6 are missing before record 7", "3 events of moderation.alert/radio-1 before"],
    ),
    "two exchanged": (
        lambda x: [*x[:4], x[5], x[4], *x[6:]],
        ["line 5: record 5 is missing", "never recorded", "line 6: record 5 stands where record 7", "line 7: record 6"],
    ),
    "one repeated": (lambda x: [*x[:5], x[4], *x[5:]], ["line 6: record 5 stands where record 6 belongs"]),
    "one foreign line": (lambda x: [*x[:4], b"hello\n", *x[5:]], ["line 5: this is no record"]),
    "the beginning": (lambda x: x[3:], ["line 1: the log begins with record 4: records 1 to 3 are not here"]),
    "everything": (lambda x: [], ["it holds no record"]),
    "another file": (lambda x: [b"[daemon]\n"] * len(x), ["lines is a record: it is no audit log (a configuration is"]),
    "removed and numbered anew": (
        lambda x: [*x[:4], *(resealed(line, number=n) for n, line in enumerate(x[5:], 5))],
        ["line 5: record 5 does not follow the record 4"],
    ),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_what_was_done_to_a_log_is_found_and_named(log: AuditLog, path: Path, name: str) -> None:
    for number in range(1, 10):
        log.handle(alert(number))
    assert faults(path) == []
    tamper, expected = TAMPERINGS[name]
    path.write_bytes(b"".join(tamper(lines_of(path))))
    found = faults(path)
    for text in expected:
        assert any(text in fault for fault in found), found
    if "anew" not in name:
        assert len(found) <= len(expected) + 2, "one change is not told ten times"


def test_no_byte_can_be_changed_unnoticed(log: AuditLog, path: Path) -> None:
    for number in range(1, 4):
        log.handle(alert(number))
    whole = path.read_bytes()
    beside = path.with_name("beside.jsonl")
    for at in range(0, len(whole), 7):
        beside.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        report = verify_log(beside)
        line = whole[:at].count(b"\n") + 1
        assert report.faults, f"byte {at}"
        assert f"line {line}:" in report.faults[0].where + ":", f"byte {at}: {report.faults[0]}"


def test_records_cut_off_at_the_end_are_found_with_what_was_noted_elsewhere(log: AuditLog, path: Path) -> None:
    for number in range(1, 6):
        log.handle(alert(number))
    noted = log.last
    log.handle(alert(6))
    assert verify_log(path, noted=noted).seen == 1
    path.write_bytes(b"".join(lines_of(path)[:-3]))
    report = verify_log(path, noted=noted)
    assert report.faults == [], "the file alone shows nothing"
    assert report.seen is None


def test_records_cut_off_while_the_daemon_was_away_leave_a_hole_in_the_events_own_numbers(path: Path) -> None:
    log = opened(path)
    for number in range(1, 6):
        log.handle(alert(number))
    log.close()
    path.write_bytes(b"".join(lines_of(path)[:-2]))
    log = opened(path)
    log.handle(alert(6))
    log.close()
    assert faults(path) == [
        f"{path.name} line 5: 2 events of moderation.alert/radio-1 before number 6 were never recorded"
    ]


def clips(folder: Path, log: AuditLog) -> dict[str, bytes]:
    made = {f"radio-1/2026-01-01/00000{n}-siren-x.flac": bytes([n]) * 1_000 for n in range(4)}
    for sequence, (name, content) in enumerate(made.items(), 1):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        log.handle(evidence(sequence, name, content))
    return made


def checked(path: Path, folder: Path) -> Report:
    report = verify_log(path)
    verify_clips(report, folder)
    return report


def test_a_clip_that_was_changed_or_taken_away_is_named(log: AuditLog, path: Path, tmp_path: Path) -> None:
    made = clips(tmp_path / "evidence", log)
    names = list(made)
    assert checked(path, tmp_path / "evidence").faults == []
    content = bytearray(made[names[1]])
    content[500] ^= 1
    (tmp_path / "evidence" / names[1]).write_bytes(content)
    (tmp_path / "evidence" / names[2]).unlink()
    report = checked(path, tmp_path / "evidence")
    assert [fault.where for fault in report.faults] == [names[1], names[2]]
    assert "has been changed" in report.faults[0].what
    assert "missing" in report.faults[1].what
    assert report.intact == 2


def test_a_clip_that_was_removed_for_want_of_room_is_no_fault(log: AuditLog, path: Path, tmp_path: Path) -> None:
    name, content = next(iter(clips(tmp_path / "evidence", log).items()))
    log.handle(removal(1, name, content))
    (tmp_path / "evidence" / name).unlink()
    report = checked(path, tmp_path / "evidence")
    assert report.faults == []
    assert report.removed == {name: "max_mb"}


def test_a_clip_of_which_no_record_tells_is_noted(log: AuditLog, path: Path, tmp_path: Path) -> None:
    clips(tmp_path / "evidence", log)
    (tmp_path / "evidence" / "radio-1" / "2026-01-01" / "new.flac").write_bytes(b"x")
    report = checked(path, tmp_path / "evidence")
    assert report.faults == []
    assert report.notes == ["radio-1/2026-01-01/new.flac: no record tells of this clip"]


def test_a_configuration_has_one_digest_and_another_has_another() -> None:
    text = '[[source]]\nname = "a"\ntype = "demo"\n'
    digest = configuration_digest(parse_config(text, "here"))
    assert digest == configuration_digest(parse_config("# a word\n" + text, "there"))
    assert digest != configuration_digest(parse_config(text.replace('"a"', '"b"'), "here"))
    assert digest != configuration_digest(load_config(None))


def test_numbers_and_letters_of_all_kinds_are_sealed_as_they_are() -> None:
    record = {"z": 0.1 + 0.2, "a": "Größe\u2028\U0001f600", "n": None, "big": 1 << 70}
    line, digest = seal(record)
    entry = unseal(line)
    assert (entry.record, entry.stated, entry.computed) == (record, digest, digest)
    assert json.loads(line) == record | {"hash": digest}
    assert line.count(b"\n") == 1
