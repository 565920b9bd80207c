"""The outbox and the delivery out of it: at least once, in order per stream, whatever fails."""

from __future__ import annotations

import json
import resource
import signal
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from leaping import Leaping, settled

from streamcls.bus.deadletters import DeadLetters
from streamcls.bus.delivery import Delivery, Outcome, Patience
from streamcls.bus.outbox import Outbox
from streamcls.bus.pace import Pace
from streamcls.errors import BusError
from streamcls.testing import make_envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

PATIENCE = Patience(first_s=1.0, max_s=8.0)
PATIENCE_S = 30.0


def event(sequence: int, stream: str = "radio-1") -> dict[str, Any]:
    return dict(make_envelope("moderation.alert", {"id": f"{sequence:032x}"}, stream=stream, sequence=sequence))


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = Outbox(tmp_path / "spool")
    yield made
    made.close()


def reopened(outbox: Outbox, **options: Any) -> Outbox:
    outbox.close()
    return Outbox(outbox._folder, **options)


@pytest.fixture
def deliver(tmp_path: Path) -> Iterator[Callable[..., Delivery]]:
    made: list[Delivery] = []

    def make(send: Callable[[Mapping[str, Any]], Outcome], **options: Any) -> Delivery:
        choice = {"workers": 3, "patience": PATIENCE, "timing": Leaping().timing} | options
        outbox = choice.pop("outbox") if "outbox" in choice else Outbox(tmp_path / "spool")
        made.append(Delivery("test", send, outbox, DeadLetters(tmp_path / "dead.jsonl", 1 << 20), **choice))
        return made[-1]

    yield make
    for delivery in made:
        delivery.close(0.0)


def numbers(events: list[Mapping[str, Any]]) -> list[int]:
    return [int(event["sequence"]) for event in events]


# The outbox


def test_what_is_not_settled_is_there_after_a_restart_in_order(outbox: Outbox) -> None:
    parcels = [outbox.add(event(number)) for number in range(1, 6)]
    for parcel in (parcels[0], parcels[3]):
        assert parcel is not None
        outbox.settle(parcel)
    again = reopened(outbox)
    assert [parcel.event for parcel in again.parcels] == [event(2), event(3), event(5)]
    again.close()


def test_an_event_that_is_handed_over_again_is_known_also_after_a_restart(outbox: Outbox) -> None:
    settled_one = outbox.add(event(1))
    assert settled_one is not None
    outbox.settle(settled_one)
    outbox.add(event(2))
    assert outbox.add(event(1)) is None
    again = reopened(outbox)
    assert again.add(event(1)) is None
    assert again.add(event(2)) is None
    assert again.add(event(3)) is not None
    again.close()


def test_a_line_that_was_cut_off_by_the_end_of_the_process_costs_nothing_else(outbox: Outbox, tmp_path: Path) -> None:
    outbox.add(event(1))
    outbox.close()
    with (tmp_path / "spool" / "outbox.jsonl").open("ab") as file:
        file.write(b'{"n":2,"at":1.0,"event":{"spec')
    again = Outbox(tmp_path / "spool")
    again.add(event(2))
    last = reopened(again)
    assert [parcel.event for parcel in last.parcels] == [event(1), event(2)]
    last.close()


def test_damaged_lines_are_said_once_and_the_others_are_kept(
    outbox: Outbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (1, 2, 3):
        outbox.add(event(number))
    path = tmp_path / "spool" / "outbox.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\x00\xff rubbish\n" + b'"a string"\n' + lines[2])
    again = reopened(outbox)
    assert [parcel.event for parcel in again.parcels] == [event(1), event(3)]
    assert "2 lines are damaged" in caplog.text
    caplog.clear()
    last = reopened(again)
    assert [parcel.event for parcel in last.parcels] == [event(1), event(3)]
    assert not caplog.text
    assert any(b"rubbish" in kept.read_bytes() for kept in (tmp_path / "spool").glob("outbox.damaged-*"))
    last.close()


