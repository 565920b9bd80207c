from __future__ import annotations

import errno
import logging
import os
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tailing import Steps, append, pcm16, runs, states, tail, wav_head

import streamcls_filetail
from streamcls import AudioFormat, Chunk, EndOfStream, RetryableSourceError, Source, SourceError, StreamStatus
from streamcls.audio import decode_pcm
from streamcls_filetail.config import Config

S16 = (8_000, 1, "pcm_s16le")


def decoded(data: bytes, raw=S16) -> np.ndarray:
    return decode_pcm(data, AudioFormat(*raw))


def test_the_plugin_offers_a_source(tmp_path) -> None:
    [offered] = streamcls_filetail.register_sources()
    assert offered.name == "filetail"
    source = tail(tmp_path / "tape", tmp_path)
    assert isinstance(source, Source)
    assert source.live is False


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"path": "x", "start": "middle"},
        {"path": "x", "pace": "slow"},
        {"path": "x", "chunk_s": 0},
        {"path": "x", "format": {"sample_rate": 0}},
        {"path": "x", "format": {"sample_rate": 8_000, "encoding": "mp3"}},
        {"path": "x", "colour": "red"},
    ],
)
def test_a_wrong_configuration_is_refused(keys) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate(keys)


def test_what_stands_in_the_file_comes_in_chunks_of_the_configured_length(tmp_path) -> None:
    path = tmp_path / "tape.wav"
    audio = pcm16(2_000)
    path.write_bytes(wav_head(len(audio)) + audio)
    items = list(tail(path, tmp_path, chunk_s=0.05).items(Steps()))
    assert states(items) == ["running"]
    assert items[0].metadata == {"path": str(path), "sample_rate": 8_000, "channels": 1, "encoding": "pcm_s16le"}
    chunks = [item for item in items if isinstance(item, Chunk)]
    assert [len(chunk.samples) for chunk in chunks] == [400] * 5
    [(first, samples)] = runs(items)
    assert first == 0
    np.testing.assert_array_equal(samples, decoded(audio))


def test_the_wall_clock_of_a_backlog_counts_back_from_the_time_of_modification(tmp_path) -> None:
    path = tmp_path / "tape"
    path.write_bytes(pcm16(8_000))
    os.utime(path, (1_000_000, 1_000_000))
    chunks = [item for item in tail(path, tmp_path, raw=S16).items(Steps()) if isinstance(item, Chunk)]
    assert [chunk.captured_at for chunk in chunks] == pytest.approx([999_999 + i / 10 for i in range(10)])


def test_the_wall_clock_of_new_audio_counts_back_from_now(tmp_path) -> None:
    path = tmp_path / "tape"
    path.write_bytes(b"")
    os.utime(path, (1_000_000, 1_000_000))
    before = time.time()
    stop = Steps(lambda: append(path, pcm16(800)), lambda: os.utime(path, (1_000_000, 1_000_000)))
    [chunk] = [item for item in tail(path, tmp_path, raw=S16).items(stop) if isinstance(item, Chunk)]
    assert before - 0.1 <= chunk.captured_at <= time.time() - 0.1


def test_a_file_that_is_not_there_yet_is_announced_once_and_waited_for(tmp_path) -> None:
    path = tmp_path / "tape"
    audio = pcm16(100)
    nothing = [lambda: None] * 3
    items = list(tail(path, tmp_path, raw=S16).items(Steps(*nothing, lambda: append(path, audio))))
    assert states(items) == ["connecting", "running"]
    assert "does not exist yet" in items[0].reason
    [(first, samples)] = runs(items)
    assert first == 0
    np.testing.assert_array_equal(samples, decoded(audio))


