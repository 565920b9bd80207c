"""Real audio through pipeline, recorder and writer: what the clips hold is what the source delivered, sample by sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from fakes import LONG_S, Collector

from streamcls.audio import Run
from streamcls.audio.capture import PcmArray, to_s16
from streamcls.audio.decode import read_file
from streamcls.config import parse_config
from streamcls.config.schema import EvidenceSettings
from streamcls.daemon import prepare
from streamcls.plugins import discover
from streamcls.runtime.evidence import EvidenceRecorder
from streamcls.runtime.models import plan_stream
from streamcls.runtime.offline import OfflinePool
from streamcls.runtime.pipeline import StreamPipeline
from streamcls.service.audit import AuditLog
from streamcls.service.evidence import EvidenceWriter
from streamcls.service.verify import verify_clips, verify_log
from streamcls.testing import make_envelope

if TYPE_CHECKING:
    from pathlib import Path

    from streamcls import Event
    from streamcls.runtime.models import StreamPlan

CONFIG = """
[[source]]
name = "tape"
type = "demo"
[[stream]]
models = ["moderation-cnn"]
policies = ["moderation"]
"""
SETTINGS = EvidenceSettings(capture_s=10, pre_s=2, post_s=1, max_clip_s=12)


@pytest.fixture(scope="module")
def plan() -> StreamPlan:
    prepared = prepare(parse_config(CONFIG, "test"), discover())
    found = plan_stream(prepared.resolved, prepared.models, "tape")
    assert found is not None
    return found


def record(source: PcmArray, rate: int, hole: range, plan: StreamPlan, folder: Path) -> tuple[list[Event], list[Event]]:
    """Send 16-bit samples as a source would, in pieces of every length and without a hole; return alerts and evidence."""
    published = Collector()
    writer = EvidenceWriter(folder, SETTINGS, published)
    writer.start()
    pool = OfflinePool()
    pipeline, recorder = StreamPipeline("tape", plan, pool), EvidenceRecorder("tape", SETTINGS, writer)
    rng = np.random.default_rng(3)
    floats = source.astype(np.float32) / np.float32(1 << 15)
    at, events = 0, []
    while at < len(source):
        end = min(len(source), at + int(rng.integers(1, rate // 2)))
        end = min(end, hole.start) if at < hole.start else end
        if at not in hole:
            run = Run(floats[at:end], rate, at, 1_767_225_600.0 + at / rate)
            recorder.push(run)
            events += (given := pipeline.push(run))
            recorder.observe(given)
            recorder.hand_over()
        at = end if at not in hole else hole.stop
    given = pipeline.close("end of stream", flush=True)
    recorder.observe(given)
    recorder.finish("end of stream")
    recorder.hand_over()
    writer.finish()
    writer.join(LONG_S)
    assert not writer.is_alive()
    pool.close()
    alerts = [event for event in [*events, *given] if event.kind == "moderation.alert"]
    assert {event.kind for event in published.events} <= {"moderation.evidence"}, "nothing failed"
    return alerts, published.events


def check(
    source: PcmArray, hole: range, alerts: list[Event], evidence: list[Event], folder: Path
) -> list[dict[str, Any]]:
    opened = {event.data["id"]: event.data for event in alerts if event.data["phase"] == "opened"}
    assert opened, "no alert: the test would show nothing"
    assert {event.data["alert_id"] for event in evidence} == set(opened), "one clip for each alert"
    clips = []
    for event in evidence:
        facts, alert = dict(event.data), opened[event.data["alert_id"]]
        clip, rate = soundfile.read(folder / facts["path"], dtype="int16", always_2d=True)
        assert rate == facts["sample_rate"] == alert["sample_rate"]
        first, end = facts["first_sample"], facts["end_sample"]
        expected = source[first:end].copy()
        expected[max(0, hole.start - first) : max(0, hole.stop - first)] = 0
        np.testing.assert_array_equal(clip, expected)
        assert facts["offset_samples"] == alert["first_sample"] - first
        at_sound = clip[facts["offset_samples"] :][: rate // 10]
        np.testing.assert_array_equal(at_sound, expected[alert["first_sample"] - first :][: rate // 10])
        clips.append(facts)
    return clips


def test_clips_of_the_demo_programme_are_the_source_to_the_sample(plan: StreamPlan, root: Path, tmp_path: Path) -> None:
    floats, rate = read_file(root / "plugins" / "streamcls_demo" / "programme.opus")
    source = to_s16(floats)
    nothing = range(len(source), len(source))
    alerts, evidence = record(source, rate, nothing, plan, tmp_path)
    clips = check(source, nothing, alerts, evidence, tmp_path)
    assert all(clip["gaps"] == [] for clip in clips)
    _audit(alerts, evidence, tmp_path)


def _audit(alerts: list[Event], evidence: list[Event], folder: Path) -> None:
    """Record what was found, change one byte of a clip and one of the log, and see both named."""
    path = folder / "audit.jsonl"
    log = AuditLog(path, configuration="c0" * 32)
    for number, event in enumerate([*alerts, *evidence], 1):
        log.handle(make_envelope(event.kind, event.data, stream=event.stream, sequence=number, position=number))
    log.close()
    report = verify_log(path)
    verify_clips(report, folder)
    assert (report.faults, report.notes) == ([], [])
    assert report.intact == len(evidence)
    clip = folder / evidence[0].data["path"]
    for file, at in ((clip, clip.stat().st_size // 2), (path, path.stat().st_size // 2)):
        content = bytearray(file.read_bytes())
        content[at] ^= 1
        file.write_bytes(content)
    line = path.read_bytes()[: path.stat().st_size // 2].count(b"\n") + 1
    report = verify_log(path)
    verify_clips(report, folder)
    assert f"{path.name} line {line}" in [fault.where for fault in report.faults]
    assert evidence[0].data["path"] in [fault.where for fault in report.faults]


def test_clips_of_labelled_sounds_are_the_source_to_the_sample_gap_or_not(
    plan: StreamPlan, data: Path, tmp_path: Path
) -> None:
    """Breaking glass and crying children between music, with a hole in the middle of one of them."""
    sounds = [*sorted((data / "esc50_part" / "glass_breaking").glob("*.ogg"))[:4]]
    sounds += sorted((data / "esc50_part" / "crying_baby").glob("*.ogg"))[:4]
    pieces, rate, starts, at = [], 0, [], 0
    for sound in sounds:
        floats, rate = read_file(sound)
        mono = floats.mean(axis=1, keepdims=True, dtype=np.float32)
        quiet = np.random.default_rng(at).standard_normal((6 * rate, 1)).astype(np.float32) * np.float32(0.002)
        pieces += [quiet, mono]
        starts.append(at + len(quiet))
        at += len(quiet) + len(mono)
    one = to_s16(np.concatenate(pieces))
    source = np.concatenate([one, -one // 2], axis=1).astype(np.int16)  # two channels that are not the same
    without = range(len(source), len(source))
    alerts, evidence = record(source, rate, without, plan, tmp_path / "whole")
    check(source, without, alerts, evidence, tmp_path / "whole")
    longest = max((event.data for event in evidence), key=lambda clip: clip["duration_s"])
    begin = longest["first_sample"] + rate
    hole = range(begin, begin + rate // 20)
    alerts, evidence = record(source, rate, hole, plan, tmp_path / "holed")
    clips = check(source, hole, alerts, evidence, tmp_path / "holed")
    assert [clip["gaps"] for clip in clips if clip["gaps"]] == [[{"first_sample": hole.start, "end_sample": hole.stop}]]