def test_its_file_does_not_grow_with_what_is_settled(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "spool", sync=False)
    stays = outbox.add(event(1, "stays"))
    for number in range(1, 5_001):
        parcel = outbox.add(event(number))
        assert parcel is not None
        outbox.settle(parcel)
    assert (tmp_path / "spool" / "outbox.jsonl").stat().st_size < 3 << 20
    again = reopened(outbox)
    assert stays is not None
    assert [parcel.event for parcel in again.parcels] == [stays.event]
    assert again.add(event(5_000)) is None
    fresh = again.add(event(5_001))
    assert fresh is not None
    assert fresh.number > 5_000
    again.close()


def test_two_do_not_share_a_folder(outbox: Outbox, tmp_path: Path) -> None:
    with pytest.raises(
        BusError, match=r"another subscriber keeps its events there, .*; give each one a spool of its own"
    ):
        Outbox(tmp_path / "spool")


def test_only_its_owner_reads_it(outbox: Outbox, tmp_path: Path) -> None:
    assert (tmp_path / "spool").stat().st_mode & 0o077 == 0
    assert (tmp_path / "spool" / "outbox.jsonl").stat().st_mode & 0o077 == 0


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BusError, match="file/spool: cannot be used to keep events in: Not a directory"):
        Outbox(tmp_path / "file" / "spool")


