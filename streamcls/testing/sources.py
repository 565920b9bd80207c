"""The contract of sources."""

from __future__ import annotations

import contextlib
import json
import threading
import unittest
from typing import TYPE_CHECKING, Any, ClassVar, Final, get_args

import numpy as np
from pydantic import TypeAdapter

from streamcls.config.schema import Name
from streamcls.errors import RetryableSourceError, SourceError
from streamcls.interfaces import Source, SourceContext
from streamcls.testing.component import ComponentContract, in_thread
from streamcls.types import Chunk, EndOfStream, StreamItem, StreamState, StreamStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["SourceContract", "deliver"]

_YEAR_2000: Final = 946_684_800
_YEAR_2100: Final = 4_102_444_800
_MARK_EVERY_S: Final = 0.5


def deliver(
    source: Source,
    enough: Callable[[Sequence[StreamItem]], bool],
    *,
    patience_s: float = 10.0,
    stop_within_s: float = 5.0,
) -> list[StreamItem]:
    """Run a source on a thread of its own, as the daemon does, and return what it delivered.

    Parameters
    ----------
    enough
        Told, after each item, everything delivered so far; the source is asked to stop once it returns True.
    patience_s
        And at the latest after so many seconds.
    stop_within_s
        How long the source may then take to come to its end.

    Raises
    ------
    AssertionError
        It did not stop in time.
    """
    stop = threading.Event()
    items: list[StreamItem] = []

    def run() -> list[StreamItem]:
        for item in source.items(stop):
            items.append(item)
            if enough(items):
                stop.set()
        return items

    patience = threading.Timer(patience_s, stop.set)
    patience.daemon = True
    patience.start()
    try:
        return in_thread(run, patience_s + stop_within_s, "delivering and then stopping")
    finally:
        patience.cancel()
        stop.set()


