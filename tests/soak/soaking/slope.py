"""How fast a figure rises: least squares, with an interval that knows that neighbouring samples resemble each other."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Slope", "Steps", "fitted_slope", "steps"]

_DRAWS = 4_000
_LEAST = 12
"""Samples below which no interval can be given."""
_SHARE_OF_A_BLOCK = 10
"""A block is a tenth of the samples, or their square root where that is more."""


@dataclass(frozen=True, slots=True)
class Slope:
    """Rise per unit of x, with its 95 % interval.

    Attributes
    ----------
    per_unit, low, high
        The rise, and the interval.
    samples, block
        How many samples there were, and how many neighbours were drawn together.
    """

    per_unit: float
    low: float
    high: float
    samples: int
    block: int

    def times(self, factor: float) -> Slope:
        """Return it in another unit."""
        return Slope(self.per_unit * factor, self.low * factor, self.high * factor, self.samples, self.block)

    def facts(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(self).items()}


def fitted_slope(x: Sequence[float], y: Sequence[float], *, seed: int = 0) -> Slope:
    """Fit a line by least squares, and find its slope's 95 % interval with a circular block bootstrap of the residuals.

    Blocks of neighbouring residuals are drawn with replacement, laid along the fitted line, and fitted again (Politis and Romano, "A
    circular block-resampling procedure for stationary data", 1992); the interval spans the central 95 % of these slopes.

    Parameters
    ----------
    x, y
        Equally long; at least 12 samples, of which ``x`` are not all the same.
    seed
        Of the draws.

    Raises
    ------
    ValueError
        There are too few samples, or they all have the same ``x``.
    """
    at, values = np.asarray(x, np.float64), np.asarray(y, np.float64)
    n = len(at)
    if n != len(values) or n < _LEAST:
        raise ValueError(f"{n} and {len(values)} samples, expected as many of both and at least {_LEAST}")
    centred = at - at.mean()
    spread = float(centred @ centred)
    if spread == 0.0:
        raise ValueError("all samples have the same x: there is no slope")
    slope = float(centred @ values) / spread
    residuals = values - values.mean() - slope * centred
    block = min(n, max(round(n**0.5), n // _SHARE_OF_A_BLOCK))
    generator = np.random.default_rng(seed)
    begins = generator.integers(0, n, (_DRAWS, -(-n // block)))
    places = (begins[:, :, None] + np.arange(block)).reshape(_DRAWS, -1)[:, :n] % n
    drawn = slope + residuals[places] @ centred / spread
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Slope(slope, float(low), float(high), n, block)


@dataclass(frozen=True, slots=True)
class Steps:
    """How a figure that stands still between two loads moved over a run: at the beginning, at the end, and the most."""

    first: float
    last: float
    most: float

    @property
    def growth(self) -> float:
        """By how much the end is above the beginning."""
        return self.last - self.first

    def facts(self) -> dict[str, float]:
        """Return it as JSON values."""
        return asdict(self)


def steps(before: Sequence[float], during: Sequence[float], after: Sequence[float]) -> Steps:
    """Sum up a count such as open files. What is taken of the quiet stretches is their median.

    Raises
    ------
    ValueError
        One of the stretches has no samples.
    """
    if not len(before) or not len(after):
        raise ValueError("there are no samples of the time before, or of that after")
    both = [*before, *during, *after]
    return Steps(float(np.median(before)), float(np.median(after)), float(max(both)))
