"""The subscriber ``mqtt`` against a real mosquitto."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from broker import Broker, Ear, retained
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from streamcls import StreamclsError, SubscriberBusyError
from streamcls.testing import SubscriberContract, example_envelopes, make_envelope
from streamcls_mqtt import MqttSubscriber

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

BASE = "streamcls/example"
_OF_PHASE = {e["data"]["phase"]: e for e in example_envelopes() if e["type"] == "streamcls.moderation.alert"}
ALERTS = [
    make_envelope(
        "moderation.alert",
        {key: value for key, value in _OF_PHASE[phase]["data"].items() if key not in {"muted", "acknowledged"}},
        sequence=number,
    )
    for number, phase in enumerate(("opened", "updated", "closed"), 1)
]
SEGMENTS = [event for event in example_envelopes() if event["type"] == "streamcls.genre.segment"]
RUNNING = next(event for event in example_envelopes() if "models" in event["data"])
ENDED = make_envelope("stream.status", {"state": "ended", "reason": "end of stream"}, sequence=90)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as running:
        yield running


def _subscriber(broker: Broker, **options: Any) -> MqttSubscriber:
    config = MqttSubscriber.Config.model_validate({"port": broker.port, "timeout_s": 20.0, **options})
    assert MqttSubscriber.preflight(config) == []
    return MqttSubscriber(config)


def _take(broker: Broker, taken: list[Any], /, **options: Any) -> None:
    subscriber = _subscriber(broker, **options)
    try:
        for event in taken:
            subscriber.handle(event)
    finally:
        subscriber.close()


def _offline(heard: list[tuple[str, bytes, bool]]) -> bool:
    return [payload for _, payload, _ in heard[-1:]] == [b"offline"]


class TestContract(SubscriberContract):
    component = MqttSubscriber
    broker: Broker

    def setup_method(self) -> None:
        super().setup_method()
        self.broker = Broker(self.folder)
        self.broker.start()

    def teardown_method(self) -> None:
        self.broker.stop()
        super().teardown_method()

    def options(self) -> Mapping[str, Any]:
        return {"port": self.broker.port, "discovery": True}


def test_a_late_joiner_is_told_what_is_true_now(broker: Broker) -> None:
    subscriber = _subscriber(broker)
    for event in [RUNNING, SEGMENTS[0], ALERTS[0]]:
        subscriber.handle(event)
    seen = retained(broker, f"{BASE}/radio-1/alert/siren")
    subscriber.close()
    assert seen[f"{BASE}/availability"] == b"online"
    genre = json.loads(seen[f"{BASE}/radio-1/genre"])
    assert (genre["label"], genre["probability"], genre["since"]) == ("jazz", 0.81, SEGMENTS[0]["data"]["started_at"])
    alert = json.loads(seen[f"{BASE}/radio-1/alert/siren"])
    assert (alert["state"], alert["open"], alert["id"]) == ("ON", 1, ALERTS[0]["data"]["id"])
    assert (alert["severity"], alert["action"], alert["probability"]) == ("medium", "review", 0.97)
    status = json.loads(seen[f"{BASE}/radio-1/status"])
    assert (status["state"], status["since"]) == ("running", RUNNING["time"])
    assert not [topic for topic in seen if "/event/" in topic], "events are not retained"


def test_events_are_published_as_they_are_and_windows_and_heartbeats_are_not(broker: Broker) -> None:
    events = example_envelopes()
    with Ear(broker, "streamcls/+/+/event/#") as ear:
        _take(broker, events, muted="send")
        wanted = [e for e in events if not e["type"].endswith((".window", ".heartbeat"))]
        assert ear.wait_for(lambda heard: len(heard) >= len(wanted))
        assert [json.loads(payload) for _, payload, _ in ear.heard] == wanted
        assert [topic for topic, _, _ in ear.heard] == [
            f"{BASE}/{e['subject']}/event/{e['type'].removeprefix('streamcls.')}" for e in wanted
        ]


def test_windows_and_heartbeats_are_published_where_asked_for(broker: Broker) -> None:
    events = example_envelopes()
    with Ear(broker, "streamcls/+/+/event/#") as ear:
        _take(broker, events, window_events=True, heartbeats=True, muted="send")
        assert ear.wait_for(lambda heard: len(heard) >= len(events))


def test_without_events_only_states_are_published(broker: Broker) -> None:
    with Ear(broker) as ear:
        _take(broker, example_envelopes(), events=False)
        assert ear.wait_for(_offline)
        assert not [topic for topic, _, _ in ear.heard if "/event/" in topic]


def test_an_orderly_close_says_offline(broker: Broker) -> None:
    _take(broker, [RUNNING])
    assert retained(broker, f"{BASE}/availability")[f"{BASE}/availability"] == b"offline"


def test_a_closed_alert_is_off(broker: Broker) -> None:
    _take(broker, ALERTS)
    alert = json.loads(retained(broker, f"{BASE}/radio-1/alert/siren")[f"{BASE}/radio-1/alert/siren"])
    assert (alert["state"], alert["open"], alert["reason"]) == ("OFF", 0, "over")


def test_an_alert_is_on_as_long_as_one_of_its_label_is_open(broker: Broker) -> None:
    other = make_envelope("moderation.alert", {**ALERTS[0]["data"], "id": "0" * 32}, sequence=50)
    subscriber = _subscriber(broker)
    for event in [ALERTS[0], other, ALERTS[2]]:
        subscriber.handle(event)
    alert = json.loads(retained(broker, f"{BASE}/radio-1/alert/siren")[f"{BASE}/radio-1/alert/siren"])
    subscriber.close()
    assert (alert["state"], alert["open"], alert["id"]) == ("ON", 1, "0" * 32)


def test_an_open_alert_that_somebody_has_seen_says_so(broker: Broker) -> None:
    seen = {"by": "ada", "at": "2026-01-01T00:00:12.250Z", "note": "on it"}
    ack = make_envelope("moderation.ack", {"alert_id": ALERTS[0]["data"]["id"], **seen})
    subscriber = _subscriber(broker)
    subscriber.handle(ALERTS[0])
    subscriber.handle(ack)
    alert = json.loads(retained(broker, f"{BASE}/radio-1/alert/siren")[f"{BASE}/radio-1/alert/siren"])
    subscriber.close()
    assert (alert["state"], alert["acknowledged"]) == ("ON", seen)


def test_of_a_stream_that_ended_nothing_is_open(broker: Broker) -> None:
    _take(broker, [RUNNING, SEGMENTS[0], ALERTS[0], ENDED])
    seen = retained(broker, f"{BASE}/radio-1/status")
    assert json.loads(seen[f"{BASE}/radio-1/status"])["state"] == "ended"
    assert json.loads(seen[f"{BASE}/radio-1/genre"])["label"] is None
    assert json.loads(seen[f"{BASE}/radio-1/alert/siren"])["state"] == "OFF"


def test_a_gap_is_no_state(broker: Broker) -> None:
    _take(broker, [RUNNING, make_envelope("stream.status", {"state": "gap", "reason": "441 samples are missing"})])
    status = json.loads(retained(broker, f"{BASE}/radio-1/status")[f"{BASE}/radio-1/status"])
    assert status["state"] == "running"


def test_a_stream_that_two_heartbeats_lack_has_ended(broker: Broker) -> None:
    beats = [
        make_envelope("daemon.heartbeat", {"streams": {}, "sources": {}}, stream="example", sequence=n) for n in (1, 2)
    ]
    subscriber = _subscriber(broker)
    for event in [RUNNING, ALERTS[0], beats[0]]:
        subscriber.handle(event)
    first = retained(broker, f"{BASE}/radio-1/status")
    subscriber.handle(beats[1])
    second = retained(broker, f"{BASE}/radio-1/status")
    subscriber.close()
    assert json.loads(first[f"{BASE}/radio-1/status"])["state"] == "running"
    assert json.loads(second[f"{BASE}/radio-1/status"])["state"] == "ended"
    assert json.loads(second[f"{BASE}/radio-1/alert/siren"])["state"] == "OFF"


def test_a_stream_that_ran_before_anybody_listened_is_known_from_a_heartbeat(broker: Broker) -> None:
    streams = {"radio-7": {"state": "running", "windows": 3}}
    subscriber = _subscriber(broker, discovery=True)
    beat = make_envelope("daemon.heartbeat", {"streams": streams, "sources": {}}, stream="example")
    subscriber.handle(beat)
    seen = retained(broker, f"{BASE}/radio-7/status")
    with Ear(broker) as ear:
        subscriber.handle({**beat, "id": "another", "sequence": "2"})
        subscriber.close()
        assert ear.wait_for(_offline)
        assert [topic for topic, _, kept in ear.heard if not kept] == [f"{BASE}/availability"], "it is said again"
    assert json.loads(seen[f"{BASE}/radio-7/status"])["state"] == "running"
    assert "homeassistant/binary_sensor/streamcls__example__radio-7/connection/config" in seen


def test_streams_that_ended_long_ago_are_removed_from_the_broker(broker: Broker) -> None:
    events = []
    for name in ("a", "b", "c"):
        for event in (RUNNING, ALERTS[0], ENDED):
            kind = event["type"].removeprefix("streamcls.")
            events.append(make_envelope(kind, event["data"], stream=name, sequence=int(event["sequence"])))
    _take(broker, events, keep_ended=1, discovery=True)
    seen = retained(broker, f"{BASE}/c/status")
    assert {topic.split("/")[2] for topic in seen if topic.startswith(f"{BASE}/")} == {"availability", "c"}
    nodes = {topic.split("/")[2] for topic in seen if topic.startswith("homeassistant/")}
    assert nodes == {"streamcls__example", "streamcls__example__c"}


class TestMuted:
    MUTED = make_envelope("moderation.alert", {**ALERTS[0]["data"], "muted": True}, sequence=60)
    SILENCED = make_envelope("moderation.alert", {**ALERTS[1]["data"], "muted": True}, sequence=61)

    def test_a_muted_alert_is_passed_over(self, broker: Broker) -> None:
        with Ear(broker) as ear:
            _take(broker, [RUNNING, self.MUTED])
            assert ear.wait_for(_offline)
            assert not [topic for topic, _, _ in ear.heard if "alert" in topic]

    def test_it_is_published_where_asked_for(self, broker: Broker) -> None:
        with Ear(broker) as ear:
            _take(broker, [self.MUTED], muted="send")
            assert ear.wait_for(_offline)
            alert = json.loads(ear.last(f"{BASE}/radio-1/alert/siren") or b"{}")
            assert (alert["state"], alert["muted"]) == ("ON", True)

    def test_one_muted_while_it_is_open_is_off_and_that_is_said(self, broker: Broker) -> None:
        with Ear(broker) as ear:
            _take(broker, [ALERTS[0], self.SILENCED])
            assert ear.wait_for(_offline)
            assert json.loads(ear.last(f"{BASE}/radio-1/alert/siren") or b"{}")["state"] == "OFF"
            event = json.loads(ear.last(f"{BASE}/radio-1/event/moderation.alert") or b"{}")
            assert event["data"]["muted"] is True


CHILD = """
import json, sys
from streamcls_mqtt import MqttSubscriber
subscriber = MqttSubscriber(MqttSubscriber.Config(port=int(sys.argv[1])))
for line in sys.stdin:
    subscriber.handle(json.loads(line))
    print("taken", flush=True)