def test_a_header_that_is_not_whole_yet_is_announced_once_and_waited_for(tmp_path) -> None:
    path = tmp_path / "tape.wav"
    audio = pcm16(100)
    data = wav_head(0) + audio
    pieces = [data[i : i + 7] for i in range(0, len(data), 7)]
    items = list(tail(path, tmp_path).items(Steps(*[lambda piece=piece: append(path, piece) for piece in pieces])))
    assert states(items) == ["connecting", "running"]
    [(_, samples)] = runs(items)
    np.testing.assert_array_equal(samples, decoded(audio))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize(
    "raw",
    [
        (8_000, 1, "pcm_u8"),
        (8_000, 2, "pcm_s16le"),
        (8_000, 2, "pcm_s24le"),
        (8_000, 1, "pcm_s32le"),
        (8_000, 3, "pcm_f32le"),
    ],
)
@pytest.mark.parametrize("container", ["raw", "wav"])
def test_any_split_of_the_bytes_gives_the_same_samples(tmp_path_factory, data, raw, container) -> None:
    folder = tmp_path_factory.mktemp("split")
    path = folder / "tape"
    tag = 3 if raw[2] == "pcm_f32le" else 1
    size = AudioFormat(*raw).bytes_per_sample
    bits = 8 * size // raw[1]
    n = data.draw(st.integers(1, 400))
    audio = np.random.default_rng(n).integers(0, 256, n * size, np.uint8)
    if tag == 3:
        audio = np.random.default_rng(n).uniform(-1, 1, n * raw[1]).astype("<f4").view(np.uint8)
    audio = audio.tobytes()
    head = wav_head(data.draw(st.sampled_from([0, 0xFFFFFFFF, len(audio)])), channels=raw[1], bits=bits, tag=tag)
    whole = audio if container == "raw" else head + audio
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    path.write_bytes(b"")
    source = tail(
        path, folder, raw=raw if container == "raw" else None, chunk_s=data.draw(st.sampled_from([0.01, 0.1]))
    )
    [(first, samples)] = runs(source.items(Steps(*[lambda piece=piece: append(path, piece) for piece in pieces])))
    assert first == 0
    np.testing.assert_array_equal(samples, decoded(audio, raw))


def test_a_writer_in_another_thread_loses_nothing(tmp_path) -> None:
    path = tmp_path / "tape.wav"
    audio = pcm16(3_001, seed=5)
    data = wav_head(0) + audio
    taken = threading.Semaphore(3)
    sizes = np.random.default_rng(7).integers(1, 200, 1_000)

    def write() -> None:
        at = 0
        for size in sizes:
            if at >= len(data):
                break
            taken.acquire(timeout=0.05)
            append(path, data[at : at + size])
            at += size

    stop = threading.Event()
    writer = threading.Thread(target=write)
    writer.start()
    items = []
    for item in tail(path, tmp_path, poll_s=0.01).items(stop):
        items.append(item)
        taken.release()
        if isinstance(item, Chunk) and item.end_sample == 3_001:
            stop.set()
    writer.join()
    [(_, samples)] = runs(items)
    np.testing.assert_array_equal(samples, decoded(audio))


def test_a_write_that_ends_inside_a_sample_is_held_until_the_rest_comes(tmp_path) -> None:
    path = tmp_path / "tape"
    audio = pcm16(20)
    path.write_bytes(audio[:13])
    source = tail(path, tmp_path, raw=(8_000, 2, "pcm_s16le"))
    items = source.items(Steps(lambda: append(path, audio[13:])))
    seen = [(item.first_sample, len(item.samples)) for item in items if isinstance(item, Chunk)]
    assert seen == [(0, 3), (3, 7)]


def test_end_begins_with_what_is_written_next_and_counts_what_stood_there(tmp_path) -> None:
    path = tmp_path / "tape.wav"
    old, new = pcm16(500), pcm16(100, seed=2)
    path.write_bytes(wav_head(0) + old)
    [(first, samples)] = runs(tail(path, tmp_path, start="end").items(Steps(lambda: append(path, new))))
    assert first == 500
    np.testing.assert_array_equal(samples, decoded(new))


def test_chunks_behind_the_audio_of_a_finished_file_are_no_audio(tmp_path) -> None:
    path = tmp_path / "tape.wav"
    audio = pcm16(50)
    path.write_bytes(wav_head(100, more=12) + audio + b"note\4\0\0\0abcd")
    [(_, samples)] = runs(tail(path, tmp_path).items(Steps()))
    np.testing.assert_array_equal(samples, decoded(audio))


