"""Mapping a model's labels to a policy's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamcls.types import FloatArray

__all__ = ["LabelMap"]


class LabelMap:
    """Gathers a model's outputs under a policy's labels.

    Where several outputs go to one label, exclusive probabilities add up and independent ones give their maximum. Without a map
    each label stands for itself.

    Raises
    ------
    ValueError
        The map names a label that the model does not have.
    """

    def __init__(self, labels: Sequence[str], mapping: Mapping[str, str], *, exclusive: bool) -> None:
        unknown = sorted(set(mapping) - set(labels))
        if unknown:
            raise ValueError(f"map names {', '.join(map(repr, unknown))}, which the model does not put out")
        chosen = dict(mapping) or {label: label for label in labels}
        self.labels = tuple(dict.fromkeys(chosen.values()))
        self.exclusive = exclusive
        index = {label: i for i, label in enumerate(labels)}
        self._members = [
            np.array([index[source] for source, target in chosen.items() if target == label]) for label in self.labels
        ]

    def apply(self, values: FloatArray) -> FloatArray:
        """Return the policy's values, shape (len(self.labels),), float32, each 0 to 1."""
        gather = np.sum if self.exclusive else np.max
        return np.array([gather(values[members]) for members in self._members], np.float32).clip(0.0, 1.0)
