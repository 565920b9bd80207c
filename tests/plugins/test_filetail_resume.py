from __future__ import annotations

import json
import logging
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tailing import Steps, append, pcm16, runs, states, tail, wav_head

from streamcls import AudioFormat, Chunk, RetryableSourceError, StreamStatus
from streamcls.audio import decode_pcm
from streamcls_filetail.mark import Mark, earlier_file

S16 = (8_000, 1, "pcm_s16le")


def decoded(data: bytes) -> np.ndarray:
    return decode_pcm(data, AudioFormat(*S16))


def resume(path, state, mark=None, reached=0, **keys):
    """Return a source as the daemon makes it after a restart: what it keeps of a mark is JSON."""
    marks = {} if mark is None else {"tape": json.loads(json.dumps(mark))}
    return tail(path, state, start="resume", marks=marks, reached={"tape": reached} if reached else {}, **keys)


def chunks_of(items) -> list[Chunk]:
    return [item for item in items if isinstance(item, Chunk)]


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
def test_every_chunk_comes_again_from_its_mark_and_all_that_follows(tmp_path, container) -> None:
    path = tmp_path / "tape"
    audio = pcm16(5_000)
    raw = S16 if container == "raw" else None
    path.write_bytes((b"" if raw else wav_head(0)) + audio)
    first = chunks_of(resume(path, tmp_path, raw=raw).items(Steps()))
    assert len(first) == 7
    for chunk in first:
        [(start, samples)] = runs(resume(path, tmp_path, chunk.mark, 5_000, raw=raw).items(Steps()))
        assert start == chunk.first_sample
        np.testing.assert_array_equal(samples, decoded(audio)[start:])


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_going_on_at_random_marks_of_a_growing_file_gives_one_signal(tmp_path_factory, data) -> None:
    folder = tmp_path_factory.mktemp("resume")
    path = folder / "tape"
    audio = pcm16(data.draw(st.integers(1_000, 6_000)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(audio)), min_size=1, max_size=6)))
    mark, known, reached = None, np.zeros((0, 1), np.float32), 0
    path.write_bytes(wav_head(0))
    for a, b in zip([0, *cuts], [*cuts, len(audio)], strict=True):
        append(path, audio[a:b])
        with path.open("r+b") as file:  # the recorder rewrites its sizes
            file.write(wav_head(b))
        chunks = chunks_of(resume(path, folder, mark, reached).items(Steps()))
        if not chunks:
            continue
        [(start, samples)] = runs(chunks)
        assert start <= reached
        np.testing.assert_array_equal(samples[: reached - start], known[start:])
        known = np.concatenate([known[:start], samples])
        reached = len(known)
        mark = data.draw(st.sampled_from(chunks)).mark
    np.testing.assert_array_equal(known, decoded(audio))


def test_a_chunk_that_was_not_taken_to_its_end_comes_again(tmp_path) -> None:
    path = tmp_path / "tape"
    path.write_bytes(pcm16(5_000))
    source = resume(path, tmp_path, raw=S16)
    items = source.items(threading.Event())
    taken = [next(items) for _ in range(4)]
    assert taken[-1].first_sample == 1_600
    items.close()
    [(first, _)] = runs(source.items(Steps()))
    assert first == 1_600


def test_a_mark_says_where_its_chunk_stands(tmp_path) -> None:
    path = tmp_path / "tape"
    path.write_bytes(pcm16(5_000))
    items = chunks_of(resume(path, tmp_path, raw=S16).items(Steps()))
    mark = Mark.model_validate(items[2].mark)
    assert (mark.offset, mark.index) == (3_200, 1_600)
    assert (mark.head_bytes, mark.inode, mark.path) == (4_096, path.stat().st_ino, str(path))


@pytest.mark.parametrize("container", ["raw", "wav"])
def test_a_file_replaced_meanwhile_is_read_from_its_start_after_a_gap(tmp_path, container) -> None:
    path = tmp_path / "tape"
    raw = S16 if container == "raw" else None
    head = b"" if raw else wav_head(0)
    path.write_bytes(head + pcm16(1_000))
    before = chunks_of(resume(path, tmp_path, raw=raw).items(Steps()))
    path.rename(tmp_path / "old")
    new = pcm16(1_200, seed=2)
    path.write_bytes(head + new)
    items = list(resume(path, tmp_path, before[0].mark, 1_000, raw=raw).items(Steps()))
    assert states(items) == ["gap", "running"]
    assert items[0] == StreamStatus(
        "tape", "gap", f"{path} was replaced by another file since it was left; beginning at its start"
    )
    [(first, samples)] = runs(items)
    assert first == 1_001, "the index goes on behind what was heard, not behind the mark"
    np.testing.assert_array_equal(samples, decoded(new))


@pytest.mark.parametrize(("count", "reason"), [(1_200, "rewritten"), (700, "truncated")])
def test_a_file_rewritten_under_the_same_inode_is_noticed(tmp_path, count, reason) -> None:
    path = tmp_path / "tape"
    path.write_bytes(pcm16(1_000))
    before = chunks_of(resume(path, tmp_path, raw=S16).items(Steps()))
    path.write_bytes(pcm16(count, seed=2))
    items = list(resume(path, tmp_path, before[-1].mark, 1_000, raw=S16).items(Steps()))
    assert f"was {reason} since" in items[0].reason
    assert [(first, len(samples)) for first, samples in runs(items)] == [(1_001, count)]


