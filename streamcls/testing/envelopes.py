"""Example events, one for every kind, phase and state that the wire format has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from streamcls.bus.wire import Envelope, decode, encode
from streamcls.types import Event

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["example_envelopes", "make_envelope"]

_RATE: Final = 22_050
_TIME: Final = 1_767_225_600.25
"""2026-01-01T00:00:00.250Z."""
_EPOCH: Final = "0647572e1a4000-0a1b2c3d"
_STARTED, _ENDED = "2026-01-01T00:00:00.250Z", "2026-01-01T00:00:12.250Z"
_ALERT_ID, _SEGMENT_ID = "9f" * 16, "5c" * 16
_JOURNAL = "4e" * 16
_CLIP, _CLIP_SHA256 = f"radio-1/2026-01-01/000002-siren-{_ALERT_ID}.flac", "33" * 32


def make_envelope(
    kind: str,
    data: Mapping[str, Any],
    *,
    stream: str = "radio-1",
    sequence: int = 1,
    time: float = _TIME,
    position: int | None = None,
) -> Envelope:
    """Return an event as subscribers get it: encoded for the wire and decoded again.

    Parameters
    ----------
    kind
        E.g. ``genre.segment``.
    data
        JSON values only.
    time
        Unix time in seconds.
    position
        Place in the journal; None where the event is not journaled.
    """
    event = Event(kind, stream, data, time=time)
    _, envelope = decode(encode(event, source="/streamcls/example", epoch=_EPOCH, sequence=sequence, now=time))
    return envelope if position is None else envelope | {"position": str(position)}


def example_envelopes() -> list[Envelope]:
    """Return fresh examples of every kind of event, in an order in which a daemon could have published them."""
    cases: list[tuple[str, str, dict[str, Any]]] = [
        *(("stream.status", "radio-1", data) for data in _beginning()),
        *(("genre.window", "radio-1", data) for data in _windows()),
        *(("genre.segment", "radio-1", data) for data in _segments()),
        (
            "moderation.window",
            "radio-1",
            _window("moderation-cnn") | {"labels": [], "posterior": {"siren": 0.02, "gun_shot": 0.0}},
        ),
        (
            "moderation.window",
            "radio-1",
            _window("moderation-cnn") | {"labels": ["siren"], "posterior": {"siren": 0.97, "gun_shot": 0.0}},
        ),
        *(("moderation.alert", "radio-1", data) for data in _alerts()),
        ("moderation.ack", "radio-1", {"alert_id": _ALERT_ID, "by": "ada", "at": _ENDED, "note": "on it"}),
        *(("moderation.mute", "streamcls", data) for data in _mutes()),
        ("moderation.evidence", "radio-1", _evidence()),
        *(("stream.status", "radio-1", data) for data in _end()),
        *(("daemon.evidence", "streamcls", data) for data in _evidence_states()),
        *(("daemon.journal", "streamcls", data) for data in _journal_states()),
        *(("daemon.subscriber", "streamcls", data) for data in _subscriber_states()),
        ("daemon.clock", "streamcls", {"kind": "clock set", "jump_s": -3600.002}),
        ("daemon.clock", "streamcls", {"kind": "suspended", "jump_s": 28_800.75}),
        *(("daemon.reload", "streamcls", data) for data in _reloads()),
        ("daemon.heartbeat", "streamcls", _heartbeat()),
    ]
    counts: dict[tuple[str, str], int] = {}
    position = 0
    envelopes = []
    for number, (kind, stream, data) in enumerate(cases):
        counts[kind, stream] = counts.get((kind, stream), 0) + 1
        journaled = not kind.endswith(".window") and kind != "daemon.heartbeat"
        position += journaled
        envelopes.append(
            make_envelope(
                kind,
                data,
                stream=stream,
                sequence=counts[kind, stream],
                time=_TIME + number,
                position=position if journaled else None,
            )
        )
    return envelopes


def _span(seconds: float) -> dict[str, Any]:
    return {
        "first_sample": 0,
        "end_sample": round(seconds * _RATE),
        "sample_rate": _RATE,
        "started_at": _STARTED,
        "ended_at": _ENDED,
    }


def _window(model: str) -> dict[str, Any]:
    return {"policy": model.partition("-")[0], "model": model, "model_version": "1", **_span(3.0), "level_dbfs": -18.4}


def _windows() -> list[dict[str, Any]]:
    window = _window("genre-cnn")
    return [
        window | {"label": "jazz", "probability": 0.8123, "posterior": {"jazz": 0.9, "rock": 0.1}},
        window
        | {
            "label": "unsure",
            "probability": 0.4,
            "posterior": {"jazz": 0.4, "rock": 0.6},
            "started_at": None,
            "ended_at": None,
        },
    ]


def _finding(identifier: str, phase: str, model: str, label: str, seconds: float) -> dict[str, Any]:
    return {
        "id": identifier,
        "phase": phase,
        "policy": model.partition("-")[0],
        "model": model,
        "model_version": "1",
        "label": label,
        **_span(seconds),
        "duration_s": seconds,
        "windows": round(2 * seconds),
        "probability": {"mean": 0.81, "peak": 0.97},
    }


def _segments() -> list[dict[str, Any]]:
    jazz = [
        _finding(_SEGMENT_ID, phase, "genre-cnn", "jazz", seconds)
        for phase, seconds in (("opened", 4.0), ("updated", 34.0))
    ]
    closed = _finding(_SEGMENT_ID, "closed", "genre-cnn", "jazz", 40.0) | {"reason": "changed"}
    unsure = _finding("6d" * 16, "opened", "genre-cnn", "unsure", 4.0)
    # A file has no wall clock, and so its events have none.
    no_clock = {"started_at": None, "ended_at": None}
    return [
        *jazz,
        closed,
        unsure | {"cause": "nothing stands out"} | no_clock,
        unsure | {"phase": "closed", "cause": "silence", "reason": "shutdown"} | no_clock,
    ]


def _alerts() -> list[dict[str, Any]]:
    facts: dict[str, Any] = {
        "taxonomy": ["audioset:/m/03kmc9"],
        "severity": "medium",
        "action": "review",
        "model_sha256": "11" * 32,
        "front_end_sha256": "22" * 32,
        "thresholds": {"enter": 0.6, "leave": 0.36, "k": 3, "n": 4, "min_duration_s": 0.0, "cool_down_s": 5.0},
    }
    opened, updated, closed = (
        _finding(_ALERT_ID, phase, "moderation-cnn", "siren", seconds) | facts
        for phase, seconds in (("opened", 2.0), ("updated", 12.0), ("closed", 14.0))
    )
    acknowledged = {"acknowledged": {"by": "ada", "at": _ENDED, "note": "on it"}}
    muted = {"muted": {"by": "mute", "id": "1a2b3c4d", "until": None, "note": "siren test"}}
    silent = {"muted": {"by": "silence", "name": "night", "until": _ENDED, "note": ""}}
    return [
        opened,
        updated | acknowledged,
        updated | acknowledged | muted,
        updated | silent,
        closed | {"reason": "over"} | acknowledged | muted,
    ]


def _mutes() -> list[dict[str, Any]]:
    by_label = {"id": "1a2b3c4d", "alert_id": None, "labels": ["siren"], "streams": ["radio-*"], "until": None}
    by_id = {"id": "5e6f7a8b", "alert_id": _ALERT_ID, "labels": [], "streams": [], "until": _ENDED}
    said = {"by": "ada", "at": _STARTED, "note": "siren test"}
    return [
        {"state": "muted"} | by_label | said,
        {"state": "unmuted"} | by_label | said | {"ended_by": "bob"},
        {"state": "expired"} | by_id | said,
    ]


def _subscriber_states() -> list[dict[str, Any]]:
    return [
        {"name": "webhook", "state": "hung", "reason": "the event has not returned for 60 s"},
        {"name": "webhook", "state": "restarting", "reason": "it cannot be made: OSError: disk on fire"},
        {"name": "webhook", "state": "open", "reason": "it cannot be made: OSError: disk on fire"},
        {"name": "webhook", "state": "running", "reason": ""},
        {"name": "console", "state": "ended", "reason": "nobody reads standard output any more"},
    ]


def _reloads() -> list[dict[str, Any]]:
    nothing: dict[str, list[str]] = {"added": [], "changed": [], "removed": []}
    unchanged: dict[str, Any] = {
        "state": "unchanged",
        "reason": "nothing has changed",
        "problems": [],
        "sources": nothing,
        "streams": {"changed": [], "ended": []},
        "subscribers": nothing,
        "models": nothing,
        "policies": nothing,
        "settings": [],
        "waiting": [],
        "took_s": 0.21,
    }
    problem = 'source[0] "radio-1".bind: expected tcp://ADDRESS:PORT'
    refused = {"state": "refused", "reason": "my.toml: 1 problem; what runs goes on as it is", "problems": [problem]}
    applied = {
        "state": "applied",
        "reason": "the new configuration is in force",
        "sources": {"added": ["radio-2"], "changed": ["radio-1"], "removed": []},
        "models": nothing,
        "streams": {"changed": ["desk"], "ended": ["test"]},
        "policies": nothing | {"changed": ["moderation"]},
        "settings": ["daemon.heartbeat_s", "silence"],
        "waiting": ["bus.publish"],
    }
    return [unchanged, unchanged | refused, unchanged | applied]


def _evidence() -> dict[str, Any]:
    opened = _alerts()[0]
    copied = ("policy", "model", "model_version", "label", "model_sha256", "front_end_sha256", "thresholds")
    return {
        "alert_id": _ALERT_ID,
        "alert_kind": "moderation.alert",
        **{name: opened[name] for name in copied},
        "folder": "/var/lib/streamcls/evidence",
        "path": _CLIP,
        "sha256": _CLIP_SHA256,
        "bytes": 412_345,
        "channels": 2,
        **_span(17.0),
        "duration_s": 17.0,
        "offset_samples": 0,
        "offset_s": 0.0,
        "gaps": [{"first_sample": 4_410, "end_sample": 4_851}],
        "reason": "over",
    }


def _evidence_states() -> list[dict[str, Any]]:
    clip = {"stream": "radio-1", "alert_id": _ALERT_ID}
    return [
        {"state": "failed", "reason": "/var/lib/streamcls/evidence: Permission denied"},
        {"state": "failed", "reason": "No space left on device"} | clip,
        {"state": "ok", "reason": "clips are written again"},
        {"state": "removed", "reason": "max_age_days", "path": _CLIP, "sha256": _CLIP_SHA256} | clip,
    ]


def _journal_states() -> list[dict[str, Any]]:
    return [
        {"state": "failed", "reason": "database or disk is full", "journal": _JOURNAL, "unwritten": 12},
        {"state": "ok", "reason": "written again", "journal": _JOURNAL, "unwritten": 0},
    ]


def _beginning() -> list[dict[str, Any]]:
    models = [{"name": "genre-cnn", "version": "1", "sha256": "11" * 32}]
    running = {
        "sample_rate": _RATE,
        "channels": 2,
        "first_sample": 0,
        "started_at": _STARTED,
        "ended_at": None,
        "models": models,
        "tags": {"format": "jazz"},
    }
    return [
        {"state": "connecting", "reason": "the device is not there yet"},
        {"state": "retrying", "reason": "device unplugged; next attempt in 1 s"},
        {"state": "running", "reason": "22050 Hz, 2 channels", **running},
        {"state": "running", "reason": "following a file", "path": "/var/spool/radio.wav", "encoding": "pcm_s16le"},
    ]


def _end() -> list[dict[str, Any]]:
    return [
        {"state": "gap", "reason": "441 samples are missing", **_span(0.02)},
        {"state": "gap", "reason": "the file was replaced"},
        {"state": "stalled", "reason": "nothing for 30 s"},
        {"state": "running", "reason": "overload: each second window is classified", "stride_factor": 2},
        {"state": "shed", "reason": "overload: it has the lowest priority"},
        {"state": "running", "reason": "there is room again", "shed_s": 12.5},
        {"state": "ended", "reason": "end of stream"},
        {"state": "failed", "reason": "no [[stream]] entry matches it, so nothing is done with it"},
    ]


def _heartbeat() -> dict[str, Any]:
    stream = {
        "state": "running",
        "live": True,
        "waiting_s": 0.1,
        "dropped_samples": 0,
        "failures": 0,
        "audio_s": 60.0,
        "busy_s": 1.25,
        "window_age_s": 0.4,
        "windows": 120,
        "gaps": 1,
        "lost_samples": 441,
        "next_sample": 1_323_000,
        "peak_dbfs": [-3.1, -3.0],
        "rms_dbfs": [-18.2, -18.4],
    }
    return {
        "version": "0.1.0",
        "uptime_s": 60.0,
        "resident_bytes": 131_072_000,
        "published": 128,
        "waiting": 0,
        "positions": {"genre.window/radio-1": 120, "genre.segment/radio-1": 3},
        "streams": {
            "radio-1": stream,
            "radio-2": {"state": "connecting", "live": False, "waiting_s": 0.0, "dropped_samples": 0, "failures": 0},
        },
        "models": {"genre-cnn": {"inferences": 120, "seconds": 0.5}},
        "sources": {"radio-1": {"state": "running", "reason": "", "counters": {"overflows": 2}}},
        "subscribers": {
            "console": {"alive": True, "state": "running", "handled": 128, "failed": 0, "missed": 0}
            | {"behind": 0, "restarts": 0, "reason": ""},
            "webhook": {"alive": True, "state": "running", "handled": 12, "failed": 0, "missed": 0}
            | {"behind": 0, "restarts": 0, "reason": "", "waiting": 2, "waited_s": 61.5}
            | {"trouble": "https://example.org: no answer within 10 s", "counters": {"delivered": 10, "retried": 6}},
        },
        "journal": {"state": "ok", "reason": "", "journal": _JOURNAL, "first": 1, "position": 12, "bytes": 40_960}
        | {"written": 12, "unwritten": 0, "lost": 0, "set_aside": 0},
        "stuck": [
            {"name": "worker-1", "silent_s": 31.2, "doing": "stream radio-1", "call": "Policy.update (policy.py:31)"}
        ],
        "workers": {
            "worker-0": {"streams": 1, "utilisation": 0.021, "realtime_factor": 45.2}
            | {"lag_s": 0.1, "stride_factor": 1, "shed": 0},
            "worker-1": {"streams": 0, "utilisation": None, "realtime_factor": None}
            | {"lag_s": 0.0, "stride_factor": 1, "shed": 0},
        },
        "reload": {"count": 3, "refused": 1, "last": _reloads()[-1] | {"time": _ENDED}},
        "clients": {"desk": {"missed": 2, "requests": 5}},
        "evidence": {"state": "ok", "reason": "", "clips": 1, "bytes": 412_345, "waiting": 0}
        | {"written": 1, "given_up": 0, "removed": 0},
        "audit": {"state": "ok", "reason": "", "records": 5, "last": "44" * 32},
    }
