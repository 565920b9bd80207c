"""Intervals of counted things, and percentiles of a few."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from streamcls.training.extra import need

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["percentiles", "poisson_interval", "rate", "wilson_interval"]

_CONFIDENCE: Final = 0.95
_Z: Final = 1.959963984540054
"""Of the normal distribution, for 95 %."""
_DIGITS: Final = 4


def wilson_interval(hits: int, count: int) -> list[float] | None:
    """Return the 95 % interval of a share after Wilson (1927), None where nothing was counted.

    It takes the events as independent; several from one recording are not, so that the number of recordings belongs beside it.
    """
    if not count:
        return None
    share, z2 = hits / count, _Z * _Z
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    return [round(max(0.0, middle - half), _DIGITS), round(min(1.0, middle + half), _DIGITS)]


def poisson_interval(count: int, hours: float) -> list[float] | None:
    """Return the exact 95 % interval of a rate per hour (Garwood 1936), None where there was no time.

    The bounds are half the chi-square quantiles: of ``2 count`` degrees of freedom below, of ``2 count + 2`` above.
    """
    if hours <= 0:
        return None
    need("scipy", "the interval of a rate")
    from scipy.stats import chi2

    tail = (1.0 - _CONFIDENCE) / 2.0
    low = float(chi2.ppf(tail, 2 * count)) / 2.0 if count else 0.0
    high = float(chi2.ppf(1.0 - tail, 2 * count + 2)) / 2.0
    return [round(low / hours, _DIGITS), round(high / hours, _DIGITS)]


def rate(count: float, whole: float) -> float | None:
    """Return ``count / whole``, rounded, or None where there is nothing to divide by."""
    return round(count / whole, _DIGITS) if whole else None


def percentiles(values: Sequence[float]) -> dict[str, float] | None:
    """Return median and 90th percentile, rounded to milliseconds, None of nothing."""
    if not values:
        return None
    import numpy as np

    middle, high = np.percentile(np.asarray(values, np.float64), (50.0, 90.0))
    return {"median": round(float(middle), 3), "p90": round(float(high), 3)}
