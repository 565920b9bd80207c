"""Mapping a model's labels to a policy's."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamcls.types import FloatArray

__all__ = ["LabelMap"]


_MOST_NAMED: Final = 20
"""Labels; of a model with hundreds of them a message names the nearest."""


def _has(labels: Sequence[str], wanted: str) -> str:
    if len(labels) <= _MOST_NAMED:
        return f"it has {', '.join(labels)}"
    lower = {label.lower(): label for label in labels}
    near = difflib.get_close_matches(wanted.lower(), list(lower), n=3)
    return f"it has {len(labels)} labels" + (f", among them {', '.join(lower[one] for one in near)}" if near else "")


class LabelMap:
    """Gathers a model's outputs under a policy's labels.

    Where several outputs go to one label, exclusive probabilities add up and independent ones give their maximum. Without a map
    each label stands for itself.

    Independent scores that are to be weighed against each other have ``typical``: each label's score is divided by what is typical
    of it, and its value is its share, ``r[i] / (r[0] + ... + r[n - 1] + rest)`` with ``r = score / typical``. The values then sum to
    less than one, and to nearly nothing where every score is far below what is typical. Exclusive probabilities stay as they are.

    Parameters
    ----------
    typical
        Typical score by the policy's label, each above 0; empty to leave scores as they are.
    rest
        Weight in that sum of all that has no label, in typical scores.
    gate
        A label of the model, and the score above 0 below which the shares shrink in proportion to it; None for none.
    thresholds
        Recommended by the policy's label; may be empty.

    Raises
    ------
    ValueError
        The map names a label that the model does not have.
    """

    def __init__(
        self,
        labels: Sequence[str],
        mapping: Mapping[str, str],
        *,
        exclusive: bool,
        typical: Mapping[str, float] | None = None,
        rest: float = 0.0,
        gate: tuple[str, float] | None = None,
        thresholds: Mapping[str, float] | None = None,
    ) -> None:
        unknown = sorted(set(mapping) - set(labels))
        if unknown:
            raise ValueError(
                f"map names {', '.join(map(repr, unknown))}, which the model does not put out; {_has(labels, unknown[0])}"
            )
        chosen = dict(mapping) or {label: label for label in labels}
        self.labels = tuple(dict.fromkeys(chosen.values()))
        self.exclusive = exclusive
        self.thresholds = dict(thresholds or {})
        self.sources = {
            label: tuple(source for source, target in chosen.items() if target == label) for label in self.labels
        }
        index = {label: i for i, label in enumerate(labels)}
        self._members = [np.array([index[source] for source in self.sources[label]]) for label in self.labels]
        weighed = bool(typical) and not exclusive
        self._typical = np.array([typical[label] for label in self.labels], np.float32) if typical and weighed else None
        self._rest = np.float32(rest)
        self._gate = (index[gate[0]], np.float32(gate[1])) if gate is not None else None

    def apply(self, values: FloatArray) -> FloatArray:
        """Return the policy's values, shape (len(self.labels),), float32, each 0 to 1."""
        gather = np.sum if self.exclusive else np.max
        gathered = np.array([gather(values[members]) for members in self._members], np.float32)
        if self._typical is not None:
            ratios = gathered / self._typical
            total = ratios.sum() + self._rest
            gathered = ratios / total if total > 0 else ratios
            if self._gate is not None:
                gathered *= min(values[self._gate[0]] / self._gate[1], np.float32(1.0))
        return gathered.clip(0.0, 1.0)
