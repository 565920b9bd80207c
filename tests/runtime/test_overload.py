"""What is done about overload, with a worker of which only the arithmetic is left."""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simworker import Did, SimWorker, rank

from streamcls.config.schema import OverloadSettings
from streamcls.runtime.overload import Overload

BUFFER_S = 5.0
CALM_S = 10.0
LOOK_S = 1.0


class Bench:
    """A worker under a controller that looks once a second; what must always hold is checked at every look."""

    def __init__(self, worker: SimWorker, **options: Any) -> None:
        self.worker = worker
        self.overload = Overload(OverloadSettings(**options), [worker], worker.buffer_s)
        self.overload.tick()

    def run(self, seconds: float, look_s: float = LOOK_S) -> Bench:
        for _ in range(round(seconds / look_s)):
            self.worker.run(look_s)
            steps = len(self.worker.did)
            self.overload.tick()
            assert len(self.worker.did) <= steps + 1, "one kind of step a look"
            self.check_order()
        return self

    def check_order(self) -> None:
        live = [stream for stream in self.worker.streams.values() if stream.live]
        shed = [rank(stream) for stream in live if stream.shed]
        running = [rank(stream) for stream in live if not stream.shed]
        assert running or not live, "one always stays"
        assert not shed or max(running) < min(shed), "a higher priority was given up before a lower one"

    @property
    def facts(self) -> dict[str, Any]:
        return self.overload.facts()["worker-0"]

    def busy_over(self, seconds: float) -> float:
        before = self.worker.busy_s
        self.run(seconds)
        return (self.worker.busy_s - before) / seconds

    def steps(self, *kinds: str) -> list[Did]:
        return [did for did in self.worker.did if not kinds or did.what in kinds]


def loaded(share: float, streams: int = 40, model_share: float = 0.3, **more: Any) -> SimWorker:
    """Return a worker whose streams, with priorities 0 to 4 in turn, bring so much of what it can do."""
    cost = share / streams
    worker = SimWorker(front_s=cost * (1 - model_share), window_s=cost * model_share, **more)
    for number in range(streams):
        worker.open(f"s{number:02}", priority=number % 5)
    return worker


def is_undone(worker: SimWorker) -> bool:
    return worker.every == 1 and not worker.shed_now()


class TestWhatIsNoOverload:
    @pytest.mark.parametrize("share", [0.05, 0.5, 0.85])
    def test_a_load_that_can_be_carried(self, share: float) -> None:
        bench = Bench(loaded(share)).run(60)
        assert bench.steps() == []
        assert bench.facts["realtime_factor"] == pytest.approx(1 / share, rel=0.15)
        assert bench.facts["utilisation"] == pytest.approx(share, abs=0.15)

    def test_what_senders_saved_up_before_they_connected(self) -> None:
        worker = loaded(0.6)
        bench = Bench(worker).run(10)
        for stream in worker.streams.values():
            worker._offer(stream, 4.5)
        assert worker.lag_s() > 4
        assert bench.run(30).steps() == []
        assert worker.lag_s() < 1

    def test_many_streams_that_begin_at_once(self) -> None:
        worker = loaded(0.5, 200, first_s=0.005)
        assert Bench(worker).run(30).steps() == []

    def test_many_streams_that_join_others(self) -> None:
        worker = loaded(0.1, 40)
        bench = Bench(worker).run(10)
        worker.first_s = 0.02
        for number in range(160):
            worker.open(f"late-{number}")
        bench.run(3)
        assert worker.lag_s() > 1
        assert bench.run(30).steps() == []

    @pytest.mark.parametrize("seconds", [1.5, 4.0, 60.0, 3600.0])
    def test_a_process_that_was_stopped_for_a_while(self, seconds: float) -> None:
        worker = loaded(0.6)
        bench = Bench(worker).run(10)
        worker.stand_still(seconds)
        assert bench.run(30).steps() == []

    def test_a_machine_that_slept(self) -> None:
        worker = loaded(0.6)
        bench = Bench(worker).run(10)
        for stream in worker.streams.values():  # the clock stood still too; the senders, elsewhere, went on
            worker._offer(stream, 3600.0)
        assert bench.run(30).steps() == []

    def test_a_file_that_is_caught_up_with(self) -> None:
        worker = loaded(0.3, streams=10)
        file = worker.open("file", rate=1000.0, live=False)
        bench = Bench(worker).run(30)
        assert bench.facts["utilisation"] > 0.95
        assert file.done_s > 100
        assert bench.steps() == []

    def test_a_live_stream_that_is_sent_faster_than_real_time(self) -> None:
        worker = loaded(0.3, streams=10)
        flood = worker.open("flood", rate=1000.0)
        bench = Bench(worker).run(30)
        assert bench.facts["lag_s"] > 3
        assert flood.dropped_s > 100
        assert bench.steps() == []

    def test_chunks_of_several_seconds(self) -> None:
        worker = SimWorker(front_s=0.06)
        for number in range(10):
            worker.open(f"s{number}", chunk_s=3.0)
        assert Bench(worker).run(60).steps() == []

    def test_a_worker_without_streams(self) -> None:
        bench = Bench(SimWorker()).run(5)
        assert bench.facts == {
            "streams": 0, "utilisation": 0.0, "realtime_factor": None, "lag_s": 0.0, "stride_factor": 1, "shed": 0
        }  # fmt: skip


