"""A test programme on disk: audio, truth, bed, and where all of it comes from."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls import __version__
from streamcls.audio.decode import decode_file
from streamcls.errors import TrainingError
from streamcls.training.features import file_hash
from streamcls.training.programme.material import SignalCache, gather
from streamcls.training.programme.plan import SAMPLE_RATE, plan_programme
from streamcls.training.programme.render import PEAK_LIMIT, REFERENCE_FLOOR_DBFS, SOFTEST_GAIN_DB, Piece, Writer, render
from streamcls.training.programme.sources import material_of, sources_of
from streamcls.types import Chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from streamcls.training.corpora import Clip
    from streamcls.training.programme.plan import Plan, PlannedEvent, ProgrammeOptions
    from streamcls.training.recipe import Recipe
    from streamcls.types import FloatArray

__all__ = ["BedSegment", "Programme", "TrueEvent", "make_programme", "read_programme"]

_FORMAT: Final = 1
_TRUTH: Final = ("onset_s", "end_s", "label", "clip", "group", "snr_db")
_BED: Final = ("start_s", "end_s", "kind", "label", "clip")
_LIBRARIES: Final = ("numpy", "soxr", "av", "soundfile")


@dataclass(frozen=True, slots=True)
class TrueEvent:
    """One event of the truth: when it is audible, what it is, from which clip and recording, how loud above the bed."""

    onset_s: float
    end_s: float
    label: str
    clip: str
    group: str
    snr_db: float


@dataclass(frozen=True, slots=True)
class BedSegment:
    """One segment of the bed: ``kind`` is music, speech, speech_over_music, noise or silence; ``label`` e.g. a genre."""

    start_s: float
    end_s: float
    kind: str
    label: str
    clip: str


@dataclass(frozen=True, slots=True)
class Programme:
    """A programme that lies on disk."""

    folder: Path
    facts: dict[str, Any]
    truth: list[TrueEvent] = field(default_factory=list)
    bed: list[BedSegment] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Its length."""
        return sum(int(entry["samples"]) for entry in self.facts["audio"]) / self.sample_rate

    @property
    def sample_rate(self) -> int:
        """Of its audio, in hertz."""
        return int(self.facts["sample_rate"])

    def chunks(self, stream: str) -> Iterator[Chunk]:
        """Yield its audio as one contiguous stream, in chunks of about a second: events do not depend on it, speed does.

        Raises
        ------
        AudioError
            A file is missing or damaged.
        """
        waiting: list[FloatArray] = []
        first = count = 0
        for entry in self.facts["audio"]:
            for chunk in decode_file(self.folder / entry["file"], stream):
                waiting.append(chunk.samples)
                count += len(chunk.samples)
                if count >= self.sample_rate:
                    yield Chunk(stream, np.concatenate(waiting), self.sample_rate, first)
                    first, count, waiting = first + count, 0, []
        if waiting:
            yield Chunk(stream, np.concatenate(waiting), self.sample_rate, first)


def make_programme(
    recipe: Recipe, clips: Iterable[Clip], options: ProgrammeOptions, folder: Path, progress: Callable[[int], None] | None = None
) -> Programme:  # fmt: skip
    """Plan and render a programme into a folder, which must be empty or new.

    Parameters
    ----------
    progress
        Told the number of samples of each stretch as it is written.

    Raises
    ------
    TrainingError
        The folder is not empty, the material lacks what is asked for, or the events do not fit.
    AudioError
        A clip cannot be decoded.
    """
    if folder.exists() and any(folder.iterdir()):
        raise TrainingError(f"{folder} is not empty; name a new folder for the programme")
    cache = SignalCache(SAMPLE_RATE)
    plan = plan_programme(gather(clips, recipe, options.split), options, cache)
    folder.mkdir(parents=True, exist_ok=True)
    writer = Writer(folder)
    chains: list[dict[str, Any]] = []
    try:
        for number, piece in enumerate(render(plan, cache)):
            writer.write(piece.samples)
            chains.append(_stretch(plan, number, piece))
            if progress is not None:
                progress(len(piece.samples))
    finally:
        writer.close()
    _write_csv(folder / "truth.csv", _TRUTH, (_truth_row(event) for event in plan.events))
    _write_csv(folder / "bed.csv", _BED, ((_s(b.start), _s(b.end), b.kind, b.label, b.clip) for b in plan.segments))
    facts = {
        "format": _FORMAT,
        "recipe": {"name": recipe.name, "version": recipe.version, "labels": list(recipe.labels)},
        "options": asdict(options),
        "sample_rate": SAMPLE_RATE,
        "reference_floor_dbfs": REFERENCE_FLOOR_DBFS,
        "peak_limit": PEAK_LIMIT,
        "softest_gain_db": SOFTEST_GAIN_DB,
        "versions": {"streamcls": __version__, **{name: version(name) for name in _LIBRARIES}},
        "audio": [
            {"file": name, "samples": length, "sha256": file_hash(folder / name)}
            for name, length in zip(writer.names, writer.lengths, strict=True)
        ],
        "material": material_of(plan),
        "stretches": chains,
        "sources": sources_of(plan),
    }
    (folder / "programme.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return read_programme(folder)


def read_programme(folder: Path) -> Programme:
    """Read what is known of a programme.

    Raises
    ------
    TrainingError
        The folder holds no programme, or one of another format.
    """
    try:
        facts = json.loads((folder / "programme.json").read_text("utf-8"))
        truth = [
            TrueEvent(float(r["onset_s"]), float(r["end_s"]), r["label"], r["clip"], r["group"], float(r["snr_db"]))
            for r in _rows(folder / "truth.csv")
        ]
        bed = [
            BedSegment(float(r["start_s"]), float(r["end_s"]), r["kind"], r["label"], r["clip"])
            for r in _rows(folder / "bed.csv")
        ]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise TrainingError(
            f"{folder} holds no programme: {type(error).__name__}: {error}; make one with streamcls programme"
        ) from error
    if facts.get("format") != _FORMAT:
        raise TrainingError(f"{folder}: programme.json has the format {facts.get('format')!r}, expected {_FORMAT}")
    return Programme(folder, facts, truth, bed)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _write_csv(path: Path, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def _s(sample: int) -> str:
    return f"{sample / SAMPLE_RATE:.3f}"


def _truth_row(event: PlannedEvent) -> tuple[Any, ...]:
    return (_s(event.onset), _s(event.end), event.label, str(event.clip.path), event.clip.group, f"{event.snr_db:.2f}")


def _stretch(plan: Plan, number: int, piece: Piece) -> dict[str, Any]:
    stretch = plan.stretches[number]
    return {
        "start_s": round(stretch.start / SAMPLE_RATE, 3),
        "end_s": round(min(stretch.end, plan.length) / SAMPLE_RATE, 3),
        "chain": piece.chain,
    }
