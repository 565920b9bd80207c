"""The subscriber ``prometheus``: what it serves is read with the parsers of Prometheus' own client library."""

from __future__ import annotations

import json
import socket
import sys
import threading
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from streamcls import StreamclsError
from streamcls.testing import SubscriberContract, example_envelopes, make_envelope
from streamcls_prometheus import PrometheusSubscriber
from streamcls_prometheus.server import Handler, Server

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def served(clock: Clock) -> Iterator[PrometheusSubscriber]:
    config = PrometheusSubscriber.Config(port=0, stale_s=30, retrying_s=60, forget_s=300)
    subscriber = PrometheusSubscriber(config, clock)
    yield subscriber
    subscriber.close()


def _get(subscriber: PrometheusSubscriber, path: str, accept: str = "") -> tuple[int, str, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{subscriber.port}{path}", headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310 - a server of ours
            return response.status, response.headers["Content-Type"], response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


class Samples(dict[tuple[str, frozenset[str]], float]):
    """Values by name and labels' values, in whatever order those are asked for."""

    def __getitem__(self, key: tuple[str, Iterable[str]]) -> float:
        return super().__getitem__((key[0], frozenset(key[1])))


def _samples(subscriber: PrometheusSubscriber) -> Samples:
    """Return every sample by name and the values of its labels."""
    status, content_type, text = _get(subscriber, "/metrics")
    assert status == 200
    assert content_type.startswith("text/plain")
    found = Samples()
    for family in parse_text(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.values()))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def _health(subscriber: PrometheusSubscriber) -> list[str]:
    """Return the reasons; empty for a daemon that is well."""
    status, content_type, text = _get(subscriber, "/healthz")
    assert content_type == "application/json; charset=utf-8"
    answer = json.loads(text)
    assert answer["status"] == {200: "ok", 503: "unavailable"}[status]
    reasons: list[str] = answer.get("reasons", [])
    assert bool(reasons) == (status == 503)
    return reasons


def _beat(uptime_s: float = 60.0, sequence: int = 1, **data: Any) -> Mapping[str, Any]:
    facts = {"version": "9.9", "uptime_s": uptime_s, "streams": {}, "sources": {}, "subscribers": {}, **data}
    return make_envelope("daemon.heartbeat", facts, stream="example", sequence=sequence)


def _stream(state: str = "running", **facts: Any) -> dict[str, Any]:
    return {"state": state, "waiting_s": 0.0, "dropped_samples": 0, "failures": 0, **facts}


class TestContract(SubscriberContract):
    component = PrometheusSubscriber

    def options(self) -> Mapping[str, Any]:
        return {"port": 0}


