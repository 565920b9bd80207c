"""The document, the schema and the daemon say the same."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import sys
import threading
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import zmq
from busside import LONG_S, raw_event
from daemon import STREAMCLS, DaemonProcess, free_port
from realbundle import real_bundle

from streamcls.testing import example_envelopes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KINDS = [
    "genre.window",
    "genre.segment",
    "moderation.window",
    "moderation.alert",
    "moderation.ack",
    "moderation.mute",
    "moderation.evidence",
    "stream.status",
    "daemon.evidence",
    "daemon.journal",
    "daemon.subscriber",
    "daemon.clock",
    "daemon.reload",
    "daemon.heartbeat",
]
DEMO_KINDS = [
    "genre.window",
    "genre.segment",
    "moderation.window",
    "moderation.alert",
    "stream.status",
    "daemon.heartbeat",
]
OPTIONAL = {
    "moderation.alert": {"muted", "acknowledged"},  # where nobody said so
    "moderation.evidence": {"policy", "model_sha256", "thresholds"},  # where the alert's policy does not say so
    "daemon.heartbeat": {"journal", "clients", "evidence", "audit", "stuck"},  # where there is no such thing
}
STATES = ["connecting", "running", "gap", "retrying", "stalled", "ended", "failed"]


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    text = files("streamcls.bus").joinpath("events.schema.json").read_text(encoding="utf-8")
    return json.loads(text)


@pytest.fixture(scope="module")
def validator(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture(scope="module")
def document(root: Path) -> str:
    return (root / "docs" / "wire-format.md").read_text(encoding="utf-8")


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def examples(document: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in blocks(document, "json")]


def _faults(validator: jsonschema.Draft202012Validator, event: dict[str, Any]) -> list[str]:
    return [f"{event.get('type')} {error.json_path}: {error.message[:200]}" for error in validator.iter_errors(event)]


def test_every_example_of_the_document_is_valid_and_every_kind_and_state_has_one(
    validator: jsonschema.Draft202012Validator, examples: list[dict[str, Any]]
) -> None:
    assert [fault for example in examples for fault in _faults(validator, example)] == []
    assert {example["type"].removeprefix("streamcls.") for example in examples} == set(KINDS)
    assert {
        example["data"].get("state") for example in examples if example["type"] == "streamcls.stream.status"
    } == set(STATES)
    for example in examples:
        topic = f"{example['type'].removeprefix('streamcls.')}/{example['subject']}"
        assert example["id"] == f"{example['epoch']}/{topic}/{example['sequence']}"


def test_the_examples_for_authors_of_plugins_are_valid(validator: jsonschema.Draft202012Validator) -> None:
    assert [fault for example in example_envelopes() for fault in _faults(validator, example)] == []


def test_every_member_of_the_schema_stands_in_the_document(schema: dict[str, Any], document: str) -> None:
    def members(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            yield from part.get("properties", {})
            for value in part.values():
                yield from members(value)
        elif isinstance(part, list):
            for value in part:
                yield from members(value)

    named = set(re.findall(r"`([a-z_0-9]+)`", document)) | {
        key for text in blocks(document, "json") for key in re.findall(r'"([a-z_0-9]+)":', text)
    }
    assert {name for name in members(schema) if name not in named} == set()


def _changed(event: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    event = copy.deepcopy(event)
    *steps, last = path.split(".")
    target = event
    for step in steps:
        target = target[step]
    if value is None:
        del target[last]
    else:
        target[last] = value
    return event


@pytest.mark.parametrize(
    "example",
    example_envelopes(),
    ids=lambda e: f"{e['type'].removeprefix('streamcls.')} {e['data'].get('phase') or e['data'].get('state') or ''}",
)
def test_no_member_of_an_event_can_be_left_out_or_misspelt(
    validator: jsonschema.Draft202012Validator, example: dict[str, Any]
) -> None:
    for name in example.keys() - {"position"}:
        assert _faults(validator, _changed(example, name, None)), f"{name} left out"
    assert _faults(validator, _changed(example, "extra", 1))
    status = example["type"].endswith("stream.status")
    optional = OPTIONAL.get(example["type"].removeprefix("streamcls."), set())
    for name in example["data"].keys() - optional:
        if not status or name in {"state", "reason"}:
            assert _faults(validator, _changed(example, f"data.{name}", None)), f"data.{name} left out"
    assert bool(_faults(validator, _changed(example, "data.extra", 1))) is not status


@pytest.mark.parametrize(
    ("kind", "path", "wrong"),
    [
        *((kind, path, wrong) for kind in KINDS for path, wrong in [
            ("specversion", "0.3"),
            ("sequence", 1),
            ("sequence", "0"),
            ("sequence", "01"),
            ("epoch", "today"),
            ("time", "2026-01-01T00:00:00Z"),
            ("time", "2026-01-01T00:00:00.000+01:00"),
            ("subject", "a/b"),
            ("source", "somewhere"),
            ("type", "streamcls.other"),
            ("data", []),
        ]),
        ("genre.window", "data.first_sample", -1),
        ("genre.window", "data.end_sample", 1.5),
        ("genre.window", "data.sample_rate", 0),
        ("genre.window", "data.posterior", {"jazz": 1.01}),
        ("genre.window", "data.posterior", {}),
        ("genre.window", "data.probability", "0.5"),
        ("genre.window", "data.level_dbfs", -121),
        ("genre.window", "data.started_at", 5),
        ("genre.segment", "data.id", "xyz"),
        ("genre.segment", "data.phase", "over"),
        ("genre.segment", "data.phase", "closed"),
        ("genre.segment", "data.reason", "too early"),
        ("genre.segment", "data.label", "unsure"),
        ("genre.segment", "data.cause", "not unsure"),
        ("genre.segment", "data.windows", 0),
        ("genre.segment", "data.duration_s", -0.1),
        ("moderation.window", "data.labels", "siren"),
        ("moderation.window", "data.labels", ["siren", "siren"]),
        ("moderation.alert", "data.severity", "terrible"),
        ("moderation.alert", "data.action", "shoot"),
        ("moderation.alert", "data.thresholds", {"enter": 0.5}),
        ("moderation.alert", "data.model_sha256", "abc"),
        ("moderation.alert", "data.cause", "silence"),
        *((kind, "position", wrong) for kind in ("moderation.alert", "stream.status") for wrong in ("0", "01", 7, "")),
        ("moderation.evidence", "data.path", "/etc/passwd"),
        ("moderation.evidence", "data.path", "radio-1/siren.flac"),
        ("moderation.evidence", "data.folder", "evidence"),
        ("moderation.evidence", "data.sha256", "33"),
        ("moderation.evidence", "data.channels", 9),
        ("moderation.evidence", "data.gaps", [{"first_sample": 3}]),
        ("moderation.evidence", "data.alert_kind", "moderation.window"),
        ("moderation.evidence", "data.model", None),
        ("daemon.evidence", "data.state", "fine"),
        ("daemon.evidence", "data.path", "radio-1/2026-01-01/a.flac"),
        ("daemon.journal", "data.journal", "mine"),
        ("daemon.clock", "data.kind", "broken"),
        ("daemon.clock", "data.jump_s", None),
        ("daemon.heartbeat", "data.stuck", [{"name": "worker-0"}]),
        ("daemon.heartbeat", "data.journal.state", "broken"),
        ("daemon.heartbeat", "data.journal.lost", None),
        ("daemon.heartbeat", "data.audit.last", "44"),
        ("daemon.heartbeat", "data.evidence.given_up", None),
        ("daemon.heartbeat", "data.clients", {"desk": {"missed": 1}}),
        ("stream.status", "data.state", "well"),
        ("stream.status", "data.reason", 3),
        ("stream.status", "data.first_sample", -3),
        ("daemon.heartbeat", "data.positions", {"no topic": 3}),
        ("daemon.heartbeat", "data.positions", {"a.b/x": 0}),
        ("daemon.heartbeat", "data.streams", {"a": {"state": "running"}}),
        ("daemon.heartbeat", "data.sources", {"a": {"state": "running", "reason": "", "counters": {"x": "many"}}}),
        ("daemon.heartbeat", "data.uptime_s", -1),
    ],
)  # fmt: skip
def test_the_schema_catches(validator: jsonschema.Draft202012Validator, kind: str, path: str, wrong: Any) -> None:
    example = next(event for event in example_envelopes() if event["type"] == f"streamcls.{kind}")
    assert not _faults(validator, example)
    assert _faults(validator, _changed(example, path, wrong))


def _configuration(tmp_path: Path, endpoint: str) -> Path:
    genre, moderation = real_bundle(tmp_path / "bundles", "genre-cnn"), real_bundle(tmp_path / "more", "moderation-cnn")
    config = tmp_path / "daemon.toml"
    config.write_text(
        f"""
