from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from busmodel import World
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcls.bus.client.cursor import Cursor
from streamcls.bus.client.items import Begin, LossReason
from streamcls.bus.client.settings import Wish

EVERYTHING: tuple[str, ...] = ()
ALERTS = ("moderation.alert/",)
KINDS = ["moderation.alert", "genre.segment", "genre.window", "moderation.window"]


def world(kinds: tuple[str, ...] = EVERYTHING, begin: Begin = "now", *, cursor: bool = False, page: int = 500) -> World:
    wish = Wish("tcp://127.0.0.1:8", kinds, begin=begin, page=page, durable=cursor, held=20, beyond=10, name="model")
    return World(wish, Cursor(Path("/nowhere"), "model") if cursor else None)


events = st.tuples(st.just("publish"), st.sampled_from(KINDS), st.sampled_from(["x", "y"]))
network = st.one_of(
    st.tuples(st.just("deliver"), st.integers(1, 10)),
    st.tuples(st.just("drop"), st.integers(0, 5)),
    st.tuples(st.sampled_from(["answer_request", "deliver_reply", "answer_subscriptions", "flow", "flow"])),
    st.tuples(st.just("consume"), st.integers(1, 5)),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 6.0, 40.0])),
)
beats = st.tuples(st.sampled_from(["compose", "heartbeat"]))
rare = st.one_of(st.tuples(st.just("disconnect")), st.tuples(st.just("restart")))
life = st.lists(st.one_of(events, events, network, beats, rare), min_size=10, max_size=120)


def act(around: World, steps: list[tuple[object, ...]], *, connected: bool) -> None:
    """Let it happen, beginning with a client that is connected and has heard a heartbeat or two, or with one that is not."""
    for _ in range(3 if connected else 0):
        around.flow()
        around.heartbeat()
    for name, *arguments in steps:
        getattr(around, str(name))(*arguments)


def wanted(around: World) -> dict[tuple[str, int], str]:
    """Return what the consumer should have had, from where it began in the first journal."""
    start, order = around.begun[0], around.journals.index
    return {
        place: name
        for place, name in around.published.items()
        if (order(place[0]), place[1]) > (order(start.journal), start.position)
        and around.wish.wants(name.split("/", 1)[1])
    }


def check_windows(around: World) -> None:
    """Between two windows of a topic that arrived in one life, each is delivered or reported."""
    for items in around.lives:
        spans: dict[tuple[str, str], list[tuple[int, int]]] = {}
        told: dict[tuple[str, str], set[int]] = {}
        for item in items:
            if hasattr(item, "envelope"):
                if item.envelope["type"].endswith(".window"):
                    number = int(item.envelope["sequence"])
                    spans.setdefault((item.envelope["epoch"], item.topic), []).append((number, number))
            elif item.reason is LossReason.NOT_JOURNALED:
                told.setdefault((item.epoch, item.topic), set()).update(range(item.first, item.last + 1))
        for key, found in spans.items():
            numbers = [first for first, _ in found]
            assert numbers == sorted(set(numbers)), "twice, or out of order"
            missing = set(range(numbers[0], numbers[-1] + 1)) - set(numbers)
            assert missing <= told.get(key, set()), f"{missing} of {key} were hidden"
            assert not set(numbers) & told.get(key, set()), "reported as lost, and delivered"


@pytest.mark.parametrize("kinds", [EVERYTHING, ALERTS, ("moderation.alert", "genre.")])
@settings(max_examples=60)
@given(steps=life, connected=st.booleans(), page=st.integers(1, 7), begin=st.sampled_from(["now", "snapshot", "first"]))
def test_whatever_the_network_drops_every_event_of_the_journal_is_delivered_exactly_once(
    kinds: tuple[str, ...], steps: list[tuple[object, ...]], connected: bool, page: int, begin: Begin
) -> None:
    around = world(kinds, begin, page=page)
    act(around, steps, connected=connected)
    around.settle()
    names = Counter(item.envelope["id"] for item in around.delivered() if "position" in item.envelope)
    missing = [name for name in wanted(around).values() if name not in names]
    assert not missing
    assert max(names.values(), default=1) == 1
    assert {loss.reason for loss in around.losses()} <= {LossReason.NOT_JOURNALED, LossReason.NO_REPLAY}
    check_windows(around)
    if kinds == EVERYTHING and (connected or begin != "now"):
        positions = [int(item.envelope["position"]) for item in around.delivered() if "position" in item.envelope]
        assert positions == sorted(positions)


@pytest.mark.parametrize("kinds", [EVERYTHING, ALERTS])
@settings(max_examples=60)
@given(
    steps=st.lists(
        st.one_of(events, events, network, rare, beats, st.tuples(st.sampled_from(["crash", "save"]))),
        min_size=10,
        max_size=120,
    ),
    connected=st.booleans(),
    page=st.integers(1, 7),
)
def test_a_consumer_that_is_killed_again_and_again_gets_every_event_at_least_once(
    kinds: tuple[str, ...], steps: list[tuple[object, ...]], connected: bool, page: int
) -> None:
    around = world(kinds, "first", cursor=True, page=page)
    act(around, steps, connected=connected)
    around.settle()
    names = {item.envelope["id"] for item in around.delivered()}
    assert [name for name in wanted(around).values() if name not in names] == []
    for items in around.lives:
        once = Counter(item.envelope["id"] for item in items if hasattr(item, "envelope"))
        assert max(once.values(), default=1) == 1, "twice in one life"
    assert {loss.reason for loss in around.losses()} <= {LossReason.NOT_JOURNALED}