"""


def test_a_process_that_is_killed_is_announced_as_offline(broker: Broker) -> None:
    with (
        Ear(broker, f"{BASE}/availability") as ear,
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(broker.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as child,
    ):
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(RUNNING).encode() + b"\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"taken\n"
        assert ear.wait_for(lambda heard: [payload for _, payload, _ in heard[-1:]] == [b"online"])
        child.kill()
        assert ear.wait_for(_offline)


class Durable:
    """A subscriber whose place the broker keeps, over its own restart too: it misses nothing that the broker acknowledged."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self.heard: list[bytes] = []
        self.changed = threading.Condition()
        self.ready = threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, client_id="durable", clean_session=False)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe(topic, 1)
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.on_message = self._heard
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        assert self.ready.wait(10)

    def _heard(self, _client: Any, _userdata: Any, message: Any) -> None:
        with self.changed:
            self.heard.append(message.payload)
            self.changed.notify_all()

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def test_nothing_is_lost_over_a_restart_of_the_broker(tmp_path: Path) -> None:
    rules = ("allow_anonymous true", "persistence true", f"persistence_location {tmp_path}/")
    count = 400
    with Broker(tmp_path, *rules) as broker:
        text = broker._config.read_text().replace("persistence false\n", "")
        broker._config.write_text(text)
        broker.stop()
        broker.start()
        listener = Durable(broker, f"{BASE}/radio-1/event/genre.segment")
        subscriber = _subscriber(broker, timeout_s=30.0)
        halfway = threading.Event()
        failures: list[str] = []

        def publish() -> None:
            for number in range(1, count + 1):
                event = make_envelope("genre.segment", SEGMENTS[0]["data"], sequence=number)
                for _ in range(5):  # as the daemon does with an event that was not taken
                    try:
                        subscriber.handle(event)
                        break
                    except StreamclsError as error:
                        failures.append(str(error))
                if number == count // 4:
                    halfway.set()

        thread = threading.Thread(target=publish)
        thread.start()
        assert halfway.wait(30)
        broker.signal(signal.SIGTERM)  # orderly: what it acknowledged it has stored
        assert broker._process is not None
        broker._process.wait(10)
        broker.start()
        thread.join(60)
        assert not thread.is_alive()
        with listener.changed:
            assert listener.changed.wait_for(
                lambda: {json.loads(body)["sequence"] for body in listener.heard} >= {str(n + 1) for n in range(count)},
                30,
            ), failures
        subscriber.close()
        listener.close()