[daemon]
heartbeat_s = 0.2
state_dir = "{tmp_path}"
[bus]
publish = ["{endpoint}"]
[[source]]
name = "station"
type = "demo"
loop = false
speed = 0
[[source]]
name = "tape"
type = "filetail"
path = "{tmp_path}/not-there.wav"
[[stream]]
models = ["genre", "moderation"]
tags = {{ format = "demo" }}
[model.genre]
bundle = "{genre}"
[model.moderation]
bundle = "{moderation}"
[policy.genre]
models = ["genre"]
enter = 0.25
leave = 0.2
min_duration_s = 1.0
update_s = 5.0
[policy.moderation]
models = ["moderation"]
[[subscriber]]
type = "jsonl"
path = "{tmp_path}/events.jsonl"
""",
        encoding="utf-8",
    )
    return config


def test_every_event_of_a_running_daemon_is_valid(tmp_path: Path, validator: jsonschema.Draft202012Validator) -> None:
    with DaemonProcess(_configuration(tmp_path, f"ipc://{tmp_path}/bus")) as daemon:
        listen = [
            *STREAMCLS,
            "listen",
            "--from",
            f"ipc://{tmp_path}/bus",
            "--kind",
            "daemon.heartbeat",
            "--count",
            "8",
            "--json",
        ]
        subprocess.run(listen, check=True, timeout=60, stdout=subprocess.DEVNULL)
        written = tmp_path / "events.jsonl"
        ended = threading.Event()
        while '"state":"ended"' not in written.read_text(encoding="utf-8"):
            assert daemon.process.poll() is None, daemon.text()
            ended.wait(0.05)
        daemon.process.terminate()
        assert daemon.wait() == 0, daemon.text()
    events = [json.loads(line) for line in written.read_text(encoding="utf-8").splitlines()]
    assert [fault for event in events for fault in _faults(validator, event)] == []
    kinds = {event["type"].removeprefix("streamcls.") for event in events}
    assert kinds == set(DEMO_KINDS), "the demo gives rise to each of these"
    assert {e["data"]["phase"] for e in events if e["type"] == "streamcls.genre.segment"} == {
        "opened",
        "updated",
        "closed",
    }
    last: dict[str, int] = {}
    for event in events:
        topic = f"{event['type'].removeprefix('streamcls.')}/{event['subject']}"
        assert int(event["sequence"]) == last.get(topic, 0) + 1, (
            "the in-process subscriber sees everything from the first event on"
        )
        assert event["id"] == f"{event['epoch']}/{topic}/{event['sequence']}"
        last[topic] = int(event["sequence"])
    final = events[-1]
    assert final["type"] == "streamcls.daemon.heartbeat", "the last word is a heartbeat"
    assert final["data"]["positions"] == {**last, "daemon.heartbeat/streamcls": last["daemon.heartbeat/streamcls"] - 1}


def _program(document: str, language: str, folder: Path) -> list[str]:
    (source,) = blocks(document, language)
    if language == "python":
        (folder / "subscriber.py").write_text(source, encoding="utf-8")
        return [sys.executable, str(folder / "subscriber.py")]
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: apt install nodejs npm")
    (folder / "subscriber.mjs").write_text(source, encoding="utf-8")
    return [node, str(folder / "subscriber.mjs")]


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_the_documents_subscribers_receive_and_notice_what_is_lost(
    language: str, document: str, tmp_path: Path, root: Path
) -> None:
    command = _program(document, language, tmp_path)
    if language == "javascript":
        if not (root / "node_modules" / "zeromq").is_dir():
            pytest.skip("Node's zeromq package is not here: npm install --no-save zeromq@6")
        (tmp_path / "node_modules").symlink_to(root / "node_modules")
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    first, second = "00000000000001-00000000", "00000000000002-00000000"
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.linger = 0
        socket.bind(endpoint)
        child = subprocess.Popen(
            [*command, endpoint, "a.b/"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            for _ in range(2):
                assert socket.poll(round(LONG_S * 1000)), "it does not subscribe"
                socket.recv()
            messages = [
                raw_event("a.b/x", 4, epoch=first),
                raw_event("a.b/x", 7, epoch=first),
                raw_event("daemon.heartbeat/d", 1, epoch=first, data={"positions": {"a.b/x": 10, "c.d/x": 5}}),
                raw_event("a.b/x", 3, epoch=second),
                raw_event("a.b/x", 4, epoch=second, data={"ä": 1}),
            ]
            for frames in messages:
                socket.send_multipart(frames)
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(4)]
        finally:
            child.terminate()
            _, errors = child.communicate(timeout=LONG_S)
    assert errors.split("\n")[:4] == [
        "LOST 2 of a.b/x",
        "LOST 3 of a.b/x",
        "RESTARTED /streamcls/test",
        "LOST 2 of a.b/x",
    ]
    assert all(line.split()[1:3] == ["x", "streamcls.a.b"] for line in lines)
