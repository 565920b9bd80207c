from __future__ import annotations

import gc
import json
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from busside import event, publisher
from fakes import LONG_S, NO_MODELS, RATE, Collector, ListSource, audio

from streamcls.runtime.stats import heartbeat, resident_bytes
from streamcls.runtime.supervisor import Router, SourceThread
from streamcls.runtime.workers import Worker

if TYPE_CHECKING:
    from pathlib import Path


def test_resident_memory_is_that_of_this_process() -> None:
    gc.collect()
    before = resident_bytes()
    block = bytearray(256 << 20)
    assert resident_bytes() - before > 128 << 20
    assert block
    del block


def test_without_proc_the_most_it_ever_was_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    real = resident_bytes()

    def nothing(self: Path, **_: object) -> str:
        raise FileNotFoundError(str(self))

    monkeypatch.setattr("pathlib.Path.read_text", nothing)
    assert resident_bytes() >= real // 2


def test_a_heartbeat_is_json_and_states_what_there_is() -> None:
    events = Collector()
    worker = Worker(0, events, buffer_s=5.0)
    router = Router([worker], lambda _: NO_MODELS, events, "E")
    source = ListSource([audio(0, 3 * RATE, "a"), audio(0, RATE, "b")])
    source.counters = {"overflows": 3}  # type: ignore[attr-defined]
    thread = SourceThread("list", source, router, retry_s=1, retry_max_s=1)
    thread._end_streams = lambda: None  # type: ignore[method-assign]  # they stay open to be looked at
    thread.start()
    thread.join(LONG_S)
    subscriber = SimpleNamespace(subscriber_name="console", facts=lambda: {"alive": True, "state": "running"})
    with publisher() as bus:
        waiting = heartbeat(1.26, bus, [worker], [thread], [subscriber])  # type: ignore[list-item]
        idle = {"dropped_samples": 0, "failures": 0, "audio_s": 0.0, "busy_s": 0.0}
        assert waiting["streams"]["a"] == {"state": "connecting", "live": False, "waiting_s": 3.0, **idle}
        worker.start()
        events.wait_for(lambda all_: len(all_) == 2)
        worker.finish("shutdown", LONG_S)
        worker.join(LONG_S)
        bus.publish(event(1))
        while bus.published == 0:
            threading.Event().wait(0.01)
        facts: dict[str, Any] = json.loads(json.dumps(heartbeat(1.26, bus, [worker], [thread], [subscriber])))  # type: ignore[list-item]
    assert (facts["uptime_s"], facts["published"], facts["waiting"]) == (1.3, 1, 0)
    assert facts["positions"] == {"genre.window/radio-1": 1}
    assert facts["sources"] == {"list": {"state": "ended", "reason": "", "counters": {"overflows": 3}}}
    assert facts["subscribers"] == {"console": {"alive": True, "state": "running"}}
    assert facts["models"] == {}
    assert facts["streams"]["a"]["audio_s"] == 3.0
    assert facts["streams"]["a"]["busy_s"] > 0
    assert "window_age_s" not in facts["streams"]["a"], "no model listens"
    levels = facts["streams"]["a"]
    assert (levels["windows"], levels["gaps"], levels["lost_samples"]) == (0, 0, 0)
    assert len(levels["peak_dbfs"]) == len(levels["rms_dbfs"]) == 1
    assert -25 < levels["rms_dbfs"][0] < -15, "the noise has an RMS of 0.1"


class _Raising(ListSource):
    @property
    def counters(self) -> dict[str, int]:
        raise RuntimeError("boom")


class _Odd(ListSource):
    counters = {"good": 1, "text": "x", "nan": float("nan"), "list": [1], 7: 2.5}  # noqa: RUF012


@pytest.mark.parametrize(
    ("source", "counters"), [(_Raising(), {}), (_Odd(), {"good": 1, "7": 2.5}), (ListSource(), {})]
)
def test_counters_of_a_strangers_source_spoil_no_heartbeat(source: ListSource, counters: dict[str, float]) -> None:
    thread = SimpleNamespace(source_name="x", state="running", reason="", source=source)
    with publisher() as bus:
        facts = heartbeat(0.0, bus, [], [thread], [])  # type: ignore[list-item]
    assert facts["sources"]["x"]["counters"] == counters