@pytest.mark.parametrize("kinds", [EVERYTHING, ALERTS])
@settings(max_examples=60)
@given(
    steps=st.lists(
        st.one_of(events, events, network, rare, beats, st.tuples(st.just("trim"), st.integers(1, 5)),
                  st.tuples(st.just("set_journal_aside"))),
        min_size=10, max_size=120,
    ),
    connected=st.booleans(), page=st.integers(1, 7),
)  # fmt: skip
def test_what_the_journal_no_longer_has_is_reported_and_never_hidden(
    kinds: tuple[str, ...], steps: list[tuple[object, ...]], connected: bool, page: int
) -> None:
    around = world(kinds, page=page)
    act(around, steps, connected=connected)
    around.settle()
    names = Counter(item.envelope["id"] for item in around.delivered())
    assert max(names.values(), default=1) == 1
    missing = [place for place, name in wanted(around).items() if name not in names]
    losses = around.losses()
    changed = any(loss.reason is LossReason.JOURNAL_CHANGED for loss in losses)
    covered = sum(loss.count or 0 for loss in losses if loss.reason is not LossReason.NOT_JOURNALED)
    assert changed or len(missing) <= covered


def ids(around: World) -> list[str]:
    return [item.envelope["id"].rpartition("-00000000/")[2] for item in around.delivered()]


def flow(around: World, times: int = 3) -> None:
    for _ in range(times):
        around.flow()
    around.consume(1_000)


def test_the_first_event_of_a_topic_is_not_taken_for_the_first_one_there_was() -> None:
    around = world(ALERTS)
    flow(around)
    around.publish("moderation.alert", "x")
    around.drop(0)
    around.publish("moderation.alert", "x")
    flow(around)
    assert ids(around) == ["moderation.alert/x/2"]
    around.settle()
    assert ids(around) == ["moderation.alert/x/2", "moderation.alert/x/1"]


def test_the_very_last_event_is_missed_by_the_next_heartbeat() -> None:
    around = world(ALERTS)
    flow(around)
    around.settle()
    around.publish("moderation.alert", "x")
    around.drop(0)
    around.heartbeat()
    flow(around)
    assert ids(around) == ["moderation.alert/x/1"]
    assert around.reported == 1


def test_a_quiet_subscriber_is_not_told_of_the_loss_of_what_it_never_asked_for() -> None:
    around = world(ALERTS)
    around.settle()
    for _ in range(50):
        around.publish("genre.segment", "x")
    around.heartbeat()
    around.heartbeat()
    flow(around)
    around.trim(50)
    around.publish("moderation.alert", "x")
    around.drop(0)
    around.settle()
    assert (ids(around), around.losses()) == (["moderation.alert/x/1"], [])


def test_a_position_gathered_later_than_the_numbers_beside_it_confirms_nothing() -> None:
    around = world(ALERTS, "first", cursor=True)
    around.settle()
    around.compose()
    around.publish("moderation.alert", "x")
    around.drop(0)
    around.heartbeat()
    flow(around)
    around.save()
    around.crash()
    around.settle()
    assert ids(around) == ["moderation.alert/x/1"]


def test_what_did_not_fit_while_it_caught_up_is_asked_for_as_soon_as_it_has() -> None:
    around = World(Wish("tcp://127.0.0.1:8", ALERTS, begin="first", held=20))
    while not around.replies:
        around.answer_subscriptions()
        around.deliver(1)
        around.answer_request()
    for _ in range(30):  # 20 are held back
        around.publish("moderation.alert", "x")
    around.deliver(30)
    flow(around, 4)
    assert ids(around) == [f"moderation.alert/x/{number}" for number in range(1, 31)]


def test_what_is_replayed_counts_as_arrived() -> None:
    around = world(ALERTS, "first")
    around.publish("moderation.alert", "x")
    around.link.clear()
    flow(around, 4)
    around.publish("moderation.alert", "x")
    asked = around.asked
    flow(around)
    assert ids(around) == ["moderation.alert/x/1", "moderation.alert/x/2"]
    assert around.asked == asked, "there was no hole"


def test_an_echo_that_shows_another_start_of_the_daemon_is_enough_to_ask() -> None:
    around = world(ALERTS)
    around.settle()
    around.publish("moderation.alert", "x")
    around.restart()
    around.core.sync(around.now)
    around.act()
    flow(around, 4)
    assert ids(around) == ["moderation.alert/x/1"]


def test_losses_by_count_name_topic_epoch_and_numbers() -> None:
    around = world(("genre.window",))
    around.settle()
    around.publish("genre.window", "x")
    flow(around)
    for _ in range(3):
        around.publish("genre.window", "x")
    for _ in range(2):
        around.drop(0)
    flow(around)
    (loss,) = around.losses()
    assert (loss.reason, loss.topic, loss.count, loss.epoch, loss.first, loss.last) == (
        LossReason.NOT_JOURNALED, "genre.window/x", 2, around.epoch, 2, 3,
    )  # fmt: skip
    assert str(loss) == "2 events of genre.window/x lost: not journaled"


def test_what_was_replayed_of_a_start_of_the_daemon_that_was_not_known_yet_counts_as_arrived() -> None:
    around = world()
    act(around, [("publish", "moderation.alert", "x")] * 5, connected=True)
    around.deliver(2)
    around.restart()
    around.publish("moderation.alert", "x")
    around.settle()
    assert [name for name in ids(around) if "alert" in name] == [
        *(f"moderation.alert/x/{number}" for number in range(1, 6)),
        "moderation.alert/x/1",
    ]
    assert around.losses() == []