class TestMetrics:
    def test_they_say_what_the_events_said(self, served: PrometheusSubscriber, clock: Clock) -> None:
        events = [e for e in example_envelopes() if e["data"].get("state") not in {"ended", "failed", "stalled"}]
        for event in events:
            clock.now += 1
            served.handle(event)
        clock.now += 2
        found = _samples(served)
        kinds = [e["type"].removeprefix("streamcls.") for e in events]
        for kind in set(kinds):
            assert found["streamcls_events_total", (kind,)] == kinds.count(kind)
        assert found["streamcls_alerts_total", ("radio-1", "siren")] == 1
        assert found["streamcls_alerts_open", ("radio-1", "siren")] == 0
        assert found["streamcls_windows_total", ("radio-1", "genre-cnn")] == 2
        assert found["streamcls_windows_total", ("radio-1", "moderation-cnn")] == 2
        heartbeat = events[-1]["data"]
        assert found["streamcls_build_info", ("example", heartbeat["version"])] == 1
        assert found["streamcls_bus_published_total", ()] == heartbeat["published"]
        assert found["streamcls_resident_memory_bytes", ()] == heartbeat["resident_bytes"]
        assert found["streamcls_uptime_seconds", ()] == 60
        assert found["streamcls_heartbeat_age_seconds", ()] == 2
        assert found["streamcls_journal_up", ()] == 1
        assert found["streamcls_journal_bytes", ()] == heartbeat["journal"]["bytes"]
        assert found["streamcls_journal_written_total", ()] == heartbeat["journal"]["written"]
        assert found["streamcls_client_missed_total", ("desk",)] == 2
        assert found["streamcls_stream_state", ("radio-1", "running")] == 1
        assert found["streamcls_stream_state", ("radio-1", "ended")] == 0
        assert sum(v for (n, labels), v in found.items() if n == "streamcls_stream_state" and "radio-1" in labels) == 1
        assert found["streamcls_stream_waiting_seconds", ("radio-1",)] == 0.1
        assert found["streamcls_stream_lost_samples_total", ("radio-1",)] == 441
        assert found["streamcls_stream_last_window_age_seconds", ("radio-1",)] == pytest.approx(2.4)
        assert found["streamcls_stream_rms_dbfs", ("radio-1", "1")] == -18.4
        assert found["streamcls_model_inferences_total", ("genre-cnn",)] == 120
        assert found["streamcls_source_state", ("radio-1", "running")] == 1
        assert found["streamcls_source_counter", ("radio-1", "overflows")] == 2
        assert found["streamcls_subscriber_up", ("console",)] == 1
        assert found["streamcls_subscriber_handled_total", ("console",)] == 128
        assert found["streamcls_subscriber_behind_events", ("console",)] == 0
        assert found["streamcls_subscriber_waiting_events", ("webhook",)] == 2
        assert found["streamcls_subscriber_oldest_waiting_seconds", ("webhook",)] == 61.5
        assert found["streamcls_subscriber_counter", ("webhook", "delivered")] == 10
        assert found["streamcls_config_reloads_total", ()] == 3
        assert found["streamcls_config_reloads_refused_total", ()] == 1
        assert found["streamcls_config_last_reload_successful", ()] == 1
        assert found["streamcls_stuck_threads", ()] == 1
        assert found["streamcls_worker_realtime_factor", ("worker-0",)] == 45.2
        assert ("streamcls_worker_realtime_factor", frozenset({"worker-1"})) not in found, "nothing came to tell by"
        assert found["streamcls_worker_utilisation_ratio", ("worker-0",)] == 0.021
        assert found["streamcls_worker_streams", ("worker-1",)] == 0
        assert found["streamcls_worker_stride_factor", ("worker-0",)] == 1
        assert found["streamcls_worker_shed_streams", ("worker-0",)] == 0

    def test_an_open_alert_is_shown_as_long_as_it_is(self, served: PrometheusSubscriber) -> None:
        alerts = {e["data"]["phase"]: e for e in example_envelopes() if e["type"].endswith("alert")}
        served.handle(alerts["opened"])
        served.handle(alerts["updated"])
        assert _samples(served)["streamcls_alerts_open", ("radio-1", "siren")] == 1
        served.handle(alerts["closed"])
        assert _samples(served)["streamcls_alerts_open", ("radio-1", "siren")] == 0

    def test_openmetrics_says_the_same_to_whom_wants_it(self, served: PrometheusSubscriber) -> None:
        for event in example_envelopes():
            served.handle(event)
        status, content_type, text = _get(served, "/metrics", OPENMETRICS)
        assert status == 200
        assert content_type.startswith("application/openmetrics-text")
        families = {family.name: family for family in parse_openmetrics(text)}
        assert families["streamcls_events"].type == "counter"
        assert families["streamcls_build"].type == "info"
        [published] = families["streamcls_bus_published"].samples
        assert (published.name, published.value) == ("streamcls_bus_published_total", 128)

    def test_every_name_follows_the_conventions(self, served: PrometheusSubscriber) -> None:
        for event in example_envelopes():
            served.handle(event)
        for family in parse_text(_get(served, "/metrics")[2]):
            assert family.name.startswith("streamcls_")
            assert family.documentation.endswith(".")
            assert not family.name.endswith(("_ms", "_mb", "_percent", "_s"))
            assert all(sample.name.endswith("_total") == (family.type == "counter") for sample in family.samples)

    def test_what_is_told_under_the_daemon_s_name_makes_no_stream(self, served: PrometheusSubscriber) -> None:
        for event in example_envelopes():
            served.handle(event)
        found = _samples(served)
        assert ("streamcls_stream_state", frozenset({"radio-1", "running"})) in found
        assert ("streamcls_stream_state", frozenset({"streamcls", "running"})) not in found

    def test_labels_hold_whatever_a_label_is(self, served: PrometheusSubscriber) -> None:
        label = 'a"b\\c\nd}{=,ü\ud800'
        alert = {"id": "1" * 32, "phase": "opened", "label": label}
        event = make_envelope("moderation.alert", {**alert, "label": "x"})
        served.handle({**event, "data": alert})
        expected = 'a"b\\c\nd}{=,ü\\ud800'
        assert _samples(served)["streamcls_alerts_total", ("radio-1", expected)] == 1

    def test_a_refused_reload_and_overload_are_told_and_are_no_reason_for_a_restart(
        self, served: PrometheusSubscriber
    ) -> None:
        refused = {"count": 2, "refused": 1, "last": {"state": "refused"}}
        worker = {"streams": 9, "stride_factor": 4, "shed": 3, "utilisation": 1.0, "realtime_factor": 0.3}
        streams = {"a": _stream("shed", window_age_s=500.0)}
        served.handle(_beat(reload=refused, workers={"worker-0": worker}, streams=streams))
        found = _samples(served)
        assert found["streamcls_config_last_reload_successful", ()] == 0
        assert found["streamcls_worker_shed_streams", ("worker-0",)] == 3
        assert found["streamcls_worker_stride_factor", ("worker-0",)] == 4
        assert found["streamcls_stream_state", ("a", "shed")] == 1
        assert _health(served) == []

    def test_totals_never_go_back(self, served: PrometheusSubscriber) -> None:
        for sequence, lost in enumerate((100, 30, 40), 1):
            streams = {"a": _stream(lost_samples=lost)}
            served.handle(_beat(sequence * 5.0, sequence, published=sequence, streams=streams))
        assert _samples(served)["streamcls_stream_lost_samples_total", ("a",)] == 140

    def test_a_stream_that_ended_disappears_after_a_while(self, served: PrometheusSubscriber, clock: Clock) -> None:
        served.handle(_beat(streams={"a": _stream(dropped_samples=7)}))
        served.handle(make_envelope("stream.status", {"state": "ended", "reason": ""}, stream="a"))
        clock.now += 299
        found = _samples(served)
        assert found["streamcls_stream_state", ("a", "ended")] == 1
        assert found["streamcls_stream_dropped_samples_total", ("a",)] == 7
        assert ("streamcls_stream_waiting_seconds", frozenset({"a"})) not in found
        clock.now += 2
        assert not [key for key in _samples(served) if "a" in key[1]]

    def test_a_stream_that_the_daemon_has_no_more_disappears_too(
        self, served: PrometheusSubscriber, clock: Clock
    ) -> None:
        served.handle(_beat(5, 1, streams={"a": _stream()}))
        served.handle(_beat(10, 2))
        clock.now += 301
        assert not [key for key in _samples(served) if "a" in key[1]]

    def test_names_that_come_without_end_do_not(self, served: PrometheusSubscriber) -> None:
        for number in range(300):
            served.handle(make_envelope(f"strange.kind{number}", {}))
        assert _samples(served)["streamcls_events_total", ("other",)] == 100

    def test_before_anything_was_heard_there_is_little(self, served: PrometheusSubscriber) -> None:
        assert _samples(served)["streamcls_healthy", ()] == 0