class SourceContract(ComponentContract):
    """Subclass it, set ``component``, and give ``options`` that make the source deliver audio.

    Attributes
    ----------
    chunks_wanted
        So many are looked at; the source has to deliver as many, or to end.
    patience_s
        How long it may take to deliver them, in seconds.
    stop_within_s
        How long it may take to end once it is asked to. The contract says half a second between two looks at ``stop``; the rest is
        for a busy machine.
    """

    chunks_wanted: ClassVar[int] = 10
    patience_s: ClassVar[float] = 10.0
    stop_within_s: ClassVar[float] = 5.0

    def failing(self) -> Sequence[Mapping[str, Any]]:
        """Return configurations that pass their check and yet can never work: each has to end in a ``SourceError``."""
        return ()

    def retrying(self) -> Sequence[Mapping[str, Any]]:
        """Return configurations that do not work yet, but may later: each has to end in a ``RetryableSourceError``."""
        return ()

    def source(
        self,
        options: Mapping[str, Any] | None = None,
        marks: Mapping[str, Mapping[str, Any]] | None = None,
        reached: Mapping[str, int] | None = None,
    ) -> Source:
        """Make a source, named ``stream``; with ``marks``, as the daemon makes it after a restart."""
        config = self.config() if options is None else self.component.Config.model_validate(dict(options))
        source: Source = self.component(config, SourceContext("stream", self.folder, marks or {}, reached or {}))
        return source

    def delivered(self, source: Source | None = None) -> list[StreamItem]:
        """Return what a source delivers until there are ``chunks_wanted`` chunks or it ends."""
        chunks = 0

        def enough(items: Sequence[StreamItem]) -> bool:
            nonlocal chunks
            chunks += isinstance(items[-1], Chunk)
            return chunks >= self.chunks_wanted

        return deliver(
            source or self.source(),
            enough,
            patience_s=self.patience_s,
            stop_within_s=self.stop_within_s,
        )

    def chunks(self) -> list[Chunk]:
        """Return the chunks among them, at least one."""
        chunks = [item for item in self.delivered() if isinstance(item, Chunk)]
        assert chunks, f"no chunk within {self.patience_s:g} s: options() has to describe a source that delivers audio"
        return chunks

    def test_it_has_the_members_of_a_source(self) -> None:
        """See :class:`streamcls.Source`."""
        source = self.source()
        assert isinstance(source, Source), "it lacks items or live"
        assert isinstance(source.live, bool), f"live is {source.live!r}, expected True or False"

    def test_it_delivers_stream_items(self) -> None:
        """Chunks, states and ends, and nothing else."""
        stream_name = TypeAdapter(Name)
        for item in self.delivered():
            assert isinstance(item, (Chunk, StreamStatus, EndOfStream)), f"it delivered {item!r}"
            stream_name.validate_python(item.stream)

    def test_its_samples_are_read_only_float32_per_sample_and_channel(self) -> None:
        """Shape (n, channels), n at least 1, finite. Read-only, since others hold them after you."""
        for chunk in self.chunks():
            samples = chunk.samples
            assert samples.dtype == np.float32, f"samples are {samples.dtype}, expected float32"
            assert samples.ndim == 2, f"samples have the shape {samples.shape}, expected (n, channels)"  # noqa: PLR2004
            assert samples.size > 0, "a chunk is empty"
            assert not samples.flags.writeable, "samples can be written: pass them through streamcls.types.read_only"
            assert np.isfinite(samples).all(), "a sample is not finite"

    def test_its_indices_are_whole_numbers_that_rise(self) -> None:
        """A hole is a gap; going back, or overlapping what was delivered, is a mistake. A stream that ended may begin anew."""
        end: dict[str, int] = {}
        for item in self.delivered():
            if isinstance(item, EndOfStream):
                end.pop(item.stream, None)
            if isinstance(item, Chunk):
                assert isinstance(item.first_sample, int), f"first_sample is {item.first_sample!r}, expected an int"
                last = end.get(item.stream, 0)
                assert item.first_sample >= last, f"first_sample is {item.first_sample} after {last} were delivered"
                end[item.stream] = item.end_sample

    def test_a_stream_keeps_its_format_until_it_ends(self) -> None:
        """One sample rate and one number of channels between two ends of a stream."""
        formats: dict[str, tuple[int, int]] = {}
        for item in self.delivered():
            if isinstance(item, EndOfStream):
                formats.pop(item.stream, None)
            if isinstance(item, Chunk):
                assert isinstance(item.sample_rate, int), (
                    f"sample_rate is {item.sample_rate!r}, expected an int, in hertz"
                )
                now = (item.sample_rate, item.samples.shape[1])
                before = formats.setdefault(item.stream, now)
                assert now == before, f"the format changed from {before} to {now} (hertz, channels) within a stream"

    def test_its_wall_clock_is_in_unix_seconds(self) -> None:
        """Not in milliseconds, and not of ``time.monotonic``; or it is None, for audio that has none."""
        for chunk in self.chunks():
            at = chunk.captured_at
            if at is not None:
                assert _YEAR_2000 <= at <= _YEAR_2100, f"captured_at is {at!r}, expected seconds since 1970, or None"

    def test_its_states_are_those_of_the_wire_format(self) -> None:
        """With metadata that JSON can hold. A source that has nothing to say delivers none."""
        for item in self.delivered():
            if isinstance(item, StreamStatus):
                assert item.state in get_args(StreamState), (
                    f"state is {item.state!r}, expected one of {get_args(StreamState)}"
                )
                assert isinstance(item.reason, str), f"reason is {item.reason!r}, expected a sentence"
                json.dumps(dict(item.metadata), allow_nan=False)

    def test_it_stops_at_once_where_it_was_asked_before_it_began(self) -> None:
        """It looks at ``stop`` also while there is nothing to deliver."""
        source, stop = self.source(), threading.Event()
        stop.set()
        in_thread(lambda: list(source.items(stop)), self.stop_within_s, "items() with stop already set")

    def test_it_can_be_abandoned_in_the_middle_and_opened_again(self) -> None:
        """The daemon closes the iterator, and after a ``RetryableSourceError`` calls ``items`` again on the same object."""
        source = self.source()

        def abandon() -> None:
            iterator: Any = source.items(threading.Event())
            next(iterator)
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

        in_thread(abandon, self.patience_s, "delivering one item and being closed")
        stop = threading.Event()
        stop.set()
        with contextlib.suppress(RetryableSourceError):  # what it had is not free again at once: the daemon tries later
            in_thread(lambda: list(source.items(stop)), self.stop_within_s, "being opened again with stop set")

    def test_it_delivers_the_same_again_from_any_mark(self) -> None:
        """Where ``resumes`` is true: made with a chunk's mark, after JSON, it begins with that chunk's first sample or before."""
        if getattr(self.source(), "resumes", False) is not True:
            raise unittest.SkipTest("resumes is not true: its streams begin anew when the daemon is started again")
        before = _signals(self.chunks())
        marked = 0
        for stream, (chunks, signal) in before.items():
            unmarked_s = 0.0
            for chunk in chunks:
                unmarked_s += len(chunk.samples) / chunk.sample_rate
                if chunk.mark is None:
                    assert unmarked_s <= _MARK_EVERY_S, f"{unmarked_s:g} s of audio bear no mark"
                    continue
                unmarked_s, marked = 0.0, marked + 1
                marks = {stream: json.loads(json.dumps(dict(chunk.mark), allow_nan=False))}
                again = self.source(marks=marks, reached={stream: chunks[-1].end_sample})
                delivered = [item for item in self.delivered(again) if isinstance(item, Chunk)]
                _, repeated = _signals(delivered).get(stream, ([], {}))
                where = f"from the mark of sample {chunk.first_sample}"
                assert repeated, f"{where} it delivered nothing"
                assert min(repeated) <= chunk.first_sample, f"{where} it began at {min(repeated)}"
                for index in sorted(signal.keys() & repeated.keys()):
                    assert signal[index] == repeated[index], f"{where} sample {index} is another one"
                missing = [i for i in signal if chunk.first_sample <= i <= max(repeated) and i not in repeated]
                assert not missing, f"{where} sample {missing[0]} did not come again"
        assert marked, "resumes is true, but no chunk bears a mark"

    def test_its_counters_are_numbers_by_name(self) -> None:
        """``counters``, where there are any, go into every heartbeat."""
        source = self.source()
        self.delivered(source)
        counters: Any = getattr(source, "counters", {})
        for name, value in dict(counters).items():
            assert isinstance(name, str), f"counters has the key {name!r}, expected a string"
            assert isinstance(value, (int, float)), f"counter {name} is {value!r}, expected a number"
        json.dumps(dict(counters), allow_nan=False)

    def test_what_can_never_work_ends_in_a_source_error(self) -> None:
        """A ``SourceError`` ends the source with its reason; any other exception is a fault, and is tried again and again."""
        self._fails(self.failing(), SourceError, "failing")

    def test_what_may_work_later_ends_in_a_retryable_source_error(self) -> None:
        """The daemon says so on the stream, waits, and opens the source again."""
        self._fails(self.retrying(), RetryableSourceError, "retrying")

    def _fails(self, cases: Sequence[Mapping[str, Any]], expected: type[SourceError], method: str) -> None:
        if not cases:
            raise unittest.SkipTest(f"{method}() names no configuration")
        for options in cases:
            source = self.source(options)
            try:
                self.delivered(source)
            except SourceError as error:
                kind = RetryableSourceError if isinstance(error, RetryableSourceError) else SourceError
                assert kind is expected, f"{options} gave a {kind.__name__}, expected a {expected.__name__}: {error}"
                assert str(error).strip(), f"{options}: the error has no message"
            else:
                raise AssertionError(f"{options} gave no error, expected {expected.__name__}")


def _signals(chunks: Sequence[Chunk]) -> dict[str, tuple[list[Chunk], dict[int, bytes]]]:
    """Return the chunks of each stream, and each of its samples by index."""
    found: dict[str, tuple[list[Chunk], dict[int, bytes]]] = {}
    for chunk in chunks:
        of_stream, signal = found.setdefault(chunk.stream, ([], {}))
        of_stream.append(chunk)
        signal.update((chunk.first_sample + n, row.tobytes()) for n, row in enumerate(chunk.samples))
    return found
