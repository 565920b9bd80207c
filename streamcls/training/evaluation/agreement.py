"""How far two models agree on music that nobody has labelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.training.evaluation.bootstrap import Resamples, rounded
from streamcls.training.evaluation.exclusive import forced
from streamcls.training.extra import need

if TYPE_CHECKING:
    from streamcls.training.evaluation.bootstrap import Array
    from streamcls.types import FloatArray

__all__ = ["CONFIDENT", "agreement"]

CONFIDENT: Final = 0.5
"""The peer is confident where its best label has this share of what it gives to all of them."""
_LEAST_MASS: Final = 0.05
"""And where it gives all of them together at least this posterior: it hears one of them at all."""
_LEAST_CLIPS: Final = 3
"""A correlation of fewer says nothing."""


def agreement(
    values: FloatArray, peer: FloatArray, groups: Array, labels: tuple[str, ...], *, confident: float = CONFIDENT
) -> dict[str, Any]:
    """Compare the posteriors of two exclusive models on the same clips.

    Parameters
    ----------
    values, peer
        Shape (n_clips, n_labels + 1), the last column being the probability of none: averages over each clip.

    Returns
    -------
    For ``all`` clips and those on which the peer is ``confident``: ``count``, ``same`` (the share of clips for which both have the
    same best label) and ``in_best_two`` (the peer's is among the model's best two); ``correlation``: per label, the rank
    correlation (Spearman) of the clips' posteriors; ``peer_says``: on how many of the latter each label is the peer's best.
    """
    own, other = forced(values), forced(peer)
    best = other.argmax(axis=1)
    order = np.argsort(-own, axis=1)
    same, among = order[:, 0] == best, (order[:, :2] == best[:, None]).any(axis=1)
    sure = (other.max(axis=1) >= confident) & (peer[:, :-1].sum(axis=1) >= _LEAST_MASS)
    result: dict[str, Any] = {"confident_from": confident}
    for name, part in (("all", np.ones(len(own), bool)), ("confident", sure)):
        result[name] = {"count": int(part.sum())}
        if part.any():
            resamples = Resamples(groups[part])
            result[name]["recordings"] = resamples.n_groups
            result[name] |= resamples.figure("same", resamples.share(same[part]))
            result[name] |= resamples.figure("in_best_two", resamples.share(among[part]))
    result["peer_says"] = {label: int((best[sure] == i).sum()) for i, label in enumerate(labels)}
    result["correlation"] = {
        label: _rank_correlation(values[:, i], peer[:, i], groups) for i, label in enumerate(labels)
    }
    return result


def _rank_correlation(first: Array, second: Array, groups: Array) -> dict[str, Any]:
    """Return Spearman's correlation with its interval: Pearson's, of the ranks among all clips."""
    need("scipy", "the agreement of two models")
    from scipy.stats import rankdata

    if len(first) < _LEAST_CLIPS or np.ptp(first) == 0 or np.ptp(second) == 0:
        return {"correlation": None, "correlation_95": None, "count": len(first)}
    x, y = rankdata(first), rankdata(second)
    resamples = Resamples(groups)
    n = resamples.sums(np.ones(len(x)))
    mean_x, mean_y = resamples.sums(x) / n, resamples.sums(y) / n
    covariance = resamples.sums(x * y) / n - mean_x * mean_y
    spread = (resamples.sums(x * x) / n - mean_x**2) * (resamples.sums(y * y) / n - mean_y**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = covariance / np.sqrt(np.maximum(spread, 0.0))
    interval = resamples.interval(correlation)
    return {"correlation": rounded(correlation[0]), "correlation_95": interval, "count": len(first)}