class TestSteps:
    def test_a_stretch_comes_first_and_only_as_far_as_is_needed(self) -> None:
        bench = Bench(loaded(1.3, model_share=0.8)).run(60)
        assert [(did.what, did.value) for did in bench.steps()] == [("stretch", 2)]
        assert bench.worker.lag_s() < 1

    def test_where_that_is_not_enough_the_lowest_priorities_are_given_up_the_last_opened_first(self) -> None:
        bench = Bench(loaded(2.0, model_share=0.1)).run(60)
        first, second, *_ = bench.steps()
        assert (first.what, first.value) == ("stretch", 4)
        assert second.what == "shed"
        lowest_last_first = sorted(bench.worker.streams.values(), key=rank, reverse=True)
        assert isinstance(second.value, tuple)
        assert set(second.value) == {stream.name for stream in lowest_last_first[: len(second.value)]}
        assert bench.busy_over(20) == pytest.approx(0.8, abs=0.08)

    @pytest.mark.parametrize("model_share", [0.05, 0.5, 0.8])
    @pytest.mark.parametrize("streams", [20, 200])
    @pytest.mark.parametrize("known", [False, True])
    def test_ten_times_the_load_costs_what_is_kept_nothing(self, model_share: float, streams: int, known: bool) -> None:
        worker = loaded(10.0, streams, model_share)
        bench = Bench(worker)
        if known:  # there are streams already, as many as can be carried
            for number, stream in enumerate(worker.streams.values()):
                stream.rate = float(number % 10 == 0)
            assert bench.run(20).steps() == []
            for stream in worker.streams.values():
                stream.rate = 1.0
        began = worker.now
        bench.run(60)
        assert all(stream.dropped_s == 0 for stream in worker.streams.values()), "no buffer has run over"
        assert [did.what for did in bench.steps() if did.at - began <= 5][:2] == ["stretch", "shed"]
        assert 0.4 < bench.busy_over(20) < 0.95
        assert worker.lag_s() < 1.5
        assert bench.facts["realtime_factor"] < 0.5
        assert bench.facts["shed"] == len(worker.shed_now())

    def test_ten_times_the_load_that_shows_only_in_rare_windows(self) -> None:
        worker = loaded(10.0, 200, 0.95)
        bench = Bench(worker).run(60)
        lost_s = [stream.dropped_s for stream in worker.streams.values() if not stream.shed]
        assert max(lost_s) < 1
        assert bench.busy_over(20) < 0.95
        assert worker.lag_s() < 1.5

    def test_without_a_stretch_streams_are_given_up_at_once(self) -> None:
        bench = Bench(loaded(3.0), max_stretch=1).run(30)
        assert bench.steps("shed")
        assert not bench.steps("stretch")

    def test_without_shedding_it_stretches_and_then_says_once_that_nothing_is_left(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench = Bench(loaded(5.0), shed=False).run(60)
        assert [(did.what, did.value) for did in bench.steps()] == [("stretch", 4)]
        assert sum("nothing left to give up" in record.message for record in caplog.records) == 1

    def test_nothing_is_done_where_that_is_configured_but_it_is_measured(self) -> None:
        bench = Bench(loaded(4.0), enabled=False).run(30)
        assert bench.steps() == []
        assert bench.facts["realtime_factor"] == pytest.approx(0.25, rel=0.2)

    def test_one_stream_that_is_too_much_by_itself_stays(self) -> None:
        worker = SimWorker(front_s=3.0)
        worker.open("only")
        bench = Bench(worker).run(60)
        assert not bench.steps("shed")

    def test_a_short_buffer_leaves_less_time(self) -> None:
        worker = loaded(3.0, buffer_s=1.0)
        bench = Bench(worker).run(30)
        assert bench.steps("shed"), "a lag of 1 s never comes about"

    def test_each_step_is_logged_once_with_the_figures(self, caplog: pytest.LogCaptureFixture) -> None:
        bench = Bench(loaded(10.0, 20))
        bench.run(60)
        warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warnings) == len(bench.steps())
        assert warnings[0].startswith(
            "worker-0 is overloaded: it has 7.0 times the work that it can do, audio waits for up to "
        )
        assert warnings[0].endswith(" s; only each 4. window is classified now")
        assert "of 20 live streams are given up for now: s" in warnings[1]
        assert warnings[1].endswith("more")