def test_a_size_that_the_recorder_rewrites_while_it_records_changes_nothing(tmp_path) -> None:
    path = tmp_path / "tape.wav"
    audio = pcm16(300)

    def grow(upto: int, stated: int) -> None:
        append(path, audio[path.stat().st_size - 44 : upto])
        with path.open("r+b") as file:
            file.write(wav_head(stated))

    path.write_bytes(wav_head(0))
    stop = Steps(lambda: grow(100, 0), lambda: grow(200, 100), lambda: grow(400, 400), lambda: grow(600, 600))
    [(first, samples)] = runs(tail(path, tmp_path).items(stop))
    assert first == 0
    np.testing.assert_array_equal(samples, decoded(audio))


def test_a_truncated_file_is_read_from_its_start_after_a_gap(tmp_path, caplog) -> None:
    path = tmp_path / "tape.wav"
    old, new = pcm16(500), pcm16(100, seed=2)
    path.write_bytes(wav_head(0) + old)
    source = tail(path, tmp_path)
    items = list(source.items(Steps(lambda: path.write_bytes(wav_head(0) + new))))
    assert states(items) == ["running", "gap", "running"]
    [gap] = [item for item in items if isinstance(item, StreamStatus) and item.state == "gap"]
    assert gap.reason == f"{path} was truncated; beginning at its start"
    assert [record.levelname for record in caplog.records] == ["WARNING"], "something may be lost by it"
    (_, before), (first, after) = runs(items)
    np.testing.assert_array_equal(before, decoded(old))
    assert first == 501
    np.testing.assert_array_equal(after, decoded(new))
    assert source.counters["truncations"] == 1


def test_a_file_truncated_to_nothing_waits_for_its_new_header(tmp_path) -> None:
    path = tmp_path / "tape.wav"
    path.write_bytes(wav_head(0) + pcm16(500))
    stop = Steps(lambda: path.write_bytes(b""), lambda: path.write_bytes(wav_head(0) + pcm16(9)))
    items = list(tail(path, tmp_path).items(stop))
    assert states(items) == ["running", "gap", "connecting", "running"]
    assert [first for first, _ in runs(items)] == [0, 501]


@pytest.mark.parametrize("raw", [S16, None], ids=["raw", "wav"])
def test_a_file_rewritten_in_place_between_two_looks_is_no_continuation(tmp_path, raw) -> None:
    path = tmp_path / "tape"
    head = b"" if raw else wav_head(0)
    old, new = pcm16(500), pcm16(900, seed=2)
    path.write_bytes(head + old)
    items = list(tail(path, tmp_path, raw=raw).items(Steps(lambda: path.write_bytes(head + new))))
    [gap] = [item for item in items if isinstance(item, StreamStatus) and item.state == "gap"]
    assert gap.reason == f"{path} was rewritten; beginning at its start"
    (_, before), (first, after) = runs(items)
    np.testing.assert_array_equal(before, decoded(old))
    assert first == 501
    np.testing.assert_array_equal(after, decoded(new))


def test_rotation_reads_the_old_file_to_its_end_and_then_the_new_one(tmp_path) -> None:
    path = tmp_path / "tape.wav"
    old, late, new = pcm16(500), pcm16(77, seed=2), pcm16(100, seed=3)
    path.write_bytes(wav_head(0) + old)

    def rotate() -> None:
        path.rename(tmp_path / "tape.1.wav")
        path.write_bytes(wav_head(0) + new)
        append(tmp_path / "tape.1.wav", late)

    source = tail(path, tmp_path)
    items = list(source.items(Steps(rotate)))
    (_, before), (first, after) = runs(items)
    np.testing.assert_array_equal(before, decoded(old + late))
    assert first == 578
    np.testing.assert_array_equal(after, decoded(new))
    assert states(items) == ["running", "gap", "running"]
    assert source.counters["rotations"] == 1


