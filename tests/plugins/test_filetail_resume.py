from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tailing import Steps, append, pcm16, runs, states, tail, wav_head

from streamcls import AudioFormat, Chunk, RetryableSourceError, StreamStatus
from streamcls.audio import decode_pcm
from streamcls_filetail.checkpoint import Checkpoint, CheckpointStore

S16 = (8_000, 1, "pcm_s16le")


def decoded(data: bytes) -> np.ndarray:
    return decode_pcm(data, AudioFormat(*S16))


def resume(path, state, **keys):
    return tail(path, state, start="resume", **keys)


def checkpoint_path(state):
    return state / "filetail-tape.json"


def take(source, chunks: int) -> list:
    """Take that many chunks as the daemon does: the one before the stop is delivered, as the next item is asked for."""
    stop = threading.Event()
    items, count = [], 0
    for item in source.items(stop):
        items.append(item)
        count += isinstance(item, Chunk)
        if count == chunks:
            stop.set()
    return items


@pytest.mark.parametrize("container", ["raw", "wav"])
def test_resuming_twice_neither_loses_nor_repeats_a_sample(tmp_path, container) -> None:
    path, state = tmp_path / "tape", tmp_path / "state"
    audio = pcm16(5_000)
    raw = S16 if container == "raw" else None
    path.write_bytes(b"" if raw else wav_head(0))
    append(path, audio[:6_001])
    first = take(resume(path, state, raw=raw), 2)
    second = take(resume(path, state, raw=raw), 1)
    append(path, audio[6_001:])
    third = list(resume(path, state, raw=raw).items(Steps()))
    assert [first_sample for first_sample, _ in runs(first + second)] == [0]
    [(start, samples)] = runs(first + second + third)
    assert start == 0
    np.testing.assert_array_equal(samples, decoded(audio))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_resuming_at_random_places_neither_loses_nor_repeats_a_sample(tmp_path_factory, data) -> None:
    folder = tmp_path_factory.mktemp("resume")
    path, state = folder / "tape", folder / "state"
    audio = pcm16(data.draw(st.integers(1_000, 6_000)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(audio)), min_size=1, max_size=6)))
    items = []
    path.write_bytes(wav_head(0))
    for a, b in zip([0, *cuts], [*cuts, len(audio)], strict=True):
        append(path, audio[a:b])
        with path.open("r+b") as file:  # the recorder rewrites its sizes
            file.write(wav_head(b))
        source = resume(path, state, checkpoint_s=data.draw(st.sampled_from([0.0, 100.0])))
        ready = (b // 2 - sum(len(samples) for _, samples in runs(items))) // 800
        if ready and data.draw(st.booleans()):
            items += take(source, data.draw(st.integers(1, ready)))
        else:
            items += source.items(Steps())
    items += resume(path, state).items(Steps())
    [(start, samples)] = runs(items)
    assert start == 0
    np.testing.assert_array_equal(samples, decoded(audio))


def test_a_chunk_that_was_not_taken_to_its_end_comes_again(tmp_path) -> None:
    path, state = tmp_path / "tape", tmp_path / "state"
    path.write_bytes(pcm16(5_000))
    items = resume(path, state, raw=S16).items(threading.Event())
    taken = [next(items) for _ in range(4)]
    assert taken[-1].first_sample == 1_600
    items.close()
    [(first, _)] = runs(resume(path, state, raw=S16).items(Steps()))
    assert first == 1_600


def test_a_run_that_is_killed_goes_on_from_its_last_checkpoint(tmp_path) -> None:
    path, state = tmp_path / "tape", tmp_path / "state"
    path.write_bytes(pcm16(5_000))
    items = resume(path, state, raw=S16, checkpoint_s=0).items(threading.Event())
    for _ in range(4):
        next(items)
    stored = Checkpoint.model_validate_json(checkpoint_path(state).read_bytes())
    assert (stored.offset, stored.index) == (3_200, 1_600)
    assert (stored.head_bytes, stored.inode, stored.path) == (4_096, path.stat().st_ino, str(path))


def test_checkpoints_are_no_more_frequent_than_configured(tmp_path, monkeypatch) -> None:
    path, state = tmp_path / "tape", tmp_path / "state"
    path.write_bytes(pcm16(8_000))
    saved = []
    monkeypatch.setattr(CheckpointStore, "save", lambda self, checkpoint: saved.append(checkpoint.index))
    list(resume(path, state, raw=S16, checkpoint_s=3_600).items(Steps()))
    assert saved == [800, 8_000]


@pytest.mark.parametrize("container", ["raw", "wav"])
def test_a_file_replaced_meanwhile_is_read_from_its_start_after_a_gap(tmp_path, container) -> None:
    path, state = tmp_path / "tape", tmp_path / "state"
    raw = S16 if container == "raw" else None
    head = b"" if raw else wav_head(0)
    path.write_bytes(head + pcm16(1_000))
    list(resume(path, state, raw=raw).items(Steps()))
    path.rename(tmp_path / "old")
    new = pcm16(1_200, seed=2)
    path.write_bytes(head + new)
    items = list(resume(path, state, raw=raw).items(Steps()))
    assert states(items) == ["gap", "running"]
    assert items[0] == StreamStatus(
        "tape", "gap", f"{path} was replaced by another file since it was left; beginning at its start"
    )
    [(first, samples)] = runs(items)
    assert first == 1_001
    np.testing.assert_array_equal(samples, decoded(new))


@pytest.mark.parametrize(("count", "reason"), [(1_200, "rewritten"), (300, "truncated")])
def test_a_file_rewritten_under_the_same_inode_is_noticed(tmp_path, count, reason) -> None:
    path, state = tmp_path / "tape", tmp_path / "state"
    path.write_bytes(pcm16(1_000))
    list(resume(path, state, raw=S16).items(Steps()))
    path.write_bytes(pcm16(count, seed=2))
    items = list(resume(path, state, raw=S16).items(Steps()))
    assert f"was {reason} since" in items[0].reason
    assert [(first, len(samples)) for first, samples in runs(items)] == [(1_001, count)]


def test_another_device_number_alone_is_no_other_file(tmp_path) -> None:
    path, state = tmp_path / "tape", tmp_path / "state"
    path.write_bytes(pcm16(4_000))
    take(resume(path, state, raw=S16), 1)
    stored = json.loads(checkpoint_path(state).read_text())
    stored["device"] += 1
    checkpoint_path(state).write_text(json.dumps(stored))
    assert [first for first, _ in runs(resume(path, state, raw=S16).items(Steps()))] == [800]
    stored.update(head_bytes=100)
    checkpoint_path(state).write_text(json.dumps(stored))
    assert [first for first, _ in runs(resume(path, state, raw=S16).items(Steps()))] == [801]


def test_a_place_inside_a_sample_of_the_format_declared_now_is_not_trusted(tmp_path) -> None:
    path, state = tmp_path / "tape", tmp_path / "state"
    path.write_bytes(pcm16(801))
    list(resume(path, state, raw=S16).items(Steps()))
    items = list(resume(path, state, raw=(8_000, 2, "pcm_s16le")).items(Steps()))
    assert states(items) == ["gap", "running"]


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"version": 1}', b"\xff\xfe", b"null", b'{"version": 2, "path": "x"}', b"{" * 100_000]
)
def test_a_corrupt_checkpoint_is_set_aside(tmp_path, caplog, text) -> None:
    path = tmp_path / "tape"
    path.write_bytes(pcm16(10))
    checkpoint_path(tmp_path).write_bytes(text)
    with caplog.at_level(logging.WARNING):
        assert [first for first, _ in runs(resume(path, tmp_path, raw=S16).items(Steps()))] == [0]
    [record] = caplog.records
    assert "set aside as filetail-tape.json.corrupt" in record.getMessage()
    assert (tmp_path / "filetail-tape.json.corrupt").read_bytes() == text
    assert Checkpoint.model_validate_json(checkpoint_path(tmp_path).read_bytes()).index == 10