class TestUndoing:
    @pytest.mark.parametrize("share", [1.4, 3.0, 10.0])
    def test_all_is_undone_in_the_reverse_order_once_the_senders_stop(self, share: float) -> None:
        worker = loaded(share)
        bench = Bench(worker).run(60)
        done = list(worker.did)
        assert done
        for stream in worker.streams.values():
            stream.rate = 0.0
        bench.run(4 * CALM_S + 10)
        assert is_undone(worker)
        kinds = [did.what for did in worker.did[len(done) :]]
        assert kinds == sorted(kinds, key=["restore", "stretch"].index)

    def test_the_highest_priorities_come_back_first_and_as_many_as_fit(self) -> None:
        worker = loaded(4.0, 40, 0.0)
        bench = Bench(worker).run(60)
        given_up = sorted((worker.streams[name] for name in worker.shed_now()), key=rank)
        for name in [stream.name for stream in worker.streams.values() if not stream.shed][:4]:
            worker.close(name)
        bench.run(2 * CALM_S)
        restored = [name for did in bench.steps("restore") if isinstance(did.value, tuple) for name in did.value]
        back = [name for name in restored if name in {stream.name for stream in given_up}]
        assert len(back) >= 3
        assert back == [stream.name for stream in given_up[: len(back)]]
        assert bench.run(60).busy_over(20) == pytest.approx(0.8, abs=0.1)

    def test_nothing_is_undone_while_there_is_no_room(self) -> None:
        bench = Bench(loaded(4.0)).run(60)
        before = list(bench.worker.did)
        bench.run(600)
        assert bench.worker.did == before

    def test_what_comes_and_goes_is_undone_ever_more_slowly(self) -> None:
        worker = loaded(4.0, streams=8)
        bench = Bench(worker)
        for _ in range(9):
            for rate in (1.0, 0.0):
                for stream in worker.streams.values():
                    stream.rate = rate
                while bool(worker.shed_now()) != (rate == 1.0):
                    bench.run(1)
        waits = [b.at - a.at for a, b in pairwise(worker.did) if b.what == "restore" and a.what != "restore"]
        assert min(waits) >= CALM_S
        assert max(waits) >= 300
        assert waits[:3] == sorted(waits[:3])
        assert len(waits) == 9

    def test_after_a_long_quiet_it_is_as_patient_as_at_first(self) -> None:
        worker = loaded(4.0)
        bench = Bench(worker)

        def wait_once() -> float:
            for rate in (1.0, 0.0):
                for stream in worker.streams.values():
                    stream.rate = rate
                while bool(worker.shed_now()) != (rate == 1.0):
                    bench.run(1)
            restore, step = bench.steps("restore")[-1], bench.steps("shed")[-1]
            return restore.at - step.at

        first = wait_once()
        assert wait_once() > first + CALM_S / 2
        bench.run(400)
        assert wait_once() == pytest.approx(first, abs=3)


class TestStreamsThatComeAndGo:
    def overloaded(self) -> Bench:
        return Bench(loaded(4.0)).run(60)

    def test_a_late_one_of_a_low_priority_is_given_up_with_those_that_come_before_it(self) -> None:
        bench = self.overloaded()
        bench.worker.open("late", priority=-1)
        bench.run(1)
        assert "late" in bench.worker.shed_now()

    def test_a_late_one_of_a_high_priority_takes_the_place_of_lower_ones(self) -> None:
        bench = self.overloaded()
        before = set(bench.worker.shed_now())
        for number in range(4):
            bench.worker.open(f"news-{number}", priority=100)
        bench.run(30)
        assert before < set(bench.worker.shed_now())
        assert not any(name.startswith("news") for name in bench.worker.shed_now())
        assert all(s.dropped_s == 0 for s in bench.worker.streams.values() if not s.shed)

    def test_one_that_ends_while_it_is_given_up_and_begins_again(self) -> None:
        bench = self.overloaded()
        name = bench.worker.shed_now()[0]
        bench.worker.close(name)
        bench.run(5)
        bench.worker.open(name, priority=-1)
        bench.run(2)
        assert name in bench.worker.shed_now()

    def test_when_all_that_ran_have_ended_others_come_back(self) -> None:
        bench = self.overloaded()
        for name in [s.name for s in bench.worker.streams.values() if not s.shed]:
            bench.worker.close(name)
        for _ in range(30):  # until then none runs: the one that has to stay has ended itself
            bench.worker.run(LOOK_S)
            bench.overload.tick()
        bench.check_order()
        assert bench.run(30).busy_over(20) == pytest.approx(0.8, abs=0.1)

    def test_other_priorities_count_at_once(self) -> None:
        bench = self.overloaded()
        last = max((bench.worker.streams[name] for name in bench.worker.shed_now()), key=rank)
        running = sum(not s.shed for s in bench.worker.streams.values())
        last.priority = 1000
        bench.worker.run(LOOK_S)
        bench.overload.tick()
        bench.check_order()
        assert not last.shed
        assert sum(not s.shed for s in bench.worker.streams.values()) == running

    def test_a_worker_in_the_place_of_another_begins_anew(self) -> None:
        old, new = loaded(4.0), loaded(0.5)
        workers = [old]
        overload = Overload(OverloadSettings(), workers, BUFFER_S)
        for turn in range(60):
            workers[0].run(LOOK_S)
            overload.tick()
            if turn == 20:
                workers[0] = new
                new.now = 1.0
        assert old.shed_now()
        assert new.did == []
        assert overload.facts()["worker-0"]["shed"] == 0
        workers.clear()
        overload.tick()
        assert overload.facts() == {}