class TestHealth:
    def test_nothing_heard_yet(self, served: PrometheusSubscriber) -> None:
        assert _health(served) == ["nothing was heard of the daemon yet"]

    def test_a_heartbeat_is_enough(self, served: PrometheusSubscriber) -> None:
        served.handle(_beat())
        assert _health(served) == []
        assert _samples(served)["streamcls_healthy", ()] == 1

    def test_three_heartbeats_may_be_missing(self, served: PrometheusSubscriber, clock: Clock) -> None:
        for sequence in range(1, 4):
            served.handle(_beat(sequence * 20.0, sequence))
        clock.now += 59.9
        assert _health(served) == []
        clock.now += 0.2
        assert _health(served) == ["daemon: the last heartbeat came 60.1 s ago; one is due every 20.0 s"]
        served.handle(_beat(140.0, 4))
        assert _health(served) == []

    def test_a_running_stream_without_windows(self, served: PrometheusSubscriber, clock: Clock) -> None:
        running = next(event for event in example_envelopes() if "models" in event["data"])
        window = next(event for event in example_envelopes() if event["type"].endswith("genre.window"))
        served.handle(running)
        served.handle(_beat(5.0, 1, streams={"radio-1": _stream()}))
        clock.now += 29
        served.handle(window)
        served.handle(_beat(10.0, 2, streams={"radio-1": _stream()}))
        clock.now += 30.5
        served.handle(_beat(40.0, 3, streams={"radio-1": _stream()}))
        assert _health(served) == ["stream radio-1: no window for 30.5 s"]
        served.handle(window)
        assert _health(served) == []

    def test_the_heartbeat_tells_the_age_where_window_events_are_off(
        self, served: PrometheusSubscriber, clock: Clock
    ) -> None:
        served.handle(_beat(5.0, 1, streams={"a": _stream(window_age_s=1.5)}))
        assert _health(served) == []
        clock.now += 29
        served.handle(_beat(34.0, 2, streams={"a": _stream(window_age_s=30.5)}))
        assert _health(served) == ["stream a: no window for 30.5 s"]
        clock.now += 1
        served.handle(_beat(35.0, 3, streams={"a": _stream(window_age_s=0.2)}))
        assert _health(served) == []

    @pytest.mark.parametrize("state", ["connecting", "retrying", "shed", "ended"])
    def test_only_a_running_stream_owes_windows(self, served: PrometheusSubscriber, clock: Clock, state: str) -> None:
        served.handle(_beat(5.0, 1, streams={"a": _stream(window_age_s=1.0)}))
        served.handle(make_envelope("stream.status", {"state": state, "reason": "x"}, stream="a"))
        clock.now += 100
        served.handle(_beat(100.0, 2, streams={"a": _stream(state, window_age_s=101.0)}))
        assert _health(served) == []

    def test_a_stalled_stream_is_ill_once_its_time_for_a_window_is_over(
        self, served: PrometheusSubscriber, clock: Clock
    ) -> None:
        served.handle(_beat(5.0, 1, streams={"a": _stream(window_age_s=1.0)}))
        served.handle(make_envelope("stream.status", {"state": "stalled", "reason": "nothing for 20 s"}, stream="a"))
        clock.now += 20
        served.handle(_beat(25.0, 2, streams={"a": _stream("stalled", window_age_s=21.0)}))
        assert _health(served) == []
        clock.now += 20
        served.handle(_beat(45.0, 3, streams={"a": _stream("stalled", window_age_s=41.0)}))
        assert _health(served) == ["stream a: stalled: nothing for 20 s; no window for 41.0 s"]

    def test_a_stream_that_runs_again_has_its_time_to_make_a_window(
        self, served: PrometheusSubscriber, clock: Clock
    ) -> None:
        served.handle(_beat(5.0, 1, streams={"a": _stream(window_age_s=1.0)}))
        served.handle(make_envelope("stream.status", {"state": "retrying", "reason": "x"}, stream="a"))
        clock.now += 100
        served.handle(make_envelope("stream.status", {"state": "running", "reason": ""}, stream="a", sequence=2))
        served.handle(_beat(100.0, 2, streams={"a": _stream(window_age_s=101.0)}))
        assert _health(served) == []
        clock.now += 31
        served.handle(_beat(131.0, 3, streams={"a": _stream(window_age_s=132.0)}))
        assert _health(served) == ["stream a: no window for 31.0 s"]

    def test_a_stream_without_models_owes_none(self, served: PrometheusSubscriber, clock: Clock) -> None:
        served.handle(_beat(5.0, 1, streams={"a": _stream()}))
        clock.now += 100
        served.handle(_beat(100.0, 2, streams={"a": _stream()}))
        assert _health(served) == []

    def test_a_source_may_be_lost_for_a_while(self, served: PrometheusSubscriber, clock: Clock) -> None:
        lost = {"desk": {"state": "retrying", "reason": "unplugged", "counters": {}}}
        for sequence, seconds in enumerate((0, 30, 30.5), 1):
            clock.now += seconds
            served.handle(_beat(10 + clock.now, sequence, sources=lost))
            assert _health(served) == ([] if sequence < 3 else ["source desk: lost for 60.5 s: unplugged"])
        served.handle(_beat(2_000, 9, sources={"desk": {"state": "running", "reason": "", "counters": {}}}))
        assert _health(served) == []

    def test_what_never_was_there_is_awaited_for_a_while(self, served: PrometheusSubscriber, clock: Clock) -> None:
        awaited = {
            "log": {"state": "connecting", "reason": "/x.wav does not exist yet", "counters": {}},
            "net": {"state": "connecting", "reason": "", "counters": {}},
        }
        served.handle(_beat(10, 1, sources=awaited))
        assert _health(served) == []
        clock.now += 60.5
        served.handle(_beat(70.5, 2, sources=awaited))
        assert _health(served) == ["source log: awaited for 60.5 s: /x.wav does not exist yet"]

    def test_parts_that_say_they_failed(self, served: PrometheusSubscriber) -> None:
        served.handle(
            _beat(
                journal={"state": "failed", "reason": "database or disk is full"},
                evidence={"state": "failed", "reason": "Permission denied"},
                sources={"mic": {"state": "failed", "reason": "no such device", "counters": {}}},
                subscribers={
                    "a": {"alive": True, "state": "running"},
                    "b": {"alive": True, "state": "open", "reason": "RuntimeError: x"},
                    "c": {"alive": False, "reason": "it cannot be made"},
                    "d": {"alive": True, "state": "hung", "reason": ""},
                    "e": {"alive": True, "state": "running", "waiting": 4, "waited_s": 59.0, "trouble": "no answer"},
                    "f": {"alive": True, "state": "running", "waiting": 4, "waited_s": 61.0, "trouble": "no answer"},
                    "g": {"alive": True, "state": "running", "trouble": "HTTP status 404", "counters": {"dead": 2}},
                },
                stuck=[{"name": "worker-1", "silent_s": 31.2}],
                security={"alive": False},
                streams={"s": _stream("failed")},
            )
        )
        assert _health(served) == [
            "stream s: failed",
            "source mic: failed: no such device",
            "thread worker-1: no progress",
            "security: the authenticator has stopped; nobody is let in",
            "journal: failed: database or disk is full",
            "evidence: failed: Permission denied",
            "subscriber b: open: RuntimeError: x",
            "subscriber c: it has ended: it cannot be made",
            "subscriber d: hung",
            "subscriber f: events wait to be delivered for 61 s: no answer",
            "subscriber g: the last delivery failed, and events are given up: HTTP status 404",
        ]
        assert _samples(served)["streamcls_journal_up", ()] == 0

    def test_after_a_restart_of_the_daemon_its_heartbeat_is_awaited(self, served: PrometheusSubscriber) -> None:
        served.handle(_beat())
        status = make_envelope("stream.status", {"state": "running", "reason": ""})
        served.handle({**status, "epoch": "0999999999999-00000000"})
        assert _health(served) == ["nothing was heard of the daemon yet"]


