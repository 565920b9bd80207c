from __future__ import annotations

import hashlib
import json
import resource
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from fakes import LONG_S, Collector

from streamcls.audio.capture import Stretch
from streamcls.config.schema import EvidenceSettings
from streamcls.errors import BusError
from streamcls.runtime.evidence import Clip
from streamcls.service.evidence import EvidenceWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streamcls import Event

RATE = 8_000
TIME = 1_767_225_600.0
DAY_S = 86_400.0


class Clock:
    def __init__(self) -> None:
        self.now = TIME

    def __call__(self) -> float:
        return self.now


class Keeper:
    """A writer, the events it publishes, and its clock."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.clock = Clock()
        self.events = Collector()
        self.settings = EvidenceSettings(**settings)
        self.writer = self._new()
        self.count = 0

    def _new(self) -> EvidenceWriter:
        return EvidenceWriter(self.folder, self.settings, self.events, daemon_name="studio", clock=self.clock)

    def again(self) -> None:
        """Be the next start of the daemon."""
        self.stop()
        self.writer = self._new()
        self.writer.start()

    def stop(self) -> None:
        if self.writer.ident is not None:
            self.writer.finish()
            self.writer.join(LONG_S)
            assert not self.writer.is_alive()

    def keep(self, identifier: str = "", seconds: float = 2.0, stream: str = "radio-1", label: str = "siren") -> Clip:
        """Hand over a clip of noise, which FLAC cannot make much smaller, and wait for what becomes of it."""
        self.count += 1
        made = clip(identifier or f"{self.count:032x}", seconds, stream=stream, label=label)
        before = len(self.done())
        self.writer.offer(made)
        self.events.wait_for(lambda _: len(self.done()) > before)
        return made

    def done(self) -> list[Event]:
        return [
            event
            for event in list(self.events.events)
            if event.kind == "moderation.evidence" or (event.data.get("state") == "failed" and "alert_id" in event.data)
        ]

    def evidence(self) -> list[dict[str, Any]]:
        return [dict(event.data) for event in self.events.events if event.kind == "moderation.evidence"]

    def said(self) -> list[tuple[str, str]]:
        return [(e.data["state"], e.data["reason"]) for e in self.events.events if e.kind == "daemon.evidence"]

    def files(self) -> list[str]:
        found = (f for f in self.folder.rglob("*") if f.is_file() and f.name != ".lock")
        return sorted(str(f.relative_to(self.folder)) for f in found)

    def clips(self) -> list[str]:
        return [name for name in self.files() if name.endswith(".flac")]


def clip(identifier: str, seconds: float = 2.0, *, stream: str = "radio-1", label: str = "siren") -> Clip:
    samples = np.random.default_rng(len(identifier)).integers(-9_000, 9_000, (round(seconds * RATE), 1))
    alert = {"alert_id": identifier, "alert_kind": "moderation.alert", "label": label, "first_sample": 1_000}
    return Clip(
        stream, alert | {"sample_rate": RATE}, Stretch(samples.astype(np.int16), 500, ((700, 800),)), TIME, "over"
    )


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    made = Keeper(tmp_path / "evidence")
    made.writer.start()
    yield made
    made.stop()


def test_a_clip_lies_under_stream_and_day_and_its_event_says_what_it_is(keeper: Keeper) -> None:
    made = keeper.keep("ab" * 16, stream="fm:98.7@north+1", label="glass/../breaking")
    (facts,) = keeper.evidence()
    assert facts["path"] == f"fm:98.7@north+1/2026-01-01/000000-glass_.._breaking-{'ab' * 16}.flac"
    file = keeper.folder / facts["path"]
    assert facts["folder"] == str(keeper.folder)
    assert facts["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert facts["bytes"] == file.stat().st_size
    assert (facts["offset_samples"], facts["gaps"]) == (500, [{"first_sample": 700, "end_sample": 800}])
    samples, rate = soundfile.read(file, dtype="int16", always_2d=True)
    assert rate == RATE
    np.testing.assert_array_equal(samples, made.audio.samples)
    keeper.stop()
    assert json.loads(file.with_suffix(".json").read_text("utf-8"))["data"] == facts
    assert len(keeper.files()) == 2
    assert file.stat().st_mode & 0o007 == 0, "not for everybody"


def test_a_second_clip_of_an_alert_takes_nothing_from_the_first(keeper: Keeper) -> None:
    keeper.keep("ab" * 16, 2.0)
    keeper.keep("ab" * 16, 3.0)
    first, second = (facts["path"] for facts in keeper.evidence())
    assert second == first.replace(".flac", "-2.flac")
    assert len(keeper.clips()) == 2


def test_the_same_clip_once_more_after_a_crash_is_announced_again_and_not_written_again(keeper: Keeper) -> None:
    keeper.keep("ab" * 16)
    keeper.again()
    keeper.keep("ab" * 16)
    first, second = keeper.evidence()
    assert first == second
    assert len(keeper.clips()) == 1


def test_the_oldest_go_first_when_there_is_too_much_and_it_is_said_before(tmp_path: Path) -> None:
    """One and a half minutes of noise at 8 kHz are about 1.2 MB: of four such clips three fit into 4 MB."""
    keeper = Keeper(tmp_path / "evidence", max_mb=4, max_clip_s=100)
    keeper.writer.start()
    for _ in range(4):
        keeper.clock.now += 1.0
        keeper.keep(seconds=85.0)
    paths = [facts["path"] for facts in keeper.evidence()]
    assert keeper.clips() == sorted(paths[1:])
    removed = next(e for e in keeper.events.events if e.data.get("state") == "removed")
    assert (removed.stream, removed.data["stream"], removed.data["path"]) == ("studio", "radio-1", paths[0])
    assert removed.data["reason"] == "max_mb"
    assert removed.data["sha256"] == keeper.evidence()[0]["sha256"]
    assert keeper.writer.facts()["removed"] == 1
    assert keeper.writer.facts()["bytes"] <= 4_000_000
    keeper.again()
    keeper.clock.now += 1.0
    keeper.keep(seconds=85.0)
    assert paths[1] not in keeper.clips(), "the index is what lies in the folder, after a restart too"
    assert len(keeper.clips()) == 3
    keeper.stop()


def test_the_clip_of_an_alert_that_goes_on_is_never_removed(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "evidence", max_mb=3, max_clip_s=100)
    keeper.writer.start()
    for number in range(2):
        keeper.writer.opened(f"{number + 1:032x}")
        keeper.keep(seconds=85.0)
    first, second = keeper.clips()
    keeper.keep(seconds=85.0)
    assert keeper.clips() == [first, second], "there is no room, so the new one is given up"
    assert keeper.said() == [("failed", keeper.said()[0][1])]
    assert "max_mb" in keeper.said()[0][1]
    keeper.writer.closed(f"{1:032x}")
    keeper.keep(seconds=85.0)
    assert first not in keeper.clips()
    assert second in keeper.clips()
    keeper.stop()


def test_clips_that_are_too_old_go(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "evidence", max_age_days=2)
    keeper.writer.start()
    keeper.keep(stream="a")
    keeper.clock.now += 1.5 * DAY_S
    keeper.keep(stream="b")
    keeper.clock.now += 1.0 * DAY_S
    keeper.keep(stream="c")
    assert [name[0] for name in keeper.clips()] == ["b", "c"]
    assert keeper.said() == [("removed", "max_age_days")]
    assert not (keeper.folder / "a").exists(), "empty folders go too"
    keeper.stop()


def test_files_of_others_are_neither_counted_nor_removed(tmp_path: Path) -> None:
    folder = tmp_path / "evidence" / "radio-1" / "2020-01-01"
    folder.mkdir(parents=True)
    others = {
        "holiday.flac": b"x" * 5_000_000,
        "holiday.json": b'{"data": {"path": "/etc/passwd"}}',
        "notes.json": b"\xff",
        "deep.json": b"[" * 100_000,
    }
    for name, content in others.items():
        (folder / name).write_bytes(content)
    keeper = Keeper(tmp_path / "evidence", max_mb=1, max_age_days=1)
    keeper.writer.start()
    keeper.keep()
    assert {name: (folder / name).read_bytes() for name in others} == others
    assert keeper.said() == []
    keeper.stop()


def test_what_a_crash_left_half_written_is_gone_after_the_next_start(keeper: Keeper) -> None:
    keeper.keep()
    keeper.stop()
    (path,) = keeper.clips()
    whole = keeper.folder / path
    (whole.parent / ".120000-siren-aa.flac.part").write_bytes(b"half")
    lonely = whole.with_name("120000-siren-bb.json.new")
    facts = json.loads(whole.with_suffix(".json").read_text("utf-8"))
    facts["data"]["path"] = str(lonely.relative_to(keeper.folder)).replace(".json.new", ".flac")
    lonely.write_text(json.dumps(facts), "utf-8")
    keeper.again()
    keeper.stop()
    assert keeper.files() == [path, path.replace(".flac", ".json")]


def test_a_clip_that_was_written_and_not_announced_is_announced_at_the_next_start(keeper: Keeper) -> None:
    keeper.keep()
    keeper.stop()
    facts = keeper.folder / keeper.clips()[0].replace(".flac", ".json")
    facts.rename(facts.with_suffix(".json.new"))
    keeper.again()
    keeper.events.wait_for(lambda _: len(keeper.evidence()) == 2)
    keeper.stop()
    assert keeper.evidence()[0] == keeper.evidence()[1]
    keeper.again()
    keeper.stop()
    assert len(keeper.evidence()) == 2


def test_a_bus_that_has_stopped_leaves_the_announcement_to_the_next_start(tmp_path: Path) -> None:
    def stopped(event: Event) -> None:
        raise BusError("the bus has stopped")

    settings = EvidenceSettings()
    writer = EvidenceWriter(tmp_path, settings, stopped)
    writer.offer(clip("ab" * 16))
    writer.start()
    writer.finish()
    writer.join(LONG_S)
    assert not writer.is_alive()
    events = Collector()
    writer = EvidenceWriter(tmp_path, settings, events)
    writer.start()
    events.wait_for(lambda all_: [e.kind for e in all_] == ["moderation.evidence"])
    writer.finish()
    writer.join(LONG_S)


def test_a_folder_that_cannot_be_used_is_reported_and_tried_again_with_every_clip(tmp_path: Path) -> None:
    (tmp_path / "evidence").write_text("a file where the folder should be", "utf-8")
    keeper = Keeper(tmp_path / "evidence")
    keeper.writer.start()
    keeper.keep()
    keeper.keep()
    assert {state for state, _ in keeper.said()} == {"failed"}
    assert keeper.writer.facts()["state"] == "failed"
    assert keeper.writer.given_up == 2
    (tmp_path / "evidence").unlink()
    keeper.keep()
    assert len(keeper.clips()) == 1
    assert keeper.said()[-1] == ("ok", "clips are written again")
    assert keeper.writer.facts()["state"] == "ok"
    keeper.stop()


def test_a_disk_that_is_full_leaves_no_half_clip_and_the_next_one_is_tried_again(keeper: Keeper) -> None:
    """A limit on the size of files stands for the disk: a write is then cut short and the next one refused."""
    keeper.keep(seconds=0.5)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        keeper.keep(seconds=10.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [state for state, _ in keeper.said()] == ["failed"]
    assert len(keeper.files()) == 2
    failed = next(e for e in keeper.events.events if e.kind == "daemon.evidence")
    assert failed.data["alert_id"] == f"{2:032x}"
    keeper.keep(seconds=10.0)
    assert len(keeper.clips()) == 2
    assert [state for state, _ in keeper.said()] == ["failed", "ok"]


def test_two_daemons_do_not_share_a_folder(keeper: Keeper) -> None:
    keeper.keep()
    other = Keeper(keeper.folder)
    other.writer.start()
    other.keep()
    other.stop()
    assert "another daemon" in other.said()[-1][1]
    assert len(keeper.clips()) == 1
    keeper.stop()
    other.again()
    other.keep()
    other.stop()
    assert len(keeper.clips()) == 2


def test_workers_never_wait_and_what_does_not_fit_is_given_up(tmp_path: Path) -> None:
    """The thread is not running: nothing is taken from the queue."""
    keeper = Keeper(tmp_path / "evidence")
    taken = [keeper.writer.offer(clip(f"{n:032x}", 0.1)) for n in range(300)]
    assert taken == [True] * 256 + [False] * 44
    assert keeper.writer.facts()["given_up"] == 44
    assert keeper.writer.facts()["waiting"] == 256
    given_up = [e.data["alert_id"] for e in keeper.events.events]
    assert given_up == [f"{n:032x}" for n in range(256, 300)]


def test_a_stop_writes_what_waits(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "evidence")
    for n in range(5):
        keeper.writer.offer(clip(f"{n:032x}", 0.1))
    keeper.writer.start()
    keeper.stop()
    assert len(keeper.clips()) == 5


def test_a_clip_that_arrives_after_the_end_is_given_up(keeper: Keeper) -> None:
    keeper.stop()
    assert not keeper.writer.offer(clip("ab" * 16))
    assert "stopped" in keeper.said()[0][1]


def test_no_name_of_the_base_class_is_taken(tmp_path: Path) -> None:
    own = set(vars(EvidenceWriter)) - {"run", "__init__", "__module__", "__doc__", "__firstlineno__"}
    own -= {"__static_attributes__"}
    assert not own & (set(dir(threading.Thread())) | {"_handle", "_context", "_os_thread_handle"})
    writer = EvidenceWriter(tmp_path, EvidenceSettings(), Collector())
    assert not (set(vars(writer)) - set(vars(threading.Thread()))) & {"_handle", "_context", "_os_thread_handle"}
