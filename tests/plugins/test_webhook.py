"""The subscriber ``webhook`` against a web server that fails in many ways."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import logging
import re
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections import defaultdict
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest
from busside import event as numbered
from busside import publisher
from http_receiver import PATIENCE_S, Answer, Receiver, Request, receiving
from hypothesis import given
from hypothesis import strategies as st
from leaping import Leaping, settled
from pydantic import ValidationError

from streamcls import StreamclsError
from streamcls.bus.publisher import IN_PROCESS
from streamcls.runtime.subscribers import SubscriberThread
from streamcls.runtime.subscribers.circuit import Circuit
from streamcls.testing import SubscriberContract, example_envelopes, make_envelope

pytest.importorskip("httpx")

from streamcls_webhook import WebhookSubscriber
from streamcls_webhook.sender import signature
from streamcls_webhook.template import check, render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECRET = "correct horse battery staple"  # noqa: S105 - for this test only


def alert(sequence: int = 1, stream: str = "radio-1", **data: Any) -> dict[str, Any]:
    facts = {"id": f"{sequence:032x}", "phase": "opened", "label": "siren", "probability": {"mean": 0.5, "peak": 0.75}}
    return dict(make_envelope("moderation.alert", facts | data, stream=stream, sequence=sequence))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def clock() -> Leaping:
    return Leaping()


@pytest.fixture
def webhook(receiver: Receiver, tmp_path: Path, clock: Leaping) -> Iterator[Callable[..., WebhookSubscriber]]:
    made: list[WebhookSubscriber] = []

    def make(**options: Any) -> WebhookSubscriber:
        facts = {"url": f"{receiver.url}/hook", "spool": str(tmp_path / "spool"), "close_s": 0} | options
        made.append(WebhookSubscriber(WebhookSubscriber.Config.model_validate(facts), clock.timing))
        return made[-1]

    yield make
    for subscriber in made:
        subscriber.close()


class TestContract(SubscriberContract):
    component = WebhookSubscriber

    def setup_method(self) -> None:
        super().setup_method()
        self.receiver = Receiver(lambda _: Answer(204))

    def teardown_method(self) -> None:
        self.receiver.close()
        super().teardown_method()

    def options(self) -> dict[str, Any]:
        return {"url": self.receiver.url, "spool": str(self.folder / "spool"), "headers": {"X-Token": "sesame"}}


def dead_letters(tmp_path: Path) -> list[dict[str, Any]]:
    path = tmp_path / "spool" / "dead-letters.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


# What is sent


def test_an_event_is_posted_as_it_is_on_the_wire(webhook: Callable[..., WebhookSubscriber], receiver: Receiver) -> None:
    event = alert(title="Ännchen von Tharau")
    subscriber = webhook(headers={"X-Station": "north"})
    subscriber.handle(event)
    settled(subscriber)
    (request,) = receiver.requests
    assert request.path == "/hook"
    assert request.event == event
    assert request.headers["Content-Type"] == "application/cloudevents+json"
    assert request.headers["Idempotency-Key"] == event["id"]
    assert request.headers["X-Station"] == "north"
    assert "X-Streamcls-Signature" not in request.headers


def test_a_receiver_can_verify_the_signature_by_itself(
    webhook: Callable[..., WebhookSubscriber], receiver: Receiver, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(SECRET + "\n")
    before = int(time.time())
    subscriber = webhook(secret_file=str(tmp_path / "key"))
    subscriber.handle(alert())
    settled(subscriber)
    (request,) = receiver.requests
    parts = dict(part.split("=", 1) for part in request.headers["X-Streamcls-Signature"].split(","))
    expected = hmac.new(SECRET.encode(), f"{parts['t']}.".encode() + request.body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(parts["v1"], expected)
    assert before <= int(parts["t"]) <= time.time()


def test_the_verification_in_the_readme_works(
    webhook: Callable[..., WebhookSubscriber], receiver: Receiver, root: Path
) -> None:
    text = (root / "plugins" / "streamcls_webhook" / "README.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - it is our own
    is_ours = names["is_ours"]
    subscriber = webhook(secret=SECRET)
    subscriber.handle(alert())
    settled(subscriber)
    header, body = receiver.requests[0].headers["X-Streamcls-Signature"], receiver.requests[0].body
    assert is_ours(SECRET.encode(), header, body)
    assert not is_ours(b"another", header, body)
    assert not is_ours(SECRET.encode(), header, body + b" ")
    assert not is_ours(SECRET.encode(), header.replace("t=", "t=1"), body)
    old = signature(SECRET.encode(), int(time.time()) - 1000, body)
    assert not is_ours(SECRET.encode(), old, body)
    assert is_ours(SECRET.encode(), old, body, window_s=2000)


def test_the_signature_is_what_openssl_says(
    webhook: Callable[..., WebhookSubscriber], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl here")
    monkeypatch.setenv("HOOK_KEY", "key")
    subscriber = webhook(secret="${HOOK_KEY}")  # noqa: S106 - for this test only
    subscriber.handle(alert())
    settled(subscriber)
    (request,) = receiver.requests
    t, _, v1 = request.headers["X-Streamcls-Signature"].removeprefix("t=").partition(",v1=")
    said = subprocess.run(
        [openssl, "dgst", "-sha256", "-hmac", "key"],
        input=f"{t}.".encode() + request.body,
        capture_output=True,
        check=True,
    )
    assert said.stdout.decode().split()[-1] == v1


def test_without_a_choice_openings_and_closings_are_sent_and_no_windows(
    webhook: Callable[..., WebhookSubscriber], receiver: Receiver
) -> None:
    subscriber = webhook()
    for event in example_envelopes():
        subscriber.handle(event)
    settled(subscriber)
    expected = [
        event
        for event in example_envelopes()
        if not event["type"].endswith((".window", ".heartbeat")) and event["data"].get("phase") != "updated"
    ]
    assert sorted(receiver.ids) == sorted(event["id"] for event in expected if not event["data"].get("muted"))
    assert {event["data"].get("phase") for event in expected} == {None, "opened", "closed"}


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ({}, ["loud"]),
        ({"muted": "send"}, ["loud", "quiet"]),
        ({"phases": ["updated"]}, ["longer"]),
        ({"phases": []}, []),
    ],
)
def test_phases_and_mutes_are_chosen(
    webhook: Callable[..., WebhookSubscriber], receiver: Receiver, options: dict[str, Any], labels: list[str]
) -> None:
    subscriber = webhook(**options)
    subscriber.handle(alert(1, label="loud"))
    subscriber.handle(alert(2, label="quiet", muted={"by": "night shift"}))
    subscriber.handle(alert(3, label="longer", phase="updated"))
    settled(subscriber)
    assert [request.event["data"]["label"] for request in receiver.requests] == labels


# Templates


NASTY = 'a "quoted" \\ line\nbreak \u2028 \x00 </script> & <!channel> ünï 🎵 $data ${stream}'


def test_nothing_in_a_value_breaks_the_json_around_it() -> None:
    template = {"text": "${stream}: ${data.label}!", "list": [{"deep": "${data.label}"}, 3, None, True], "cost": "$$5"}
    body = json.loads(render("json", template, alert(label=NASTY)))
    assert body == {"text": f"radio-1: {NASTY}!", "list": [{"deep": NASTY}, 3, None, True], "cost": "$5"}


@given(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(["slack", "discord"]))
def test_presets_are_json_whatever_the_values(label: str, preset: str) -> None:
    body = json.loads(render(preset, "«${data.label}»", alert(label=label)))
    text = body["text" if preset == "slack" else "content"]
    if preset == "slack":
        assert not {"<", ">"} & set(text)
        text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert text == f"«{label}»"


def test_a_text_that_is_one_placeholder_keeps_the_type_of_its_value() -> None:
    template = {
        "peak": "${data.probability.peak}",
        "all": "${data.probability}",
        "as_text": "${data.probability.peak} ",
    }
    template |= {"missing": "${data.nothing.here}", "missing_text": "<${data.nothing}>", "kind": "$kind"}
    assert json.loads(render("json", template, alert())) == {
        "peak": 0.75,
        "all": {"mean": 0.5, "peak": 0.75},
        "as_text": "0.75 ",
        "missing": None,
        "missing_text": "<>",
        "kind": "moderation.alert",
    }


def test_plain_text_is_sent_as_it_is(webhook: Callable[..., WebhookSubscriber], receiver: Receiver) -> None:
    subscriber = webhook(preset="text", template="${stream}: ${data.label}", headers={"Title": "Alert"})
    subscriber.handle(alert(label="Sirene … läuft"))
    settled(subscriber)
    assert receiver.requests[0].body.decode() == "radio-1: Sirene … läuft"
    assert receiver.requests[0].headers["Content-Type"] == "text/plain; charset=utf-8"
    assert receiver.requests[0].headers["Title"] == "Alert"


@pytest.mark.parametrize("preset", ["json", "slack", "discord", "text"])
def test_every_preset_has_something_to_say_of_every_event(preset: str) -> None:
    for event in example_envelopes():
        assert render(preset, None, event)


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("${stram}: ${data.label}", "an event has no member 'stram'"),
        ({"a": ["cost: $ 5"]}, "begins no placeholder"),
        ("${data.}", "begins no placeholder"),
        ("${data.label} $stream $$", None),
    ],
)
def test_a_template_is_checked_before_it_is_used(template: Any, problem: str | None) -> None:
    problems = check(template)
    assert [problem in found for found in problems if problem] == ([True] if problem else [])
    assert bool(problems) == bool(problem)


# What the server does


def script(*answers: Answer) -> Callable[[Request], Answer]:
    rest = itertools.chain(answers, itertools.repeat(Answer()))
    return lambda _: next(rest)


@pytest.mark.parametrize(
    "failure",
    [
        Answer(500, body=b"oh"),
        Answer(503),
        Answer(408),
        Answer(425),
        Answer(429),
        Answer(cut=0),
        Answer(cut=12),
        Answer(500, headers={"Content-Length": "1000"}, body=b"cut off"),
        Answer(200, headers={"Transfer-Encoding": "nonsense", "Content-Length": "nonsense"}),
    ],
    ids=lambda answer: f"{answer.status} cut={answer.cut} {answer.headers}",
)
def test_what_may_pass_is_tried_again_with_the_same_key(
    webhook: Callable[..., WebhookSubscriber], receiver: Receiver, tmp_path: Path, failure: Answer
) -> None:
    receiver.answer = script(failure, failure)
    subscriber = webhook()
    subscriber.handle(alert(1))
    subscriber.handle(alert(2))
    settled(subscriber)
    assert receiver.ids == [alert(1)["id"]] * 3 + [alert(2)["id"]]
    assert subscriber.counters == {"delivered": 2, "retried": 2, "dead": 0, "repeated": 0}
    assert not dead_letters(tmp_path)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422, 301, 302, 304, 307])
def test_what_will_not_pass_is_a_dead_letter_at_once(
    webhook: Callable[..., WebhookSubscriber], receiver: Receiver, tmp_path: Path, status: int
) -> None:
    receiver.answer = script(
        Answer(status, {"Location": "http://127.0.0.1:1/elsewhere?token=1"}, b"no \x1b[31m such thing")
    )
    subscriber = webhook()
    subscriber.handle(alert(1))
    subscriber.handle(alert(2))
    settled(subscriber)
    assert receiver.ids == [alert(1)["id"], alert(2)["id"]]
    (letter,) = dead_letters(tmp_path)
    assert letter["event"] == alert(1)
    assert letter["attempts"] == 1
    assert f"{receiver.url}/…: HTTP status {status}" in letter["reason"]
    assert "\x1b" not in letter["reason"]
    assert "token" not in letter["reason"]


def test_a_2xx_counts_though_its_body_is_broken_off(
    webhook: Callable[..., WebhookSubscriber], receiver: Receiver
) -> None:
    receiver.answer = script(Answer(200, {"Content-Length": "1000"}, b"half of i"))
    subscriber = webhook()
    subscriber.handle(alert(1))
    settled(subscriber)
    assert len(receiver.requests) == 1


def test_an_endless_answer_is_not_read_to_its_end(
    webhook: Callable[..., WebhookSubscriber], receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answer = script(Answer(400, {"Content-Length": str(1 << 40)}, b"x" * (1 << 22)))
    subscriber = webhook()
    subscriber.handle(alert(1))
    settled(subscriber)
    assert len(dead_letters(tmp_path)[0]["reason"]) < 300


def test_a_server_that_hangs_is_left_after_its_time(
    webhook: Callable[..., WebhookSubscriber], receiver: Receiver
) -> None:
    release = threading.Event()
    receiver.answer = script(Answer(after=release))
    subscriber = webhook(timeout_s=0.2)
    subscriber.handle(alert(1))
    settled(subscriber)
    release.set()
    assert receiver.ids == [alert(1)["id"]] * 2


def test_a_server_that_is_away_is_waited_for(
    webhook: Callable[..., WebhookSubscriber], receiver: Receiver, clock: Leaping
) -> None:
    port = receiver.server.server_address[1]
    receiver.close()
    back: list[Receiver] = []
    clock.on_pause = lambda count: back.append(Receiver(lambda _: Answer(), port)) if count == 4 else None
    subscriber = webhook(concurrency=1)
    for number in (1, 2, 3):
        subscriber.handle(alert(number))
    settled(subscriber)
    assert clock.pauses == [1, 2, 4, 8]
    assert back[0].ids == [alert(number)["id"] for number in (1, 2, 3)]
    back[0].close()


@pytest.mark.parametrize(
    ("headers", "pauses"),
    [
        ({"Retry-After": "120"}, [120]),
        ({"Retry-After": "99999999"}, [3600]),
        ({"Retry-After": formatdate(0, usegmt=True)}, [1]),
        ({"Retry-After": "soon"}, [1]),
        ({"Retry-After": "-5"}, [1]),
        ({}, [1]),
    ],
)
def test_a_server_says_when_to_come_again(
    webhook: Callable[..., WebhookSubscriber],
    receiver: Receiver,
    clock: Leaping,
    headers: dict[str, str],
    pauses: list[float],
) -> None:
    receiver.answer = script(Answer(429, headers))
    subscriber = webhook(concurrency=1)
    subscriber.handle(alert(1))
    settled(subscriber)
    assert len(receiver.requests) == 2
    assert clock.seconds - 1000 == pytest.approx(sum(pauses))


def test_a_date_to_come_again_is_obeyed(
    webhook: Callable[..., WebhookSubscriber], receiver: Receiver, clock: Leaping
) -> None:
    receiver.answer = script(Answer(503, {"Retry-After": formatdate(time.time() + 600, usegmt=True)}))
    subscriber = webhook(concurrency=1)
    subscriber.handle(alert(1))
    settled(subscriber)
    assert 500 < clock.seconds - 1000 <= 600


def test_redirects_are_followed_where_that_is_asked_for_and_on_the_same_server_only(
    webhook: Callable[..., WebhookSubscriber], receiver: Receiver, tmp_path: Path
) -> None:
    def answer(request: Request) -> Answer:
        if request.path == "/hook":
            return Answer(308, {"Location": "/moved"})
        return Answer() if request.event["sequence"] == "1" else Answer(307, {"Location": "http://127.0.0.1:1/moved"})

    receiver.answer = answer
    subscriber = webhook(follow_redirects=True)
    subscriber.handle(alert(1))
    subscriber.handle(alert(2))
    settled(subscriber)
    assert [request.path for request in receiver.requests] == ["/hook", "/moved"] * 2
    assert receiver.requests[1].event == alert(1)
    (letter,) = dead_letters(tmp_path)
    assert letter["event"] == alert(2)


@pytest.mark.parametrize(
    "location", ["", "http://[", "//127.0.0.1:99999999/x", "https:///", "\u00e9", "file:///etc/passwd"]
)
def test_a_redirect_to_nonsense_is_not_followed(
    webhook: Callable[..., WebhookSubscriber], receiver: Receiver, tmp_path: Path, location: str
) -> None:
    receiver.answer = script(*[Answer(307, {"Location": location})] * (4 if location in {"", "\u00e9"} else 1))
    subscriber = webhook(follow_redirects=True)
    subscriber.handle(alert(1))
    settled(subscriber)
    assert len(dead_letters(tmp_path)) == 1


def test_a_redirect_in_a_circle_ends(
    webhook: Callable[..., WebhookSubscriber], receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answer = lambda _: Answer(307, {"Location": "/hook"})
    subscriber = webhook(follow_redirects=True)
    subscriber.handle(alert(1))
    settled(subscriber)
    assert len(receiver.requests) == 4
    assert "more than 3 times" in dead_letters(tmp_path)[0]["reason"]


def test_order_per_stream_holds_whatever_fails(webhook: Callable[..., WebhookSubscriber], receiver: Receiver) -> None:
    tries: dict[str, int] = defaultdict(int)
    delivered: list[dict[str, Any]] = []
    failures = [Answer(500), Answer(cut=0), Answer(429), Answer(503, {"Content-Length": "9"}), Answer(cut=20)]

    def answer(request: Request) -> Answer:
        with receiver.changed:
            tries[request.event["id"]] += 1
            if tries[request.event["id"]] <= int(request.event["sequence"]) * 3 % 4:
                return failures[len(tries) % len(failures)]
            delivered.append(request.event)
            return Answer()

    receiver.answer = answer
    subscriber = webhook()
    for number in range(1, 16):
        for stream in ("a", "b", "c"):
            subscriber.handle(alert(number, stream))
    settled(subscriber)
    for stream in ("a", "b", "c"):
        assert [int(e["sequence"]) for e in delivered if e["subject"] == stream] == list(range(1, 16))
    assert subscriber.counters["retried"] == sum(tries.values()) - 45 > 0


def test_a_stream_whose_events_fail_holds_up_no_other(
    webhook: Callable[..., WebhookSubscriber], receiver: Receiver
) -> None:
    release = threading.Event()
    receiver.answer = lambda request: Answer(after=release if request.event["subject"] == "slow" else None)
    subscriber = webhook(concurrency=2, timeout_s=60)
    for number in range(1, 6):
        subscriber.handle(alert(number, "slow"))
        subscriber.handle(alert(number, "fast"))
    receiver.wait_for(lambda requests: sum(request.event["subject"] == "fast" for request in requests) == 5)
    assert sum(request.event["subject"] == "slow" for request in receiver.requests) == 1
    release.set()
    settled(subscriber)
    assert len(receiver.requests) == 10


# Restarts


def test_what_waits_at_the_stop_is_delivered_after_the_start(
    webhook: Callable[..., WebhookSubscriber], receiver: Receiver
) -> None:
    receiver.answer = lambda _: Answer(500)
    subscriber = webhook()
    for number in (1, 2, 3):
        subscriber.handle(alert(number))
    receiver.wait_for(lambda requests: len(requests) >= 2)
    subscriber.close()
    receiver.answer = lambda _: Answer()
    before = len(receiver.requests)
    again = webhook()
    again.handle(alert(3))
    again.handle(alert(4))
    settled(again)
    assert receiver.ids[before:] == [alert(number)["id"] for number in (1, 2, 3, 4)]


def test_the_end_does_not_wait_for_a_server_that_hangs(
    webhook: Callable[..., WebhookSubscriber], receiver: Receiver
) -> None:
    release = threading.Event()
    receiver.answer = lambda _: Answer(after=release)
    subscriber = webhook(timeout_s=600)
    subscriber.handle(alert(1))
    receiver.wait_for(lambda requests: len(requests) == 1)
    subscriber.close()
    assert not release.is_set()
    release.set()
    receiver.answer = lambda _: Answer()
    again = webhook()
    settled(again)
    assert receiver.ids == [alert(1)["id"]] * 2


def test_a_daemon_that_takes_a_full_outbox_for_a_hang_loses_nothing(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It leaves the thread behind and cannot make a new subscriber until the old one has got rid of what it holds."""
    receiver.answer = lambda _: Answer(200 if "cannot be made" in caplog.text else 503)
    options = {
        "url": receiver.url,
        "spool": str(tmp_path / "spool"),
        "max_waiting": 3,
        "retry_s": 0.02,
        "retry_max_s": 0.02,
    }
    config = WebhookSubscriber.Config.model_validate(options)
    with publisher() as bus:
        thread = SubscriberThread(
            "hook",
            lambda: WebhookSubscriber(config),
            IN_PROCESS,
            bus.context,
            hang_s=0.2,
            circuit=Circuit(0.05, 0.2),
        )
        thread.start()
        assert thread.ready.wait(PATIENCE_S)
        for number in range(12):
            bus.publish(numbered(number, "moderation.alert"))
        receiver.wait_for(lambda requests: {r.event["data"]["number"] for r in requests} == set(range(12)))
        thread.finish(PATIENCE_S)
        thread.join(PATIENCE_S)
    assert (thread.handled, thread.failed, thread.missed) == (12, 0, 0)
    numbers = [request.event["data"]["number"] for request in receiver.requests]
    assert numbers == sorted(numbers)