def test_after_a_crash_of_the_broker_everything_retained_is_there_again(broker: Broker) -> None:
    subscriber = _subscriber(broker, discovery=True)
    for event in [RUNNING, SEGMENTS[0], ALERTS[0]]:
        subscriber.handle(event)
    before = retained(broker, f"{BASE}/radio-1/alert/siren")
    broker.stop()
    broker.start()
    with Ear(broker) as ear:  # no further event
        assert ear.wait_for(lambda heard: {topic for topic, _, _ in heard} >= set(before)), ear.heard
        assert {topic: ear.last(topic) for topic in before} == before
    subscriber.close()


def test_a_broker_that_is_away_is_an_error_within_bounds_and_then_the_event_is_taken(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    subscriber = _subscriber(broker, timeout_s=0.2)
    with pytest.raises(SubscriberBusyError, match=rf"MQTT broker 127.0.0.1:{broker.port} cannot be used: .*refused"):
        subscriber.handle(ALERTS[0])
    broker.start()
    with Ear(broker, f"{BASE}/radio-1/event/#") as ear:
        for _ in range(100):
            try:
                subscriber.handle(ALERTS[0])
                break
            except StreamclsError:
                continue
        assert ear.wait_for(lambda heard: len(heard) == 1)
    subscriber.close()
    broker.stop()


def test_an_event_without_acknowledgement_is_an_error_and_its_repetition_is_not_a_second_one(broker: Broker) -> None:
    subscriber = _subscriber(broker, timeout_s=0.3)
    with Ear(broker, f"{BASE}/radio-1/event/#") as ear:
        subscriber.handle(ALERTS[0])
        broker.signal(signal.SIGSTOP)
        for _ in range(2):
            with pytest.raises(SubscriberBusyError, match=r"did not acknowledge a message within 0\.3 s"):
                subscriber.handle(ALERTS[1])
        broker.signal(signal.SIGCONT)
        for _ in range(50):
            try:
                subscriber.handle(ALERTS[1])
                break
            except StreamclsError:
                continue
        subscriber.handle(ALERTS[2])
        assert ear.wait_for(lambda heard: json.loads(heard[-1][1])["sequence"] == ALERTS[2]["sequence"])
        assert [json.loads(payload)["sequence"] for _, payload, _ in ear.heard] == [e["sequence"] for e in ALERTS]
    subscriber.close()


def test_closing_does_not_wait_for_a_frozen_broker(broker: Broker) -> None:
    subscriber = _subscriber(broker)
    subscriber.handle(ALERTS[0])
    broker.signal(signal.SIGSTOP)
    closing = threading.Thread(target=subscriber.close)
    closing.start()
    closing.join(10)
    assert not closing.is_alive()
    broker.signal(signal.SIGCONT)


WRONG = "battery staple"


class TestAccess:
    PASSWORD = "correct horse"  # noqa: S105 - of a broker that lives for a second

    @pytest.fixture
    def guarded(self, tmp_path: Path) -> Iterator[Broker]:
        passwords = tmp_path / "passwords"
        maker = shutil.which("mosquitto_passwd")
        if maker is None:
            pytest.skip("mosquitto_passwd is not installed: run scripts/install-system-packages test")
        subprocess.run([maker, "-b", "-c", str(passwords), "studio", self.PASSWORD], check=True, capture_output=True)
        with Broker(tmp_path, "allow_anonymous false", f"password_file {passwords}") as running:
            yield running

    def test_the_right_password_is_let_in(self, guarded: Broker) -> None:
        _take(guarded, [RUNNING], username="studio", password=self.PASSWORD)

    def test_so_is_one_from_a_file(self, guarded: Broker, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text(self.PASSWORD + "\n")
        _take(guarded, [RUNNING], username="studio", password_file=str(tmp_path / "secret"))

    def test_a_wrong_one_is_an_error_that_says_so_at_once_and_does_not_tell_it(
        self, guarded: Broker, caplog: pytest.LogCaptureFixture
    ) -> None:
        subscriber = _subscriber(guarded, username="studio", password=WRONG, timeout_s=600.0)
        with pytest.raises(SubscriberBusyError, match=r"ot authori[sz]ed|[Bb]ad user ?name or password") as caught:
            subscriber.handle(RUNNING)
        subscriber.close()
        assert "password_file" in str(caught.value)
        assert "staple" not in str(caught.value) + caplog.text

    def test_a_password_is_not_printed(self) -> None:
        config = MqttSubscriber.Config(username="studio", password=self.PASSWORD)
        assert self.PASSWORD not in repr(config) + json.dumps(config.model_dump(mode="json"))


# paho leaves a socket whose handshake failed to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tls_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
            ),
            *("-keyout", str(key), "-out", str(cert), "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    key.chmod(0o644)
    rules = ("allow_anonymous true", f"certfile {cert}", f"keyfile {key}")
    with Broker(tmp_path, *rules) as broker:
        _take(broker, [RUNNING], tls={"ca": str(cert)})
        stranger = _subscriber(broker, tls={}, timeout_s=2.0)
        with pytest.raises(SubscriberBusyError, match=r"certificate verify failed|self.signed"):
            stranger.handle(RUNNING)
        stranger.close()


# https://www.home-assistant.io/integrations/binary_sensor.mqtt/ and sensor.mqtt: what is required, and what the values may be.
DEVICE_CLASSES = {"connectivity", "sound", "safety", "problem"}
OBJECT_ID = re.compile(r"[a-zA-Z0-9_-]+")


def test_home_assistant_finds_what_it_needs(broker: Broker) -> None:
    stream = "studio:a@b+c.d"
    events = [
        make_envelope(e["type"].removeprefix("streamcls."), e["data"], stream=stream)
        for e in (RUNNING, SEGMENTS[0], ALERTS[0])
    ]
    subscriber = _subscriber(broker, discovery=True, device_class="safety")
    for event in events:
        subscriber.handle(event)
    seen = retained(broker, f"{BASE}/studio:a@b%2Bc.d/alert/siren")
    subscriber.close()
    configs = {topic: json.loads(payload) for topic, payload in seen.items() if topic.startswith("homeassistant/")}
    kinds = sorted((topic.split("/")[1], config["name"]) for topic, config in configs.items())
    assert kinds == [
        ("binary_sensor", "Connection"),
        ("binary_sensor", "Connection"),
        ("binary_sensor", "siren"),
        ("sensor", "Genre"),
    ]
    assert len({config["unique_id"] for config in configs.values()}) == len(configs)
    identifiers = {name for config in configs.values() for name in config["device"]["identifiers"]}
    for topic, config in configs.items():
        prefix, component, node, name, last = topic.split("/")
        assert (prefix, last) == ("homeassistant", "config")
        assert OBJECT_ID.fullmatch(node)
        assert OBJECT_ID.fullmatch(name)
        assert config["state_topic"] in seen, "nothing is ever said there"
        assert config["device"]["name"]
        assert config["device"].get("via_device", next(iter(identifiers))) in identifiers
        assert config["origin"]["name"] == "streamcls"
        if component == "binary_sensor":
            assert config["device_class"] in DEVICE_CLASSES
        for entry in config.get("availability", []):
            assert seen[entry["topic"]] == b"online"
        payload = seen[config["state_topic"]]
        if (member := re.fullmatch(r"\{\{ value_json\.(\w+) \}\}", config.get("value_template", ""))) is not None:
            assert json.loads(payload)[member[1]] in {"ON", "OFF", "jazz"}
        if "json_attributes_topic" in config:
            assert isinstance(json.loads(seen[config["json_attributes_topic"]]), dict)


def test_without_discovery_nothing_is_published_outside_the_prefix(broker: Broker) -> None:
    with Ear(broker) as ear:
        _take(broker, example_envelopes(), prefix="radio/audio")
        assert ear.wait_for(_offline)
        assert {topic.partition("/example/")[0] for topic, _, _ in ear.heard} == {"radio/audio"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"prefix": "a/+/b"}, "prefix 'a/\\+/b'"),
        ({"prefix": ""}, "prefix ''"),
        ({"prefix": "$SYS"}, "prefix"),
        ({"discovery_prefix": "home#"}, "discovery_prefix"),
        ({"username": "u", "password": "p", "password_file": "/nowhere"}, "both password and password_file"),
        ({"password": "p"}, "without a username"),
        ({"username": "u", "password_file": "/nowhere/at/all"}, "there is no such file"),
        ({"tls": {"ca": "/nowhere/ca.pem"}}, "tls.ca"),
        ({"tls": {"cert": __file__}}, "cert and key belong together"),
    ],
)
def test_mistakes_are_found_before_anything_is_opened(options: dict[str, Any], said: str) -> None:
    problems = MqttSubscriber.preflight(MqttSubscriber.Config.model_validate(options))
    assert [problem for problem in problems if re.search(said, problem)], problems


def test_without_the_library_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho", None)
    [problem] = MqttSubscriber.preflight(MqttSubscriber.Config())
    assert "pip install 'streamcls[mqtt]'" in problem
    with pytest.raises(StreamclsError, match="pip install"):
        MqttSubscriber(MqttSubscriber.Config())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_password_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("x")
    path.chmod(0)
    [problem] = MqttSubscriber.preflight(MqttSubscriber.Config(username="u", password_file=str(path)))
    assert "no permission to read it" in problem
