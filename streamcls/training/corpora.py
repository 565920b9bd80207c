"""Readers of labelled audio: folders of ``label/file``, and CSV manifests."""

from __future__ import annotations

import csv
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from streamcls.errors import TrainingError
from streamcls.training.precomputed import PrecomputedRows
from streamcls.training.recipe_tables import CorpusTable
from streamcls.training.splits import SPLITS, check_no_leak, split_of_group

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streamcls.training.recipe import Recipe
    from streamcls.training.splits import Split

__all__ = [
    "AUDIO_SUFFIXES",
    "FOLDER",
    "Clip",
    "expand_variables",
    "read_corpora",
    "read_corpus",
    "read_plain",
    "resolve_path",
]

AUDIO_SUFFIXES: Final = frozenset(
    {".aac", ".aif", ".aiff", ".au", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav", ".wma"}
)
FOLDER: Final = "folder"
"""Name of the corpus of a folder without a recipe: it is part of the groups, so that the same folder is always divided alike."""
_COLUMNS: Final = ("path", "label")
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class Clip:
    """One labelled file.

    Attributes
    ----------
    corpus
        Name of its corpus.
    labels
        The recipe's labels that apply; empty for a negative example.
    unknown
        Labels of which nobody knows whether they apply.
    found
        The label as the corpus has it.
    group
        The recording, artist or speaker; its clips stay in one split.
    seconds
        Its length as the manifest states it; 0 where it does not.
    active_within_db, short, share, renditions
        As in :class:`~streamcls.training.recipe.CorpusTable`.
    row
        Of precomputed features, the row in the file; None for audio.
    """

    path: Path
    corpus: str
    labels: tuple[str, ...]
    unknown: tuple[str, ...]
    found: str
    group: str
    split: Split
    seconds: float = 0.0
    active_within_db: float | None = None
    short: str = "repeat"
    share: float = 1.0
    renditions: int | None = None
    row: int | None = None

    @property
    def key(self) -> str:
        """What identifies it: its file, or its row in one."""
        return str(self.path) if self.row is None else f"{self.path}#{self.row}"


@dataclass(frozen=True, slots=True)
class _Row:
    path: Path
    label: str
    split: str
    group: str
    seconds: float = 0.0
    row: int | None = None


def expand_variables(text: str, what: str, option: str) -> str:
    """Put the environment's values in the place of each ``${NAME}``; ``what`` and ``option`` say where, in the error."""
    for variable in _VARIABLE.findall(text):
        if variable not in os.environ:
            raise TrainingError(
                f"{what}: its path {text!r} needs the environment variable {variable}, which is not set; "
                f"set it, or give --data {option}=PATH"
            )
    return _VARIABLE.sub(lambda match: os.environ[match[1]], text)


def resolve_path(table: CorpusTable, overrides: Mapping[str, Path]) -> Path:
    """Find where a corpus lies: as the user says, else as the recipe says with its environment variables filled in.

    A folder given for a corpus that the recipe reads from a manifest means the manifest of that name inside it.

    Raises
    ------
    TrainingError
        The variable is not set, or nothing is there; the message names the corpus and what to give.
    """
    if table.name in overrides:
        path = overrides[table.name]
        if table.layout != "folder" and path.is_dir():
            path = path / Path(table.path).name
    else:
        path = Path(expand_variables(table.path, f"corpus {table.name!r}", table.name))
    if not path.exists():
        raise TrainingError(
            f"corpus {table.name!r}: {path} does not exist; give its place with --data {table.name}=PATH"
        )
    return path


def read_corpora(recipe: Recipe, overrides: Mapping[str, Path]) -> list[Clip]:
    """Read all corpora of a recipe and make sure that no group lies in two splits.

    Raises
    ------
    TrainingError
        A corpus cannot be read or has nothing for this recipe, an override names no corpus, or a group leaks.
    """
    distillation = recipe.distillation
    models = {
        "teacher": distillation.teacher, "classes": distillation.classes, "distillation.ensemble": distillation.ensemble,
        "network.start": recipe.network.start,
    }  # fmt: skip
    known = {table.name for table in recipe.corpus} | {name for name, place in models.items() if place}
    for name in overrides:
        if name not in known:
            raise TrainingError(
                f"--data {name}=…: the recipe has no corpus {name!r}, it has {', '.join(sorted(known))}"
            )
    clips = [clip for table in recipe.corpus for clip in read_corpus(table, tuple(recipe.labels), overrides)]
    check_no_leak(clips)
    return clips


def read_corpus(table: CorpusTable, labels: tuple[str, ...], overrides: Mapping[str, Path]) -> list[Clip]:
    """Read one corpus, in the order of its paths."""
    path = resolve_path(table, overrides)
    rows = _READERS[table.layout](path, table)
    clips = []
    for row in rows:
        targets = _targets(row.label, table, labels)
        if targets is None:
            continue
        group = row.group or _group(row.path, table)
        clips.append(
            Clip(
                path=row.path,
                corpus=table.name,
                labels=tuple(target for target in targets if not target.startswith("?")),
                unknown=tuple(target[1:] for target in targets if target.startswith("?")),
                found=row.label,
                group=group,
                split=_split(row, group, table),
                seconds=row.seconds,
                active_within_db=table.active_within_db,
                short=table.short,
                share=table.share,
                renditions=table.renditions,
                row=row.row,
            )
        )
    if not clips:
        wanted = ", ".join(table.labels or labels)
        raise TrainingError(f"corpus {table.name!r}: {path} has no clip with one of the labels {wanted}")
    return sorted(clips, key=lambda clip: clip.key)


def read_plain(path: Path, labels: tuple[str, ...]) -> list[Clip]:
    """Read a folder of ``label/file`` folders or a CSV manifest whose labels are the model's; others are skipped.

    A manifest's column ``split`` is honoured where it has one; otherwise splits are drawn by the recording's hash: those of a folder
    as ``train --folder`` draws them.

    Raises
    ------
    TrainingError
        It is neither, or has no clip with one of the labels.
    """
    name = re.sub(r"[^a-z0-9._-]+", "-", path.resolve().stem.lower()).strip("-._") or "data"
    if not path.is_file():
        table = CorpusTable(name=FOLDER, path=str(path), layout="folder")
        return [replace(clip, corpus=name) for clip in read_corpus(table, labels, {FOLDER: path})]
    try:
        with path.open(encoding="utf-8", newline="") as file:
            columns = next(csv.reader(file), [])
    except (UnicodeDecodeError, csv.Error):
        columns = None
    if columns is None or path.suffix.lower() in AUDIO_SUFFIXES:
        raise TrainingError(
            f"{path} is neither a folder nor a CSV manifest: audio files go into a folder of label/file folders"
        )
    table = CorpusTable(name=name, path=str(path), split="given" if "split" in columns else "hash")
    return read_corpus(table, labels, {name: path})


def _targets(found: str, table: CorpusTable, labels: tuple[str, ...]) -> tuple[str, ...] | None:
    if table.labels:
        targets = table.labels.get(found, table.labels.get("*"))
        if targets is None or "?*" not in targets:
            return targets
        named = tuple(target for target in targets if target != "?*")
        known = {target.removeprefix("?") for target in named}
        return named + tuple(f"?{label}" for label in labels if label not in known)
    return (found,) if found in labels else None


def _group(path: Path, table: CorpusTable) -> str:
    if table.group_pattern:
        match = re.search(table.group_pattern, path.as_posix())
        if match:
            return match[1] if match.lastindex else match[0]
    return f"{table.name}:{path.parent.name}/{path.stem}"


def _split(row: _Row, group: str, table: CorpusTable) -> Split:
    if table.split == "hash":
        return split_of_group(group)
    for split in SPLITS:
        if row.split == split:
            return split
    raise TrainingError(
        f"corpus {table.name!r}: {row.path} has the split {row.split!r}, expected {', '.join(SPLITS)} or excluded; "
        f'or let it be drawn with split = "hash"'
    )


def _manifest_rows(path: Path, table: CorpusTable) -> Iterator[_Row]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise TrainingError(f"corpus {table.name!r}: {path} lacks the column {', '.join(missing)}")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(f"corpus {table.name!r}: {path} cannot be read: {error}") from error
    for number, row in enumerate(rows, 2):
        if (
            (table.sets and row.get("set") not in table.sets)
            or row.get("split") == "excluded"
            or row.get("duplicate_of")
        ):
            continue
        if row["path"] in table.skip:
            continue
        try:
            seconds = float(row.get("seconds") or 0.0)
        except ValueError as error:
            raise TrainingError(
                f"corpus {table.name!r}: {path}:{number}: seconds is {row['seconds']!r}, expected a number"
            ) from error
        yield _Row(path.parent / row["path"], row["label"], row.get("split") or "", row.get("group") or "", seconds)


def _folder_rows(path: Path, table: CorpusTable) -> Iterator[_Row]:
    if not path.is_dir():
        raise TrainingError(
            f"corpus {table.name!r}: {path} is no folder; expected one folder per label with audio files in it"
        )
    for folder in sorted(path.iterdir()):
        if folder.is_dir():
            for file in sorted(folder.rglob("*")):
                if file.suffix.lower() in AUDIO_SUFFIXES:
                    yield _Row(file, folder.name, "", "")


def _precomputed_rows(path: Path, table: CorpusTable) -> Iterator[_Row]:
    rows = PrecomputedRows(path)
    for number, (label, clip, split) in enumerate(zip(rows.labels, rows.clips, rows.splits, strict=True)):
        if split != "excluded" and clip not in table.skip:
            yield _Row(path, label, split, clip, row=number)


_READERS: Final = {"manifest": _manifest_rows, "folder": _folder_rows, "precomputed": _precomputed_rows}
