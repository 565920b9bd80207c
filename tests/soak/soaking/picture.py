"""The run as a picture: memory, files and threads, what was done, what was asked of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from soaking.slope import Slope

__all__ = ["draw"]

_INCHES: Final = (10.0, 11.0)
_KB_IN_MB: Final = 1_024
_DOTS: Final = 110


def draw(path: Path, rows: Sequence[Mapping[str, Any]], slope: Slope | None, half: float) -> None:
    """Draw all samples over minutes.

    Parameters
    ----------
    slope
        Of resident memory in kB/h over the samples from ``half`` (seconds) on.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(5, 1, figsize=_INCHES, sharex=True, constrained_layout=True)
    minutes = [row["t_s"] / 60 for row in rows]

    def line(axis: Any, name: str, label: str, factor: float = 1.0, **more: Any) -> None:
        pairs = [(at, row[name] * factor) for at, row in zip(minutes, rows, strict=True) if row.get(name) is not None]
        if pairs:
            axis.plot(*zip(*pairs, strict=True), label=label, linewidth=1.0, **more)

    memory, counts, done, load, journal = axes
    line(memory, "rss_kb", "resident", 1 / _KB_IN_MB)
    line(memory, "uss_kb", "of its own (USS)", 1 / _KB_IN_MB, linestyle=":")
    memory.set_ylabel("memory, MiB")
    memory.set_ylim(bottom=0)
    if slope is not None:
        memory.axvspan(half / 60, minutes[-1], alpha=0.08)
        said = f"second half: {slope.per_unit:+.0f} kB/h (95 %: {slope.low:+.0f} to {slope.high:+.0f})"
        memory.set_title(said, fontsize="medium")
    line(counts, "files", "open files")
    line(counts, "threads", "threads")
    line(counts, "streams", "streams")
    counts.set_ylabel("count")
    counts.set_ylim(bottom=0)
    for name, label in (("reconnects", "reconnects"), ("reloads", "reloads"), ("rotations", "journal rotations")):
        line(done, name, label)
    done.set_yscale("symlog")
    done.set_ylabel("so far")
    line(load, "audio_s", "hours of audio", 1 / 3600)
    line(load, "waiting_s", "longest wait, s")
    load.set_ylabel("audio")
    line(journal, "journal_bytes", "journal, MB", 1e-6)
    line(journal, "clip_bytes", "clips, MB", 1e-6)
    journal.set_ylabel("disk, MB")
    journal.set_xlabel("minutes")
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.legend(loc="best", fontsize="small")
    figure.savefig(path, dpi=_DOTS)
    plt.close(figure)