def test_a_file_cut_short_behind_the_mark_is_noticed(tmp_path) -> None:
    path = tmp_path / "tape"
    path.write_bytes(pcm16(9_000))
    before = chunks_of(resume(path, tmp_path, raw=S16).items(Steps()))
    path.write_bytes(pcm16(9_000)[:16_000])
    items = list(resume(path, tmp_path, before[5].mark, 9_000, raw=S16).items(Steps()))
    assert "was truncated since" in items[0].reason
    assert [(first, len(samples)) for first, samples in runs(items)] == [(9_001, 8_000)]


def test_another_device_number_alone_is_no_other_file(tmp_path) -> None:
    path = tmp_path / "tape"
    path.write_bytes(pcm16(4_000))
    mark = dict(chunks_of(resume(path, tmp_path, raw=S16).items(Steps()))[1].mark)
    mark["device"] += 1
    assert [first for first, _ in runs(resume(path, tmp_path, mark, 900, raw=S16).items(Steps()))] == [800]
    mark["head_bytes"] = 100
    assert [first for first, _ in runs(resume(path, tmp_path, mark, 900, raw=S16).items(Steps()))] == [901]


def test_a_place_inside_a_sample_of_the_format_declared_now_is_not_trusted(tmp_path) -> None:
    path = tmp_path / "tape"
    path.write_bytes(pcm16(4_001))
    mark = chunks_of(resume(path, tmp_path, raw=S16, chunk_s=0.010125).items(Steps()))[1].mark
    assert mark["offset"] % 4
    items = list(resume(path, tmp_path, mark, raw=(8_000, 2, "pcm_s16le")).items(Steps()))
    assert states(items) == ["gap", "running"]


@pytest.mark.parametrize("mark", [{}, {"version": 1}, {"version": 2, "path": "x"}, {"offset": "1"}])
def test_a_mark_that_cannot_be_understood_is_named_and_passed_over(tmp_path, caplog, mark) -> None:
    path = tmp_path / "tape"
    path.write_bytes(pcm16(10))
    with caplog.at_level(logging.WARNING):
        assert [first for first, _ in runs(resume(path, tmp_path, mark, 50, raw=S16).items(Steps()))] == [51]
    [record] = caplog.records
    assert record.getMessage().startswith("the mark cannot be understood (")


def test_the_file_of_an_earlier_release_is_honoured_until_there_is_a_mark(tmp_path) -> None:
    path = tmp_path / "tape"
    path.write_bytes(pcm16(4_000))
    chunks = chunks_of(resume(path, tmp_path, raw=S16).items(Steps()))
    kept = tmp_path / earlier_file("tape")
    assert kept.name == "filetail-tape.json"
    kept.write_text(json.dumps(chunks[2].mark), encoding="utf-8")
    assert [first for first, _ in runs(resume(path, tmp_path, raw=S16).items(Steps()))] == [1_600]
    assert kept.exists(), "the daemon may be killed before its first checkpoint"
    later = resume(path, tmp_path, chunks[3].mark, raw=S16)
    assert [first for first, _ in runs(later.items(Steps()))] == [2_400]
    assert not kept.exists()


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"{" * 100_000])
def test_a_corrupt_file_of_an_earlier_release_is_passed_over(tmp_path, caplog, text) -> None:
    path = tmp_path / "tape"
    path.write_bytes(pcm16(10))
    (tmp_path / earlier_file("tape")).write_bytes(text)
    with caplog.at_level(logging.WARNING):
        assert [first for first, _ in runs(resume(path, tmp_path, raw=S16).items(Steps()))] == [0]
    assert "filetail-tape.json cannot be understood" in caplog.text


def test_a_file_of_an_earlier_release_that_cannot_be_read_can_be_retried(tmp_path) -> None:
    path = tmp_path / "tape"
    path.write_bytes(pcm16(10))
    kept = tmp_path / earlier_file("tape")
    kept.mkdir()
    source = resume(path, tmp_path, raw=S16)
    with pytest.raises(
        RetryableSourceError,
        match=r"filetail-tape\.json: cannot be read or removed: Is a directory; see to the folder",
    ):
        list(source.items(Steps()))
    kept.rmdir()
    assert [len(samples) for _, samples in runs(source.items(Steps()))] == [10]


def test_without_resume_there_are_no_marks_and_nothing_is_written(tmp_path) -> None:
    path, state = tmp_path / "tape", tmp_path / "state"
    path.write_bytes(pcm16(100))
    source = tail(path, state, raw=S16)
    assert source.resumes is False
    assert [chunk.mark for chunk in chunks_of(source.items(Steps()))] == [None]
    assert resume(path, state, raw=S16).resumes is True
    assert not state.exists()


def test_any_stream_name_makes_one_file_name() -> None:
    assert "/" not in earlier_file("../über/radio 1")


def test_a_taken_chunk_does_not_come_again_in_the_same_life(tmp_path) -> None:
    path = tmp_path / "tape"
    path.write_bytes(pcm16(5_000))
    source = resume(path, tmp_path, raw=S16)
    assert [len(samples) for _, samples in runs(take(source, 2))] == [1_600]
    [(first, _)] = runs(source.items(Steps()))
    assert first == 1_600