def test_audio_written_just_before_the_rename_was_noticed_is_not_lost(tmp_path, monkeypatch) -> None:
    path = tmp_path / "tape"
    old, late, new = pcm16(50), pcm16(7, seed=2), pcm16(10, seed=3)
    path.write_bytes(old)
    source = tail(path, tmp_path, raw=S16)
    items = source.items(Steps())
    first_two = [next(items), next(items)]
    followed = source._file
    real = type(followed).replaced
    raced = []

    def race(self) -> bool:
        if not raced:
            raced.append(True)
            append(path, late)
            path.rename(tmp_path / "old")
            path.write_bytes(new)
        return real(self)

    monkeypatch.setattr(type(followed), "replaced", race)
    (_, before), (first, after) = runs([*first_two, *items])
    np.testing.assert_array_equal(before, decoded(old + late))
    assert first == 58
    np.testing.assert_array_equal(after, decoded(new))


def test_a_renamed_file_is_followed_until_a_new_one_stands_there(tmp_path) -> None:
    path, old = tmp_path / "tape", tmp_path / "tape.1"
    path.write_bytes(pcm16(10))
    stop = Steps(
        lambda: path.rename(old),
        lambda: append(old, pcm16(5)),
        lambda: None,
        lambda: path.write_bytes(pcm16(3)),
        idle=4,
    )
    assert [(first, len(samples)) for first, samples in runs(tail(path, tmp_path, raw=S16).items(stop))] == [
        (0, 15),
        (16, 3),
    ]


def test_a_new_file_of_another_format_begins_a_new_stream(tmp_path) -> None:
    path = tmp_path / "tape.wav"
    path.write_bytes(wav_head(0) + pcm16(500))

    def rotate() -> None:
        path.rename(tmp_path / "tape.1.wav")
        path.write_bytes(wav_head(0, rate=16_000, channels=2) + pcm16(100))

    items = list(tail(path, tmp_path, chunk_s=1).items(Steps(rotate)))
    kinds = [type(item).__name__ for item in items]
    assert kinds == ["StreamStatus", "Chunk", "StreamStatus", "EndOfStream", "StreamStatus", "Chunk"]
    assert items[3] == EndOfStream("tape")
    assert (items[5].sample_rate, items[5].samples.shape, items[5].first_sample) == (16_000, (50, 2), 501)


def test_a_file_replaced_before_its_header_was_whole_leaves_no_gap(tmp_path) -> None:
    path = tmp_path / "tape.wav"
    path.write_bytes(wav_head(0)[:20])

    def replace() -> None:
        path.rename(tmp_path / "old")
        path.write_bytes(wav_head(0) + pcm16(10))

    items = list(tail(path, tmp_path).items(Steps(replace)))
    assert states(items) == ["connecting", "running"]
    assert [first for first, _ in runs(items)] == [0]


def test_floats_that_are_no_audio_become_a_gap_and_a_warning(tmp_path, caplog) -> None:
    path = tmp_path / "tape"
    values = np.random.default_rng(1).uniform(-1, 1, 2_400).astype("<f4")
    values[900] = np.nan
    path.write_bytes(values.tobytes())
    source = tail(path, tmp_path, raw=(8_000, 1, "pcm_f32le"))
    with caplog.at_level(logging.WARNING):
        (_, before), (first, after) = runs(source.items(Steps()))
    np.testing.assert_array_equal(before[:, 0], values[:800])
    assert first == 1_600
    np.testing.assert_array_equal(after[:, 0], values[1_600:])
    assert source.counters["bad_chunks"] == 1
    [record] = caplog.records
    assert f"{path}: 800 samples at byte offset 3200 dropped" in record.getMessage()


def test_many_bad_chunks_are_logged_once_per_hundred(tmp_path, caplog) -> None:
    path = tmp_path / "tape"
    path.write_bytes(np.full(80_000, np.inf, "<f4").tobytes())
    source = tail(path, tmp_path, raw=(8_000, 1, "pcm_f32le"), chunk_s=0.05)
    assert runs(source.items(Steps())) == []
    assert source.counters["bad_chunks"] == 200
    assert len(caplog.records) == 2


def test_a_folder_is_refused(tmp_path) -> None:
    with pytest.raises(SourceError, match="is a folder; path must name a file") as caught:
        list(tail(tmp_path, tmp_path).items(Steps()))
    assert not isinstance(caught.value, RetryableSourceError)