class TestOtherSettings:
    @pytest.mark.parametrize("change", [{"enabled": False}, {"shed": False, "max_stretch": 1}])
    def test_what_is_not_allowed_any_more_ends_at_once(self, change: dict[str, Any]) -> None:
        bench = Bench(loaded(4.0)).run(30)
        assert bench.worker.shed_now()
        bench.overload.renew(OverloadSettings(**change))
        bench.run(2)
        assert is_undone(bench.worker)
        bench.run(30)
        assert is_undone(bench.worker)

    def test_a_smaller_stretch(self) -> None:
        bench = Bench(loaded(4.0)).run(30)
        bench.overload.renew(OverloadSettings(max_stretch=2))
        bench.run(30)
        assert bench.worker.every == 2


PHASES = st.lists(
    st.tuples(
        st.floats(0.0, 12.0),  # share of the worker's time
        st.integers(5, 40),  # seconds
        st.sampled_from(["steady", "burst", "stop", "join", "leave"]),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    streams=st.lists(st.tuples(st.integers(-3, 3), st.sampled_from([0.02, 0.1, 0.5, 2.0])), min_size=1, max_size=15),
    phases=PHASES,
    model_share=st.floats(0.0, 0.95),
    stride_s=st.sampled_from([0.5, 1.0, 2.0]),
    looks=st.lists(st.floats(0.5, 1.6), min_size=1, max_size=7),
)
def test_whatever_comes_the_order_holds_the_steps_are_rare_and_all_is_undone_in_the_end(
    streams: list[tuple[int, float]],
    phases: list[tuple[float, int, str]],
    model_share: float,
    stride_s: float,
    looks: list[float],
) -> None:
    worker = SimWorker(stride_s=stride_s)
    for number, (priority, chunk_s) in enumerate(streams):
        worker.open(f"s{number}", priority, chunk_s=chunk_s)
    bench = Bench(worker)

    def pass_time(seconds: float) -> None:
        end, turn = worker.now + seconds, 0
        while worker.now < end:
            bench.run(looks[turn % len(looks)], look_s=looks[turn % len(looks)])
            turn += 1

    for share, seconds, what in phases:
        if what == "join":
            worker.open(f"n{worker.now}", priority=1)
        if what == "burst":
            for stream in worker.streams.values():
                worker._offer(stream, 3.0)
        if what == "stop":
            worker.stand_still(7.0)
        if what == "leave" and len(worker.streams) > 1:
            running = [s.name for s in worker.streams.values() if not s.shed]
            if len(running) > 1:
                worker.close(running[0])
        cost = share / len(worker.streams)
        worker.front_s, worker.window_s = cost * (1 - model_share), cost * model_share * stride_s
        pass_time(seconds)
    for stream in worker.streams.values():
        stream.rate = 0.0
    pass_time(150 + 5 * 320)
    assert is_undone(worker)
    eased = {did for before, did in pairwise(worker.did) if _undoes(before, did, worker.did)}
    for before, did in pairwise(worker.did):
        if did in eased:
            assert did.at - before.at >= CALM_S, "undone before it was calm for long enough"


def _undoes(before: Did, did: Did, steps: list[Did]) -> bool:
    """Whether a step takes one back."""
    if did.what == "stretch":
        earlier = [one.value for one in steps[: steps.index(did)] if one.what == "stretch"]
        return bool(earlier) and isinstance(did.value, int) and did.value < earlier[-1]
    return did.what == "restore"
