"""Intervals by drawing whole recordings with replacement, for every figure at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from streamcls.types import FloatArray

__all__ = ["RESAMPLES", "Array", "Resamples", "divided", "rounded"]

RESAMPLES: Final = 1_000
_PERCENTILES: Final = (2.5, 97.5)
_DIGITS: Final = 4
_LEAST_GROUPS: Final = 2
"""One recording alone has no spread."""

Array = np.ndarray[Any, Any]


def rounded(value: float) -> float | None:
    """Return a figure as it is written down, None where it is not a number."""
    return round(float(value), _DIGITS) if np.isfinite(value) else None


class Resamples:
    """Draws of recordings with replacement (Efron's bootstrap over clusters), as weights.

    Every figure here follows from sums over items. Those are added up per recording once; a draw is then a row of weights, and a
    thousand of them one product of matrices. Row 0 has each recording once: it gives the figure itself.

    Parameters
    ----------
    groups
        Shape (n,): the recording of each item; the items of one recording are drawn together.
    """

    def __init__(self, groups: Array, *, count: int = RESAMPLES, seed: int = 0) -> None:
        names, owner = np.unique(groups, return_inverse=True)
        self.n_groups = len(names)
        self._owner = owner.reshape(-1)
        rows: list[Array] = [np.ones((1, self.n_groups))]
        if self.n_groups >= _LEAST_GROUPS:
            rng = np.random.default_rng(seed)
            rows.append(rng.multinomial(self.n_groups, np.full(self.n_groups, 1.0 / self.n_groups), size=count))
        self._weights = np.concatenate(rows)

    def __len__(self) -> int:
        return len(self._weights)

    def totals(self, cells: Array, n_cells: int, values: FloatArray | Array | None = None) -> Array:
        """Add up items by cell in each draw.

        Parameters
        ----------
        cells
            Shape (n,): the cell of each item, 0 to ``n_cells - 1``.
        values
            Shape (n,): what each item adds; 1 by default.

        Returns
        -------
        Shape (1 + draws, n_cells).
        """
        flat = self._owner * n_cells + cells
        per_group = np.bincount(flat, values, minlength=self.n_groups * n_cells)
        return np.asarray(self._weights @ per_group.reshape(self.n_groups, n_cells))

    def sums(self, values: FloatArray | Array) -> Array:
        """Add up one value an item in each draw, shape (1 + draws,)."""
        return self.totals(np.zeros(len(self._owner), np.int64), 1, values)[:, 0]

    def share(self, part: Array, whole: Array | None = None) -> Array:
        """Return the share of items for which ``part`` holds among those for which ``whole`` does, NaN where there is none."""
        total = self.sums(np.ones(len(self._owner)) if whole is None else whole)
        return divided(self.sums(part), total)

    def interval(self, values: Array) -> list[float] | None:
        """Return both ends of the 95 % interval of a figure, shape (1 + draws,); None without a spread.

        Draws in which the figure does not exist (no positive was drawn) are left out.
        """
        drawn = values[1:][np.isfinite(values[1:])]
        if not len(drawn) or not np.isfinite(values[0]):
            return None
        return [round(float(end), _DIGITS) for end in np.percentile(drawn, _PERCENTILES)]

    def figure(self, name: str, values: Array) -> dict[str, Any]:
        """Return a figure under its name, and its interval under ``<name>_95``."""
        return {name: rounded(values[0]), f"{name}_95": self.interval(values)}


def divided(part: Array, whole: Array) -> Array:
    """Divide, with NaN where there is nothing to divide by."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, part / whole, np.nan)