def test_a_named_pipe_is_refused_without_waiting_for_its_writer(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="is no regular file"):
        list(tail(tmp_path / "pipe", tmp_path).items(Steps()))


def test_a_path_through_a_file_is_refused(tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SourceError, match="a part of the path is no folder"):
        list(tail(tmp_path / "file" / "tape", tmp_path).items(Steps()))


def test_a_file_that_may_not_be_read_can_be_retried(tmp_path) -> None:
    path = tmp_path / "tape"
    path.symlink_to(path)  # a loop cannot be opened by anybody, not even by root
    source = tail(path, tmp_path, raw=S16)
    with pytest.raises(RetryableSourceError, match="cannot be read: Too many levels of symbolic links"):
        list(source.items(Steps()))
    path.unlink()
    path.write_bytes(pcm16(10))
    assert [len(samples) for _, samples in runs(source.items(Steps()))] == [10]


def test_a_missing_permission_says_what_to_do(tmp_path, monkeypatch) -> None:
    path = tmp_path / "tape"

    def denied(name, flags) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(name))

    monkeypatch.setattr("streamcls_filetail.file.os.open", denied)  # root, who may run this, is never denied
    with pytest.raises(RetryableSourceError, match="give the daemon's user the permission"):
        list(tail(path, tmp_path, raw=S16).items(Steps()))


def test_a_corrupt_header_ends_the_source(tmp_path) -> None:
    path = tmp_path / "tape.wav"
    path.write_bytes(b"ID3\4" + bytes(100))
    with pytest.raises(SourceError, match=r"offset 0: found b'ID3.*for raw PCM declare its format"):
        list(tail(path, tmp_path).items(Steps()))


def test_items_called_again_goes_on_where_it_was(tmp_path) -> None:
    path = tmp_path / "tape"
    audio = pcm16(500)
    path.write_bytes(audio[:600])
    source = tail(path, tmp_path, raw=S16)
    first = list(source.items(Steps()))
    append(path, audio[600:])
    second = list(source.items(Steps()))
    [(start, samples)] = runs([*first, *second])
    assert start == 0
    np.testing.assert_array_equal(samples, decoded(audio))


def test_a_stop_ends_it_in_every_state(tmp_path) -> None:
    missing = tail(tmp_path / "missing", tmp_path)
    stop = threading.Event()
    stop.set()
    assert list(missing.items(stop)) == []
    path = tmp_path / "tape"
    path.write_bytes(pcm16(8_000))
    stop = threading.Event()
    count = 0
    for item in tail(path, tmp_path, raw=S16).items(stop):
        count += isinstance(item, Chunk)
        if count == 3:
            stop.set()
    assert count == 3


def test_realtime_waits_for_the_time_of_each_chunk(tmp_path, monkeypatch) -> None:
    path = tmp_path / "tape"
    path.write_bytes(pcm16(8_000))
    now = [100.0]

    class Clock(Steps):
        def wait(self, timeout: float | None = None) -> bool:
            if timeout is not None and not self.is_set():
                now[0] += timeout
            return super().wait(timeout) if timeout == 0.1234 else False

    monkeypatch.setattr("streamcls_filetail.pacing.time.monotonic", lambda: now[0])
    items = tail(path, tmp_path, raw=S16, pace="realtime", poll_s=0.1234).items(Clock())
    arrivals = [now[0] - item.first_sample / 8_000 for item in items if isinstance(item, Chunk)]
    assert len(arrivals) == 10
    assert arrivals == pytest.approx([100.0] * 10)


def test_realtime_counts_audio_as_captured_when_it_is_delivered(tmp_path) -> None:
    path = tmp_path / "tape"
    path.write_bytes(pcm16(80))
    os.utime(path, (1_000_000, 1_000_000))
    before = time.time()
    [chunk] = [i for i in tail(path, tmp_path, raw=S16, pace="realtime").items(Steps()) if isinstance(i, Chunk)]
    assert before <= chunk.captured_at <= time.time()
