"""Tables of labels, as they come with models: a list, labels with taxonomy ids, or AudioSet's index, mid and display name."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from streamcls.errors import BundleError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LabelTable", "read_labels"]

_LABEL_COLUMNS: Final = ("label", "display_name", "name", "class", "class_name")
_ID_COLUMNS: Final = ("taxonomy_id", "taxonomy", "mid", "id")
_INDEX_COLUMNS: Final = ("index", "class_index")
_AUDIOSET_ID: Final = re.compile(r"/[gmt]/[0-9a-z_]+")


@dataclass(frozen=True, slots=True)
class LabelTable:
    """Labels in the order of a model's outputs, and taxonomy ids by label where the table has them."""

    labels: tuple[str, ...]
    taxonomy: dict[str, str]

    def text(self) -> str:
        """Return them as a bundle's ``labels.txt``."""
        return "".join(f"{label}\t{self.taxonomy.get(label, '')}".rstrip() + "\n" for label in self.labels)


def read_labels(path: Path, scheme: str = "") -> LabelTable:
    """Read a table of labels.

    It is CSV: one column without a header, or columns under a header, of which one is the label (``label``, ``display_name``, ``name``
    or ``class``), and others may be the taxonomy id (``taxonomy_id`` or ``mid``) and the ``index`` of the output.

    Parameters
    ----------
    scheme
        Put with a colon before every id that has none; empty: ``audioset`` before ids like ``/m/06by7``, nothing before others.

    Raises
    ------
    BundleError
        The file cannot be read, or is no such table; the message names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [
                (number, row) for number, row in enumerate(csv.reader(file, strict=True), 1) if any(map(str.strip, row))
            ]
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from error
    except (ValueError, csv.Error) as error:
        raise BundleError(f"{path}: it is no CSV in UTF-8: {error}") from error
    if not rows:
        raise BundleError(f"{path}: it has no labels")
    header = [cell.strip().lower() for cell in rows[0][1]]
    label_at = _column(header, _LABEL_COLUMNS)
    if label_at is None:
        if len(header) > 1:
            expected = ", ".join(_LABEL_COLUMNS)
            raise BundleError(
                f"{path}: line 1 has {len(header)} columns, of which none is headed {expected}; "
                'a list without a header has one column, in which a label with a comma stands in quotes: "a, b"'
            )
        return _table(path, [(number, row[0], "") for number, row in _whole(path, rows, 1)], scheme)
    id_at, index_at = _column(header, _ID_COLUMNS), _column(header, _INDEX_COLUMNS)
    found = list(_whole(path, rows[1:], len(header)))
    if index_at is not None:
        found = _ordered(path, found, index_at)
    return _table(
        path, [(number, row[label_at], row[id_at] if id_at is not None else "") for number, row in found], scheme
    )


def _column(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _whole(path: Path, rows: list[tuple[int, list[str]]], columns: int) -> list[tuple[int, list[str]]]:
    for number, row in rows:
        if len(row) != columns:
            raise BundleError(
                f"{path}: row {number} has {len(row)} columns, expected {columns}; a label with a comma stands in quotes"
            )
    return rows


def _ordered(path: Path, rows: list[tuple[int, list[str]]], index_at: int) -> list[tuple[int, list[str]]]:
    """Put rows in the order of their index, which has to count from 0 without a hole."""
    by_index: dict[int, tuple[int, list[str]]] = {}
    for number, row in rows:
        cell = row[index_at].strip()
        if not (cell.isascii() and cell.isdigit()):
            raise BundleError(f"{path}: row {number} has the index {cell!r}, expected a whole number from 0")
        if int(cell) in by_index:
            raise BundleError(f"{path}: row {number} repeats the index {cell}")
        by_index[int(cell)] = (number, row)
    missing = next((index for index in range(len(rows)) if index not in by_index), None)
    if missing is not None:
        raise BundleError(f"{path}: no row has the index {missing}, expected 0 to {len(rows) - 1}")
    return [by_index[index] for index in range(len(rows))]


def _table(path: Path, rows: list[tuple[int, str, str]], scheme: str) -> LabelTable:
    taxonomy: dict[str, str] = {}
    labels: dict[str, int] = {}
    for number, cell, identifier in rows:
        label = cell.strip()
        if not label or not label.isprintable():
            raise BundleError(f"{path}: row {number} has the label {label!r}, expected printable text")
        if label in labels:
            raise BundleError(f"{path}: row {number} repeats the label {label!r} of row {labels[label]}")
        labels[label] = number
        given = identifier.strip()
        if given and not given.isprintable():
            raise BundleError(f"{path}: row {number} has the taxonomy id {given!r}, expected printable text")
        prefix = scheme or ("audioset" if _AUDIOSET_ID.fullmatch(given) else "")
        if given:
            taxonomy[label] = f"{prefix}:{given}" if prefix and ":" not in given else given
    if not labels:
        raise BundleError(f"{path}: it has a header and no labels")
    return LabelTable(tuple(labels), taxonomy)
