"""The source ``demo``: the programme, its loop and its clock."""

from __future__ import annotations

import threading
import tomllib
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydantic import ValidationError

from streamcls import Chunk, EndOfStream, SourceContext
from streamcls_demo import DemoSource

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from streamcls.types import StreamItem


class Clock(threading.Event):
    """The clock of the source and the event that it waits on: time passes only while it waits."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout
        self.now += timeout
        return self.is_set()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("streamcls_demo.source.time", made)
    return made


def _source(folder: Path, **options: object) -> DemoSource:
    return DemoSource(DemoSource.Config.model_validate(options), SourceContext("radio", folder))


def _chunks(items: Iterable[StreamItem]) -> list[Chunk]:
    return [item for item in items if isinstance(item, Chunk)]


@pytest.fixture(scope="module")
def programme(tmp_path_factory: pytest.TempPathFactory) -> list[StreamItem]:
    """All of it, once."""
    return list(_source(tmp_path_factory.mktemp("state"), speed=0, loop=False).items(threading.Event()))


@pytest.fixture(scope="module")
def about() -> dict:
    return tomllib.loads(files("streamcls_demo").joinpath("programme.toml").read_text(encoding="utf-8"))


def test_the_programme_is_as_long_as_it_says_and_then_ends(programme: list[StreamItem], about: dict) -> None:
    assert programme[-1] == EndOfStream("radio")
    chunks = _chunks(iter(programme))
    assert len(chunks) == len(programme) - 1
    assert chunks[-1].end_sample / chunks[-1].sample_rate == pytest.approx(about["duration_s"], abs=0.05)


def test_its_chunks_are_short_and_without_a_hole(programme: list[StreamItem]) -> None:
    chunks = _chunks(iter(programme))
    assert chunks[0].first_sample == 0
    assert [c.end_sample for c in chunks[:-1]] == [c.first_sample for c in chunks[1:]]
    assert max(len(c.samples) for c in chunks) <= chunks[0].sample_rate // 10


def test_music_is_heard_where_the_programme_says_so_and_silence_where_it_says_that(
    programme: list[StreamItem], about: dict
) -> None:
    chunks = _chunks(iter(programme))
    rate = chunks[0].sample_rate
    audio = np.concatenate([c.samples for c in chunks])
    assert {cue["what"] for cue in about["cue"]} == {"speech", "music", "silence", "siren"}
    for cue in about["cue"]:
        part = audio[round((cue["start_s"] + 0.4) * rate) : round((cue["end_s"] - 0.4) * rate)]
        level = 10 * np.log10(np.mean(np.square(part)) + 1e-12)
        assert (level < -70) == (cue["what"] == "silence"), f"{cue['text']}: {level:.0f} dBFS"


def test_it_is_small_enough_to_ship() -> None:
    assert len(files("streamcls_demo").joinpath("programme.opus").read_bytes()) < 1_000_000


def test_a_loop_goes_on_at_the_next_index_with_the_same_sound(tmp_path: Path, programme: list[StreamItem]) -> None:
    length = _chunks(iter(programme))[-1].end_sample
    stop = threading.Event()
    second: list[Chunk] = []
    last = 0
    for item in _source(tmp_path, speed=0).items(stop):
        assert isinstance(item, Chunk), "a loop has no end"
        assert item.first_sample == last
        last = item.end_sample
        if item.first_sample >= length:
            second.append(item)
        if len(second) == 20:
            stop.set()
    again = np.concatenate([c.samples for c in second])
    first = np.concatenate([c.samples for c in _chunks(iter(programme))])[: len(again)]
    assert np.array_equal(again, first)


@pytest.mark.parametrize("speed", [1.0, 10.0, 0.5])
def test_each_chunk_comes_when_its_last_sample_would_have_been_heard(
    tmp_path: Path, clock: Clock, speed: float
) -> None:
    items = _source(tmp_path, speed=speed).items(clock)
    for _ in range(100):
        chunk = next(items)
        assert clock.now - 1_000.0 == pytest.approx(chunk.end_sample / chunk.sample_rate / speed)


def test_in_real_time_its_wall_clock_is_that_of_the_first_sample(tmp_path: Path, clock: Clock) -> None:
    items = _source(tmp_path).items(clock)
    for _ in range(100):
        chunk = next(items)
        assert chunk.captured_at == pytest.approx(1_000.0 + chunk.first_sample / chunk.sample_rate, abs=1e-6, rel=0)


def test_the_clock_goes_on_over_the_loop(tmp_path: Path, clock: Clock, programme: list[StreamItem]) -> None:
    last = _chunks(iter(programme))[-1]
    for item in _source(tmp_path).items(clock):
        assert isinstance(item, Chunk)
        if item.end_sample > last.end_sample + last.sample_rate:
            break
    assert clock.now - 1_000.0 == pytest.approx(item.end_sample / item.sample_rate)


def test_stopped_while_it_waits_it_delivers_nothing_more(tmp_path: Path, clock: Clock) -> None:
    items = _source(tmp_path).items(clock)
    next(items)
    clock.set()
    assert list(items) == []


def test_as_fast_as_possible_it_never_waits_and_is_blocked_instead_of_dropped(tmp_path: Path, clock: Clock) -> None:
    source = _source(tmp_path, speed=0, loop=False)
    assert {chunk.captured_at for chunk in _chunks(source.items(clock))} == {None}
    assert clock.now == 1_000.0
    assert source.live is False
    assert _source(tmp_path).live is True


def test_opened_again_it_goes_on_after_what_was_delivered(tmp_path: Path) -> None:
    source = _source(tmp_path, speed=0, loop=False)
    items = source.items(threading.Event())
    delivered = [next(items) for _ in range(5)]
    items.close()  # what was not asked beyond counts as not delivered
    following = next(source.items(threading.Event()))
    assert following.first_sample == delivered[3].end_sample


@pytest.mark.parametrize("options", [{"speed": -1}, {"speed": 2_000}, {"volume": 3}])
def test_what_it_cannot_do_is_refused(options: dict) -> None:
    with pytest.raises(ValidationError):
        DemoSource.Config.model_validate(options)