def test_a_checkpoint_that_cannot_be_written_is_counted_and_the_audio_goes_on(tmp_path, caplog) -> None:
    path = tmp_path / "tape"
    path.write_bytes(pcm16(2_400))
    (tmp_path / "filetail-tape.json.tmp").mkdir()
    source = resume(path, tmp_path, raw=S16, checkpoint_s=0)
    assert [len(samples) for _, samples in runs(source.items(Steps()))] == [2_400]
    assert source.counters["checkpoint_failures"] >= 3
    assert len(caplog.records) == 1
    assert "cannot be written" in caplog.text


def test_a_checkpoint_that_cannot_be_read_can_be_retried(tmp_path) -> None:
    path = tmp_path / "tape"
    path.write_bytes(pcm16(10))
    checkpoint_path(tmp_path).mkdir()
    source = resume(path, tmp_path, raw=S16)
    with pytest.raises(
        RetryableSourceError, match=r"filetail-tape\.json: cannot be read: Is a directory; see to the folder"
    ):
        list(source.items(Steps()))
    checkpoint_path(tmp_path).rmdir()
    assert [len(samples) for _, samples in runs(source.items(Steps()))] == [10]


def test_without_resume_nothing_is_written(tmp_path) -> None:
    path, state = tmp_path / "tape", tmp_path / "state"
    path.write_bytes(pcm16(100))
    list(tail(path, state, raw=S16).items(Steps()))
    assert not state.exists()


def test_any_stream_name_makes_one_file_name(tmp_path) -> None:
    store = CheckpointStore(tmp_path, "../über/radio 1")
    assert store.path.parent == tmp_path


WRITER = """
import pathlib, sys
from streamcls_filetail.checkpoint import Checkpoint, CheckpointStore
store = CheckpointStore(pathlib.Path(sys.argv[1]), "tape")
for index in range(10**9):
    store.save(Checkpoint(path="x" * (index % 4096), device=1, inode=2, head_bytes=0, head_sha256="", offset=index, index=index))
    if index == 0:
        print("ready", flush=True)
"""


def test_a_reader_and_a_crash_never_see_half_a_checkpoint(tmp_path) -> None:
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b"ready\n"
        seen = set()
        while len(seen) < 30:
            stored = Checkpoint.model_validate_json(checkpoint_path(tmp_path).read_bytes())
            assert len(stored.path) == stored.index % 4_096
            seen.add(stored.index)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
    assert CheckpointStore(tmp_path, "tape").load().index >= max(seen)
