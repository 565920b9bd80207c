"""FFmpeg's own audio filters over whole mono signals, through PyAV."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.audio import Resampler
from streamcls.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import av

    from streamcls.types import FloatArray

__all__ = ["check_signal", "fit_length", "frames_of", "generate", "resample", "run_filters"]

_BLOCK: Final = 1 << 16
"""Samples of one frame: large, so that Python's share of the work is small."""


def check_signal(signal: FloatArray, sample_rate: int) -> None:
    """Refuse what no stage can work on.

    Raises
    ------
    ValueError
        The signal is not one-dimensional, is empty or has values that are not finite, or the rate is not positive.
    """
    if signal.ndim != 1:
        raise ValueError(f"signal: has shape {signal.shape}; expected mono samples of shape (n,)")
    if not signal.size:
        raise ValueError("signal: is empty; expected at least one sample")
    bad = np.flatnonzero(~np.isfinite(signal))
    if bad.size:
        raise ValueError(f"signal: {bad.size} samples are not finite, the first is number {bad[0]}; repair or drop it")
    if sample_rate <= 0:
        raise ValueError(f"sample_rate: is {sample_rate}; expected a positive number of hertz")


def fit_length(signal: FloatArray, length: int) -> FloatArray:
    """Cut a signal, or lengthen it with silence, to ``length`` samples."""
    return np.asarray(np.pad(signal[:length], (0, max(0, length - len(signal)))), np.float32)


def resample(signal: FloatArray, source_rate: int, target_rate: int) -> FloatArray:
    """Convert a whole signal, shape (n,), to another rate; sample 0 stays sample 0."""
    resampler = Resampler(source_rate, target_rate)
    return np.concatenate([resampler.push(signal), resampler.flush()])


def frames_of(signal: FloatArray, sample_rate: int, sample_format: str = "flt") -> Iterator[av.AudioFrame]:
    """Yield a mono signal as large frames of ``flt`` or ``fltp`` samples, which are the same for one channel."""
    import av

    for start in range(0, len(signal), _BLOCK):
        block = np.ascontiguousarray(signal[None, start : start + _BLOCK], np.float32)
        frame = av.AudioFrame.from_ndarray(block, format=sample_format, layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = sample_rate, start, Fraction(1, sample_rate)
        yield frame


def run_filters(signal: FloatArray, sample_rate: int, *filters: tuple[str, dict[str, Any]]) -> FloatArray:
    """Send a signal through a line of filters.

    Parameters
    ----------
    signal
        Shape (n,), float32.
    sample_rate
        In hertz.
    filters
        FFmpeg's name of each filter, and its options.

    Returns
    -------
    All that comes out, shape (m,): what a filter delays or adds at the end is not cut.

    Raises
    ------
    TrainingError
        FFmpeg as PyAV has it lacks a filter, or the filter refuses its options or the signal.
    """
    import av

    names = ", ".join(name for name, _ in filters)
    try:
        graph = av.filter.Graph()
        source = graph.add_abuffer(
            sample_rate=sample_rate, format="flt", layout="mono", time_base=Fraction(1, sample_rate)
        )
        _link(graph, source, filters)
        blocks: list[FloatArray] = []
        for frame in frames_of(signal, sample_rate):
            graph.push(frame)
            blocks.extend(_pull(graph))
        graph.push(None)
        blocks.extend(_pull(graph))
    except (av.FFmpegError, ValueError) as error:
        raise _refused(names, error) from error
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def generate(source: str, options: dict[str, Any], length: int) -> FloatArray:
    """Take the first ``length`` samples of a filter that makes sound (FFmpeg: a source), shape (length,)."""
    import av

    blocks: list[FloatArray] = []
    made = 0
    try:
        graph = av.filter.Graph()
        _link(graph, graph.add(source, **_texts(options)), ())
        while made < length:
            blocks.append(_samples(graph.pull()))
            made += len(blocks[-1])
    except (av.FFmpegError, ValueError) as error:
        raise _refused(source, error) from error
    return np.concatenate(blocks)[:length]


def _link(graph: Any, source: Any, filters: tuple[tuple[str, dict[str, Any]], ...]) -> None:
    """Link a source, the filters and a sink that gives packed floats."""
    nodes = [source, *(graph.add(name, **_texts(options)) for name, options in filters)]
    nodes += [graph.add("aformat", sample_fmts="flt", channel_layouts="mono"), graph.add("abuffersink")]
    for left, right in pairwise(nodes):
        left.link_to(right)
    graph.configure()


def _pull(graph: Any) -> Iterator[FloatArray]:
    """Yield what the sink holds."""
    import av

    while True:
        try:
            frame = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        yield _samples(frame)


def _samples(frame: Any) -> FloatArray:
    return np.asarray(frame.to_ndarray(), np.float32).reshape(-1)


def _texts(options: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in options.items()}


def _refused(names: str, error: Exception) -> TrainingError:
    import av

    return TrainingError(
        f"FFmpeg's filters ({names}), as PyAV {av.__version__} has them, failed: {error}; "
        "install PyAV from its own wheels (pip install --only-binary av av), which contain them"
    )