@given(st.lists(st.tuples(st.sampled_from(["add", "settle", "reopen", "torn"]), st.integers(0, 5)), max_size=40))
def test_whatever_happens_it_holds_what_was_added_and_not_settled(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("outbox")
    outbox, expected, added = Outbox(folder, sync=False), {}, 0
    for step, choice in steps:
        if step == "add":
            added += 1
            expected[added] = event(added)
            outbox.add(event(added))
        elif step == "settle" and outbox.parcels:
            parcel = outbox.parcels[choice % len(outbox)]
            expected.pop(parcel.number)
            outbox.settle(parcel)
        elif step == "reopen":
            outbox = reopened(outbox, sync=False)
        elif step == "torn":
            outbox.close()
            with (folder / "outbox.jsonl").open("ab") as file:
                file.write(b'{"done": 1}'[:choice])
            outbox = Outbox(folder, sync=False)
        assert {parcel.number: parcel.event for parcel in outbox.parcels} == expected
    outbox.close()


# Dead letters


def test_dead_letters_have_reason_attempts_and_time(tmp_path: Path) -> None:
    dead = DeadLetters(tmp_path / "dead.jsonl", 1 << 20)
    dead.write(event(1), "HTTP status 404", 3)
    dead.write(event(2), "ü", 1)
    first, second = map(json.loads, (tmp_path / "dead.jsonl").read_text("utf-8").splitlines())
    assert first["event"] == event(1)
    assert (first["reason"], first["attempts"], second["reason"]) == ("HTTP status 404", 3, "ü")
    assert first["time"].endswith("Z")


def test_dead_letters_are_bounded_and_say_what_they_give_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dead = DeadLetters(tmp_path / "dead.jsonl", 8_000)
    for number in range(1, 101):
        dead.write(event(number), "no", 1)
    files = [tmp_path / "dead.jsonl.1", tmp_path / "dead.jsonl"]
    assert sum(file.stat().st_size for file in files) <= 8_000
    kept = [json.loads(line)["event"] for file in files for line in file.read_text("utf-8").splitlines()]
    assert numbers(kept) == list(range(101 - len(kept), 101))
    assert len(kept) > 5
    assert sum(record.args[1] for record in caplog.records) == 100 - len(kept)  # type: ignore[index, misc, operator]


# Delivery


def test_a_stream_keeps_its_order_while_its_deliveries_fail(deliver: Callable[..., Delivery]) -> None:
    arrived: dict[str, list[int]] = defaultdict(list)
    tries: dict[str, int] = defaultdict(int)
    guard = threading.Lock()

    def send(event: Mapping[str, Any]) -> Outcome:
        with guard:
            tries[event["id"]] += 1
            if tries[event["id"]] <= (int(event["sequence"]) * 7 + len(event["subject"])) % 3:
                return Outcome("not now")
            arrived[event["subject"]].append(int(event["sequence"]))
            return Outcome()

    delivery = deliver(send)
    for number in range(1, 31):
        for stream in ("a", "bb", "ccc"):
            delivery.put(event(number, stream))
    settled(delivery)
    assert arrived == {stream: list(range(1, 31)) for stream in ("a", "bb", "ccc")}
    assert delivery.counters["delivered"] == 90
    assert delivery.counters["retried"] == sum(tries.values()) - 90 > 0


def test_a_stream_that_hangs_holds_up_no_other(deliver: Callable[..., Delivery]) -> None:
    release, arrived = threading.Event(), []

    def send(event: Mapping[str, Any]) -> Outcome:
        if event["subject"] == "hangs":
            release.wait(PATIENCE_S)
        arrived.append(event)
        return Outcome()

    delivery = deliver(send, workers=2)
    for number in range(1, 4):
        delivery.put(event(number, "hangs"))
    for number in range(1, 21):
        delivery.put(event(number, "well"))
    with delivery._changed:
        assert delivery._changed.wait_for(lambda: delivery.counters["delivered"] == 20, PATIENCE_S)
    assert {event["subject"] for event in arrived} == {"well"}
    release.set()
    settled(delivery)
    assert numbers(arrived[20:]) == [1, 2, 3]


def test_pauses_double_up_to_the_maximum_and_are_shortened_by_chance(deliver: Callable[..., Delivery]) -> None:
    answers = iter([*[Outcome("no")] * 6, Outcome()])
    for jitter, pauses in ((1.0, [1, 2, 4, 8, 8, 8]), (0.0, [0.5, 1, 2, 4, 4, 4])):
        answers = iter([*[Outcome("no")] * 6, Outcome()])
        clock = Leaping(jitter)
        delivery = deliver(lambda _, answers=answers: next(answers), workers=1, timing=clock.timing)
        delivery.put(event(int(jitter) + 1))
        settled(delivery)
        assert clock.pauses == pauses
        delivery.close(0.0)


def test_a_receiver_that_asks_for_time_gets_it_from_all_streams(deliver: Callable[..., Delivery]) -> None:
    clock, sent = Leaping(), []
    busy = threading.Event()

    def send(event: Mapping[str, Any]) -> Outcome:
        busy.wait(PATIENCE_S)
        sent.append((event["subject"], clock.seconds))
        return Outcome("busy", after_s=100.0) if len(sent) == 1 else Outcome()

    delivery = deliver(send, workers=1, timing=clock.timing)
    delivery.put(event(1, "a"))
    delivery.put(event(1, "b"))
    busy.set()
    settled(delivery)
    assert [stream for stream, _ in sent] == ["a", "b", "a"]
    assert [at for _, at in sent] == [1000.0, 1100.0, 1100.0]


def test_what_cannot_be_delivered_is_a_dead_letter_and_the_next_one_follows(
    deliver: Callable[..., Delivery], tmp_path: Path
) -> None:
    sent = []

    def send(event: Mapping[str, Any]) -> Outcome:
        sent.append(int(event["sequence"]))
        return {1: Outcome("never", permanent=True), 2: Outcome("not now")}.get(int(event["sequence"]), Outcome())

    delivery = deliver(send, patience=Patience(first_s=1.0, attempts=4))
    for number in (1, 2, 3):
        delivery.put(event(number))
    settled(delivery)
    assert sent == [1, 2, 2, 2, 2, 3]
    dead = [json.loads(line) for line in (tmp_path / "dead.jsonl").read_text("utf-8").splitlines()]
    assert [(letter["event"]["sequence"], letter["reason"], letter["attempts"]) for letter in dead] == [
        ("1", "never", 1),
        ("2", "not now", 4),
    ]
    assert delivery.counters == {"delivered": 1, "retried": 3, "dead": 2, "repeated": 0}


def test_it_says_for_how_long_the_oldest_event_waits_and_why(deliver: Callable[..., Delivery]) -> None:
    clock, answer = Leaping(), Outcome("no answer")
    attempts = threading.Semaphore(0)

    def send(_: Mapping[str, Any]) -> Outcome:
        assert attempts.acquire(timeout=PATIENCE_S)
        return answer

    delivery = deliver(send, timing=clock.timing, workers=1)
    assert (delivery.waited_s, delivery.trouble) == (0.0, "")
    delivery.put(event(1))
    clock.seconds += 50
    delivery.put(event(2))
    clock.seconds += 20
    assert delivery.waited_s == 70.0
    attempts.release(1)
    with delivery._changed:
        assert delivery._changed.wait_for(lambda: delivery.trouble == "no answer", PATIENCE_S)
    assert (delivery.waiting, delivery.waited_s >= 70.0) == (2, True)
    answer = Outcome()
    attempts.release(2)
    settled(delivery)
    assert (delivery.waited_s, delivery.trouble) == (0.0, "")


def test_an_event_is_given_up_after_its_time(deliver: Callable[..., Delivery]) -> None:
    clock = Leaping()
    delivery = deliver(
        lambda _: Outcome("no"), workers=1, patience=Patience(1.0, 8.0, give_up_s=60), timing=clock.timing
    )
    delivery.put(event(1))
    settled(delivery)
    assert delivery.counters["dead"] == 1
    assert 60 <= clock.seconds - 1000 < 60 + 8


def test_what_send_raises_is_a_failed_attempt(
    deliver: Callable[..., Delivery], caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([ZeroDivisionError("oh"), Outcome()])

    def send(_: Mapping[str, Any]) -> Outcome:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    delivery = deliver(send)
    delivery.put(event(1))
    settled(delivery)
    assert delivery.counters["delivered"] == 1
    assert "ZeroDivisionError" in caplog.text


def test_a_dead_letter_that_cannot_be_written_is_not_given_up(deliver: Callable[..., Delivery], tmp_path: Path) -> None:
    (tmp_path / "dead.jsonl").mkdir()
    attempts = []

    def send(_: Mapping[str, Any]) -> Outcome:
        attempts.append(1)
        if len(attempts) == 3:
            (tmp_path / "dead.jsonl").rmdir()
        return Outcome("never", permanent=True)

    delivery = deliver(send)
    delivery.put(event(1))
    settled(delivery)
    assert len(attempts) == 3
    assert json.loads((tmp_path / "dead.jsonl").read_text("utf-8"))["attempts"] == 3


def test_what_an_earlier_run_left_comes_first(deliver: Callable[..., Delivery], outbox: Outbox) -> None:
    for number in (1, 2, 3):
        outbox.add(event(number))
    sent: list[Mapping[str, Any]] = []
    delivery = deliver(lambda event: sent.append(event) or Outcome(), outbox=reopened(outbox))
    delivery.put(event(3))
    delivery.put(event(4))
    settled(delivery)
    assert numbers(sent) == [1, 2, 3, 4]
    assert delivery.counters["repeated"] == 1


def test_a_full_outbox_holds_back_whoever_has_more(deliver: Callable[..., Delivery], tmp_path: Path) -> None:
    release = threading.Event()
    outbox = Outbox(tmp_path / "small", max_events=3)
    delivery = deliver(lambda _: Outcome() if release.wait(PATIENCE_S) else Outcome("no"), outbox=outbox)
    for number in (1, 2, 3):
        delivery.put(event(number))
    accepted = threading.Event()
    threading.Thread(target=lambda: (delivery.put(event(4)), accepted.set()), daemon=True).start()
    assert not accepted.wait(0.1)
    assert delivery.waiting == 3
    release.set()
    assert accepted.wait(PATIENCE_S)
    settled(delivery)
    assert delivery.counters["delivered"] == 4


def test_being_closed_frees_whoever_is_held_back(deliver: Callable[..., Delivery], tmp_path: Path) -> None:
    hold, entered = threading.Event(), threading.Event()
    delivery = deliver(
        lambda _: Outcome("no") if entered.set() or hold.wait(PATIENCE_S) else Outcome(),
        outbox=Outbox(tmp_path / "small", max_events=1),
    )
    delivery.put(event(1))
    entered.wait(PATIENCE_S)
    refusals: list[Exception] = []

    def held_back() -> None:
        try:
            delivery.put(event(2))
        except BusError as error:
            refusals.append(error)

    thread = threading.Thread(target=held_back, daemon=True)
    thread.start()
    delivery.close(0.0, hold.set)
    thread.join(PATIENCE_S)
    assert "takes no further event" in str(refusals[0])


def test_attempts_that_the_end_makes_fail_give_nothing_up(deliver: Callable[..., Delivery], tmp_path: Path) -> None:
    hold, entered = threading.Event(), threading.Event()

    def send(_: Mapping[str, Any]) -> Outcome:
        entered.set()
        hold.wait(PATIENCE_S)
        return Outcome("aborted")

    delivery = deliver(send, patience=Patience(attempts=1))
    delivery.put(event(1))
    assert entered.wait(PATIENCE_S)
    delivery.close(0.0, hold.set)
    assert not (tmp_path / "dead.jsonl").exists()
    again = Outbox(tmp_path / "spool")
    assert [parcel.event for parcel in again.parcels] == [event(1)]
    again.close()


def test_on_a_full_disk_an_event_is_accepted_once_it_is_delivered(
    deliver: Callable[..., Delivery], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[Mapping[str, Any]] = []
    delivery = deliver(lambda event: sent.append(event) or Outcome(), patience=Patience(first_s=1.0))
    delivery.put(event(1))
    settled(delivery)
    size = (tmp_path / "spool" / "outbox.jsonl").stat().st_size
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, before[1]))
    try:
        delivery.put(event(2))
        assert numbers(sent) == [1, 2]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "cannot be kept on disk" in caplog.text
    delivery.put(event(3))
    settled(delivery)
    delivery.close(0.0)
    again = Outbox(tmp_path / "spool")
    assert not again.parcels
    again.close()


def test_the_log_says_that_deliveries_fail_and_that_they_work_again(
    deliver: Callable[..., Delivery], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    answers = iter([*[Outcome("no route")] * 5, Outcome()])
    delivery = deliver(lambda _: next(answers), workers=1)
    delivery.put(event(1))
    settled(delivery)
    messages = [record.getMessage() for record in caplog.records if "deliver" in record.getMessage()]
    assert len(messages) == 2
    assert "is not delivered: no route; attempt 1 of it" in messages[0]
    assert messages[1] == "events are delivered again"


# Pace


def test_no_minute_has_more_steps_than_allowed() -> None:
    pace, now, steps = Pace(3), 0.0, []
    for _ in range(10):
        now += pace.wait_s(now)
        pace.note(now)
        steps.append(now)
        now += 1.0
    assert all(later - earlier >= 60 for earlier, later in zip(steps, steps[3:], strict=False))
    assert steps[:4] == [0.0, 1.0, 2.0, 60.0]


def test_without_a_limit_nothing_waits() -> None:
    pace = Pace()
    pace.note(5.0)
    assert pace.wait_s(5.0) == 0
    pace.hold(9.0)
    assert pace.wait_s(5.0) == 4.0
    assert pace.wait_s(10.0) == 0
