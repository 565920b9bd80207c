"""The checkpoint of a stream of which nothing comes any more, beside others that leave their worker no pause."""

from __future__ import annotations

import threading

import numpy as np

from streamcls.runtime.models import StreamPlan
from streamcls.runtime.workers import Worker
from streamcls.types import Chunk

RATE = 8_000
LONG_S = 20.0
CHECKPOINT_S = 1_000.0
"""By the worker's clock; far beyond what it ever waits for something to do."""


def chunk(stream: str, second: int, mark: dict[str, int] | None = None) -> Chunk:
    return Chunk(stream, np.zeros((RATE, 1), np.float32), RATE, second * RATE, None, mark)


def test_a_quiet_stream_gets_its_checkpoint_although_another_one_keeps_the_worker_busy() -> None:
    now, furthest, others = [0.0], [], threading.Semaphore(0)
    saved = threading.Event()

    def take(events, checkpoint) -> None:
        if checkpoint is not None:
            furthest.append(checkpoint.state["pipeline"]["furthest"])
            if furthest[-1] == 2 * RATE:
                saved.set()
        if any(event.stream.startswith("busy") for event in events):
            others.release()

    worker = Worker(0, lambda _: None, 60.0, publish_all=take, checkpoint_s=CHECKPOINT_S, clock=lambda: now[0])
    worker.start()
    quiet, stop = worker.open("quiet", StreamPlan((), {}), "", "tape"), threading.Event()
    for second in range(2):
        assert worker.deliver(quiet, chunk("quiet", second, {"at": second}), live=False, stop=stop)
    with worker._changed:
        assert worker._changed.wait_for(lambda: not quiet.inbox, LONG_S)
    for number in range(2):
        busy = worker.open(f"busy-{number}", StreamPlan((), {}), "", "mic")
        assert worker.deliver(busy, chunk(busy.name, 0), live=True, stop=stop)
        assert others.acquire(timeout=LONG_S)  # what came before it has been worked on
        assert saved.is_set() == (number == 1), furthest
        now[0] += CHECKPOINT_S
    worker.finish("shutdown", 1.0)
    worker.join(LONG_S)
