"""What is measured of a worker's load."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from fakes import LONG_S, RATE, Collector, FakeBackend, audio, plan_with

from streamcls.runtime.gauge import Gauge
from streamcls.runtime.pace import Pace, StreamPace
from streamcls.runtime.tally import ModelTally
from streamcls.runtime.workers import Worker

if TYPE_CHECKING:
    from pathlib import Path


def stream(name: str, arrived_s: float, *, waiting_s: float = 0.0, opened: int = 1, **more: Any) -> StreamPace:
    return StreamPace(name, 0, opened, more.pop("live", True), arrived_s, waiting_s, shed=False, **more)


def pace(
    at: float,
    *streams: StreamPace,
    busy_s: float = 0.0,
    taken_s: float = 0.0,
    model_s: float = 0.0,
    begun_s: float = 0.0,
) -> Pace:
    return Pace(at, busy_s, model_s, 0.0, taken_s, taken_s, begun_s, 1, streams)


class TestGauge:
    def test_the_first_look_has_nothing_to_be_compared_with(self) -> None:
        assert Gauge().look(pace(0.0)) is None

    def test_work_in_models_is_no_cost_of_audio_but_a_share_of_its_own(self) -> None:
        gauge = Gauge()
        gauge.look(pace(0.0, stream("a", 0.0)))
        a = stream("a", 1.0, model_share=0.4)
        load = gauge.look(pace(1.0, a, busy_s=0.5, taken_s=1.0, model_s=0.3))
        assert load is not None
        assert load.utilisation == pytest.approx(0.5)
        assert load.cost == pytest.approx(0.2)
        assert load.share([a], 1) == pytest.approx(0.6)
        assert load.share([a], 4) == pytest.approx(0.3)

    def test_what_the_beginning_of_streams_takes_is_no_cost_of_audio(self) -> None:
        gauge = Gauge()
        gauge.look(pace(0.0))
        load = gauge.look(pace(1.0, busy_s=0.9, taken_s=1.0, begun_s=0.8))
        assert load is not None
        assert load.cost == pytest.approx(0.1)

    def test_as_many_as_fit_in_their_order(self) -> None:
        gauge = Gauge()
        gauge.look(pace(0.0))
        streams = [stream(name, 1.0, opened=n) for n, name in enumerate("abc")]
        load = gauge.look(pace(1.0, *streams, busy_s=0.9, taken_s=3.0))
        assert load is not None
        assert [load.fitting(streams, limit, 1) for limit in (0.2, 0.31, 0.61, 5.0)] == [0, 1, 2, 3]

    def test_a_stream_that_began_lately_counts_from_the_look_before(self) -> None:
        gauge = Gauge()
        for at in range(5):
            gauge.look(pace(float(at), stream("a", float(at))))
        load = gauge.look(pace(5.0, stream("a", 5.0), stream("b", 0.8, opened=2)))
        assert load is not None
        assert load.rates == {"a": pytest.approx(1.0), "b": pytest.approx(0.8)}

    def test_what_comes_faster_than_real_time_is_no_load_and_its_own_lag(self) -> None:
        gauge = Gauge()
        gauge.look(pace(0.0))
        load = gauge.look(pace(1.0, stream("flood", 50.0, waiting_s=5.0), stream("b", 1.0, waiting_s=0.3, opened=2)))
        assert load is not None
        assert load.rates["flood"] == pytest.approx(1.05)
        assert load.lag_s == 0.3

    def test_a_late_look_begins_anew_but_where_all_are_late(self) -> None:
        gauge = Gauge()
        gauge.look(pace(0.0))
        assert gauge.look(pace(1.0)) is not None
        assert gauge.look(pace(31.0)) is None
        assert gauge.look(pace(32.0)) is not None
        assert gauge.look(pace(35.0)) is None
        assert gauge.look(pace(38.0)) is not None

    def test_a_long_piece_of_work_counts_where_it_ends(self) -> None:
        gauge = Gauge()
        gauge.look(pace(0.0))
        gauge.look(pace(1.0, busy_s=0.0))
        load = gauge.look(pace(2.0, busy_s=2.0, taken_s=1.0))
        assert load is not None
        assert load.utilisation == 1.0

    def test_what_audio_costs_is_remembered_while_none_comes(self) -> None:
        gauge = Gauge()
        gauge.look(pace(0.0))
        gauge.look(pace(1.0, busy_s=0.5, taken_s=5.0))
        for at in range(2, 100):
            load = gauge.look(pace(float(at), busy_s=0.5, taken_s=5.0))
        assert load is not None
        assert load.cost == pytest.approx(0.1)


def test_what_a_window_takes_of_late_follows_what_it_takes() -> None:
    tally = ModelTally()
    tally.note(1.0)
    assert tally.window_s == 1.0
    for _ in range(1000):
        tally.note(0.25)
    assert tally.window_s == pytest.approx(0.25, rel=0.01)
    assert (tally.inferences, tally.seconds) == (1001, pytest.approx(251.0))


@pytest.mark.parametrize("live", [True, False])
def test_a_worker_tells_of_its_pace(live: bool, tmp_path: Path) -> None:
    events, never = Collector(), threading.Event()
    plan = plan_with(tmp_path, FakeBackend())
    worker = Worker(0, events, buffer_s=60.0)
    slot = worker.open("radio-1", plan, "")
    worker.start()
    assert worker.pace().streams[0].model_share == 0, "nothing is known of its models yet"
    for second in range(10):
        worker.deliver(slot, audio(second * RATE, RATE), live=live, stop=never)
    events.wait_for(lambda found: sum(event.kind == "fake.window" for event in found) >= 7)
    worker.finish("shutdown", LONG_S)
    worker.join(LONG_S)
    paced = worker.pace()
    (model, _) = plan.models[0]
    assert paced.streams[0].model_share == pytest.approx(worker.models[model.name].window_s / model.stride_s)
    assert 9.0 <= paced.taken_s < 10.0, "all but the first piece"
    assert paced.begun_s > 0
    assert paced.live_taken_s == pytest.approx(10.0 if live else 0.0)
    assert paced.busy_s >= paced.model_s > 0
