"""The queue before the bus thread: who waits for room, and for how long."""

from __future__ import annotations

import threading

import pytest
from busside import LONG_S, event

from streamcls.bus.outgoing import Delivery, Outgoing
from streamcls.errors import BusError

ONE = Delivery((event(),))


def full() -> Outgoing:
    queue = Outgoing(2)
    for _ in range(2):
        assert queue.put(ONE)
    return queue


def test_who_has_a_time_out_does_not_wait_for_ever_where_nothing_is_taken() -> None:
    queue = full()
    assert not queue.put(ONE, 0.0)
    assert len(queue) == 2
    queue.take(1)
    assert queue.put(ONE, 0.0)
    queue.release()


@pytest.mark.parametrize("end", [Outgoing.close, lambda queue: queue.fail(ValueError("the disk is gone"))])
def test_who_waits_for_room_is_told_when_there_will_never_be_any(end) -> None:
    queue, said = full(), []

    def wait() -> None:
        with pytest.raises(BusError) as told:
            queue.put(ONE)
        said.append(str(told.value))

    waiting = threading.Thread(target=wait)
    waiting.start()
    end(queue)
    waiting.join(LONG_S)
    assert len(said) == 1
    assert "the bus has stopped" in said[0]
    with pytest.raises(BusError):
        queue.put(ONE, 0.0)
    queue.release()