CHILD = """
import json, sys
from pathlib import Path
from streamcls_webhook import WebhookSubscriber

options, events, cursor = json.loads(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3])
subscriber = WebhookSubscriber(WebhookSubscriber.Config.model_validate(options))
at = int(cursor.read_text()) if cursor.exists() else 0
print("started", flush=True)
for number in range(at, len(events)):
    subscriber.handle(events[number])
    fresh = cursor.with_suffix(".new")
    fresh.write_text(str(number + 1))
    fresh.replace(cursor)  # only now it counts as handled, as with the daemon's own cursor
print("handed over", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("kill_at", [(1, 2, 9, 31)])
def test_a_killed_process_loses_nothing_and_keeps_the_order(
    receiver: Receiver, tmp_path: Path, kill_at: tuple[int, ...]
) -> None:
    events = [alert(number, stream) for number in range(1, 21) for stream in ("a", "b", "c")]
    (tmp_path / "events.json").write_text(json.dumps(events))
    refused = itertools.cycle([False, True, False, False])
    accepted: list[dict[str, Any]] = []

    def answer(request: Request) -> Answer:
        with receiver.changed:
            if next(refused):
                return Answer(503)
            accepted.append(request.event)
            receiver.changed.notify_all()
            return Answer()

    receiver.answer = answer
    options = {
        "url": receiver.url,
        "spool": str(tmp_path / "spool"),
        "retry_s": 0.01,
        "retry_max_s": 0.02,
        "sync": False,
    }
    command = [
        sys.executable,
        "-c",
        CHILD,
        json.dumps(options),
        str(tmp_path / "events.json"),
        str(tmp_path / "cursor"),
    ]
    for wanted in (*kill_at, None):
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        try:
            if wanted is not None:
                receiver.wait_for(lambda _, wanted=wanted: len(accepted) >= wanted)
            else:
                receiver.wait_for(lambda _: {e["id"] for e in accepted} == {e["id"] for e in events})
        finally:
            child.send_signal(signal.SIGKILL)
            child.communicate()
    for stream in ("a", "b", "c"):
        sequences = [int(event["sequence"]) for event in accepted if event["subject"] == stream]
        assert list(dict.fromkeys(sequences)) == list(range(1, 21))
        assert all(later >= earlier for earlier, later in itertools.pairwise(sequences)), "an event overtook another"
    assert len(accepted) <= len(events) + 4 * len(kill_at), "what was delivered is delivered again"


# Configuration and secrets


def test_secrets_stand_nowhere(
    webhook: Callable[..., WebhookSubscriber],
    receiver: Receiver,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HOOK_TOKEN", "tok-4711")
    told: list[str] = []

    def answer(request: Request) -> Answer:
        """Say everything that it was told."""
        told.append(repr(request.headers) + request.path)
        return Answer(500 if len(told) < 3 else 400, body=f"{request.headers} {request.path} {SECRET}".encode())

    receiver.answer = answer
    subscriber = webhook(
        url=f"{receiver.url}/services/T0P/s3cr3tpath?key=quiet-key",
        headers={"Authorization": "Bearer ${HOOK_TOKEN}", "X-Plain": "plain-secret"},
        secret=SECRET,
    )
    subscriber.handle(alert())
    settled(subscriber)
    assert "Bearer tok-4711" in told[0]
    config = subscriber._config
    shown = [repr(subscriber), repr(config), str(config), config.model_dump_json(), caplog.text]
    shown += [file.read_text("utf-8") for file in (tmp_path / "spool").iterdir()]
    assert "HTTP status 400" in shown[-1] + shown[-2] + shown[-3]
    for secret in ("tok-4711", "plain-secret", "s3cr3tpath", "quiet-key", SECRET):
        assert not [text for text in shown if secret in text], secret
    assert f"{receiver.url}/…" in config.model_dump_json()


def test_connection_failures_name_the_server_and_no_secret(
    webhook: Callable[..., WebhookSubscriber], receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answer = script(Answer(cut=0))
    subscriber = webhook(url=f"{receiver.url.replace('//', '//user:passw0rd@')}/services/s3cr3tpath")
    subscriber.handle(alert())
    settled(subscriber)
    assert f"{receiver.url}/…: RemoteProtocolError" in caplog.text
    bare = webhook(url=receiver.url, spool=str(tmp_path / "bare"))
    receiver.answer = script(Answer(418))
    bare.handle(alert())
    settled(bare)
    assert f"{receiver.url}/…: HTTP status 418" in caplog.text
    assert "s3cr3tpath" not in caplog.text
    assert "passw0rd" not in caplog.text


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"retry_s": 9, "retry_max_s": 3}, "retry_s is 9, expected at most retry_max_s"),
        ({"secret": "a", "secret_file": "b"}, "secret and secret_file are both given"),
        ({"template": "x"}, "preset is cloudevents"),
        ({"template": "x", "preset": "json"}, "expected a table or a list with the preset json"),
        ({"template": {"a": 1}, "preset": "slack"}, "expected text with the preset slack"),
        ({"headers": {"Bad Name": "x"}}, "is no name of a header"),
        ({"headers": {"Content-Length": "3"}}, "is set by the subscriber itself"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        WebhookSubscriber.Config.model_validate({"url": "https://example.org/x"} | options)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"url": "ftp://example.org/s3cr3t"}, "url: it is no address of a server"),
        ({"url": "https://[bad/s3cr3t"}, "url: it is no address of a server"),
        ({"url": "${NOT_SET_ANYWHERE}/s3cr3t"}, "url: the environment variable NOT_SET_ANYWHERE is not set"),
        ({"headers": {"A": "${NOT_SET_ANYWHERE}"}}, "headers.A: the environment variable NOT_SET_ANYWHERE is not set"),
        ({"headers": {"A": "one\r\nB: s3cr3t"}}, "headers.A: it holds a line break"),
        ({"headers": {"A": "s3cr3tü"}}, "headers.A: it holds characters that are not ASCII"),
        ({"secret_file": "/nowhere/key"}, "secret_file '/nowhere/key': cannot be read: No such file"),
        ({"ca_file": "/nowhere/ca"}, "ca_file '/nowhere/ca': cannot be "),
        ({"proxy": "s3cr3t"}, "proxy: it is no address of a server"),
    ],
)
def test_what_cannot_be_had_is_found_by_the_check_and_again_by_the_start(
    tmp_path: Path, options: dict[str, Any], problem: str
) -> None:
    facts = {"url": "https://example.org/x", "spool": str(tmp_path / "spool")} | options
    config = WebhookSubscriber.Config.model_validate(facts)
    (found,) = WebhookSubscriber.preflight(config)
    assert problem in found
    assert "s3cr3t" not in found
    with pytest.raises(StreamclsError) as refusal:
        WebhookSubscriber(config)
    assert "s3cr3t" not in str(refusal.value)


def test_a_misspelt_member_of_the_template_is_found_by_the_check() -> None:
    config = WebhookSubscriber.Config(url="https://example.org", preset="text", template="${dta.label}")
    assert "no member 'dta'" in WebhookSubscriber.preflight(config)[0]


def test_without_httpx_the_check_says_what_to_install() -> None:
    code = """
