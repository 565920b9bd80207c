"""What a teacher's classes say about a recipe's own labels."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from streamcls.types import FloatArray

__all__ = ["SoftLabels", "class_names"]

_NOTHING: Final = 1e-3
"""Score that every exclusive label has before it is weighed, so that none is ever ruled out."""


def class_names(path: Path) -> tuple[str, ...]:
    """Read the column ``display_name`` of a CSV file: a teacher's classes in the order of its outputs.

    Raises
    ------
    TrainingError
        The file cannot be read or lacks the column.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return tuple(row["display_name"] for row in csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(f"distillation.classes: {path} cannot be read: {error}") from error
    except KeyError as error:
        raise TrainingError(f"distillation.classes: {path} has no column 'display_name'") from error


class SoftLabels:
    """Gathers a teacher's posteriors under the recipe's labels and turns them into targets.

    With ``exclusive`` labels the scores are divided by a power of what is typical of each label, and normalised to sum to one;
    labels that the map does not name get nothing. Otherwise a label's score is its target as it is, and such labels stay unknown.

    Parameters
    ----------
    mapping
        The teacher's classes by label.
    typical
        The power, 0 to 1; see :class:`~streamcls.training.recipe_tables.DistillationTable`.

    Raises
    ------
    TrainingError
        The map names a class that the teacher does not have.
    """

    def __init__(
        self,
        mapping: Mapping[str, Sequence[str]],
        classes: Sequence[str],
        labels: Sequence[str],
        *,
        exclusive: bool,
        typical: float = 0.0,
    ) -> None:
        index = {name: i for i, name in enumerate(classes)}
        self._matrix = np.zeros((len(classes), len(labels)), np.float32)
        for column, label in enumerate(labels):
            for name in mapping.get(label, ()):
                if name not in index:
                    raise TrainingError(
                        f"distillation.map.{label} names {name!r}, which is no class of distillation.classes"
                    )
                self._matrix[index[name], column] = 1.0
        self.mapped: np.ndarray[Any, np.dtype[np.bool_]] = np.asarray(self._matrix.any(axis=0), np.bool_)
        """Which labels the map names, shape (n_labels,)."""
        self.n_classes = len(classes)
        self._exclusive = exclusive
        self._power = typical
        self._typical = np.ones(len(labels), np.float32)

    def scores(self, posteriors: FloatArray) -> FloatArray:
        """Sum the classes of each label: shape (..., n_classes) to (..., n_labels), each 0 to 1."""
        gathered: FloatArray = np.minimum(posteriors.astype(np.float32) @ self._matrix, np.float32(1.0))
        return gathered

    def learn_typical(self, means: FloatArray) -> None:
        """Take what is typical of each label from the mean scores of many recordings, shape (n, n_labels)."""
        if self._exclusive and len(means):
            self._typical = (means.mean(axis=0) + np.float32(_NOTHING)) ** np.float32(self._power)

    def targets(self, scores: FloatArray) -> FloatArray:
        """Turn scores, shape (n_labels,), into targets of the same shape."""
        if not self._exclusive:
            return scores
        weighed = self.mapped * (scores + np.float32(_NOTHING)) / self._typical
        shares: FloatArray = weighed / weighed.sum()
        return shares