def test_without_the_library_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    [problem] = PrometheusSubscriber.preflight(PrometheusSubscriber.Config())
    assert "pip install 'streamcls[prometheus]'" in problem
    with pytest.raises(StreamclsError, match="pip install"):
        PrometheusSubscriber(PrometheusSubscriber.Config())


class TestServer:
    def test_other_paths_are_not_found(self, served: PrometheusSubscriber) -> None:
        assert _get(served, "/")[0] == 200
        assert _get(served, "/../etc/passwd")[0] == 404

    def test_it_takes_no_other_methods(self, served: PrometheusSubscriber) -> None:
        assert self._raw(served, b"POST /metrics HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.0 501")

    def test_head_is_get_without_the_content(self, served: PrometheusSubscriber) -> None:
        answer = self._raw(served, b"HEAD /healthz HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.0 503")
        assert answer.endswith(b"\r\n\r\n")

    @pytest.mark.parametrize(
        "request_",
        [
            b"\0" * 100_000,
            b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
            b"\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
        ],
        ids=["zeros", "long line", "many headers", "nothing", "half", "version"],
    )
    def test_nonsense_does_not_end_it(self, served: PrometheusSubscriber, request_: bytes) -> None:
        self._raw(served, request_)
        assert _get(served, "/")[0] == 200

    def test_who_says_nothing_holds_nobody_up_for_long(
        self, served: PrometheusSubscriber, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Sixteen connections that send nothing: everybody else is turned away, and let in again when they are cut off."""
        monkeypatch.setattr(Handler, "timeout", 0.5)
        lame = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(40)]
        lame[0].settimeout(30)
        assert lame[0].recv(1) == b""
        for connection in lame:
            connection.close()
        for _ in range(200):
            try:
                assert _get(served, "/")[0] == 200
                break
            except OSError:
                threading.Event().wait(0.05)
        else:
            raise AssertionError("it never served again")

    def test_who_sends_a_byte_at_a_time_is_cut_off(
        self, served: PrometheusSubscriber, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Server, "longest_s", 0.7)
        with socket.create_connection(("127.0.0.1", served.port)) as slow:
            slow.settimeout(0.2)
            for _ in range(300):
                try:
                    slow.sendall(b"G")
                    if slow.recv(1) == b"":
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
            else:
                raise AssertionError("it was never cut off")

    def test_a_taken_port_is_an_error_that_names_it(self, served: PrometheusSubscriber) -> None:
        with pytest.raises(StreamclsError, match=f"cannot listen at 127.0.0.1 port {served.port}: "):
            PrometheusSubscriber(PrometheusSubscriber.Config(port=served.port))

    def test_after_closing_the_port_is_free(self) -> None:
        first = PrometheusSubscriber(PrometheusSubscriber.Config(port=0))
        first.close()
        PrometheusSubscriber(PrometheusSubscriber.Config(port=first.port)).close()

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])  # noqa: S104 - it is refused
    def test_an_address_that_others_reach_is_refused(self, host: str) -> None:
        [problem] = PrometheusSubscriber.preflight(PrometheusSubscriber.Config(host=host))
        assert "insecure = true" in problem
        assert PrometheusSubscriber.preflight(PrometheusSubscriber.Config(host=host, insecure=True)) == []

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
    def test_this_machine_s_own_is_not(self, host: str) -> None:
        assert PrometheusSubscriber.preflight(PrometheusSubscriber.Config(host=host)) == []

    @staticmethod
    def _raw(subscriber: PrometheusSubscriber, request: bytes) -> bytes:
        answer = b""
        with socket.create_connection(("127.0.0.1", subscriber.port), 20) as connection:
            try:
                connection.sendall(request)
                while piece := connection.recv(65_536):
                    answer += piece
            except ConnectionError:
                return answer  # it hung up in the middle of a request that was too long
        return answer