import sys
sys.modules["httpx"] = None
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "httpx" else find_spec(name, *rest)
from streamcls import StreamclsError
from streamcls_webhook import WebhookSubscriber
config = WebhookSubscriber.Config(url="https://example.org")
print(WebhookSubscriber.preflight(config))
try:
    WebhookSubscriber(config)
except StreamclsError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout
    assert said.count("pip install 'streamcls[webhook]'") == 2


def test_two_that_share_a_spool_are_told_so(webhook: Callable[..., WebhookSubscriber]) -> None:
    webhook()
    with pytest.raises(StreamclsError, match="give each one a spool of its own"):
        webhook()


def test_without_a_spool_the_state_folder_is_used(
    webhook: Callable[..., WebhookSubscriber], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path / 'state'}:{tmp_path / 'other'}")
    webhook(spool="")
    assert (tmp_path / "state" / "webhook" / "outbox.jsonl").exists()


def test_proxies_of_the_environment_are_not_used(
    webhook: Callable[..., WebhookSubscriber], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    subscriber = webhook()
    subscriber.handle(alert())
    settled(subscriber)
    assert subscriber.counters["delivered"] == 1
    assert subscriber.counters["retried"] == 0


def test_a_proxy_that_is_configured_is_used(webhook: Callable[..., WebhookSubscriber], receiver: Receiver) -> None:
    subscriber = webhook(url="http://receiver.invalid/hook", proxy=receiver.url)
    subscriber.handle(alert())
    settled(subscriber)
    assert receiver.requests[0].path == "http://receiver.invalid/hook"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 with its key, signed by itself."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl here")
    path = tmp_path / "certificate.pem"
    options = [
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=receiver",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    subprocess.run(
        [openssl, "req", "-x509", *options, "-keyout", str(tmp_path / "key.pem"), "-out", str(path)],
        check=True,
        capture_output=True,
    )
    path.write_text(path.read_text() + (tmp_path / "key.pem").read_text())
    return path


def test_a_server_is_believed_whose_certificate_is_trusted(
    webhook: Callable[..., WebhookSubscriber],
    receiver: Receiver,
    certificate: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    receiver.server.socket = context.wrap_socket(receiver.server.socket, server_side=True)
    url = receiver.url.replace("http", "https", 1)
    trusting = webhook(url=url, ca_file=str(certificate))
    trusting.handle(alert())
    settled(trusting)
    assert receiver.ids == [alert()["id"]]

    doubting = webhook(url=url, spool=str(tmp_path / "doubting"), give_up_s=0.1)
    doubting.handle(alert())
    settled(doubting)
    assert len(receiver.requests) == 1
    assert doubting.counters["dead"] == 1
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text


def test_no_more_requests_are_made_in_a_minute_than_allowed(
    webhook: Callable[..., WebhookSubscriber], receiver: Receiver, clock: Leaping
) -> None:
    subscriber = webhook(per_minute=2, concurrency=1)
    for number in range(1, 8):
        subscriber.handle(alert(number))
    settled(subscriber)
    assert clock.pauses == [60, 60, 60]
    assert len(receiver.requests) == 7
