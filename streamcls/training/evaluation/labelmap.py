"""From a model's own labels to those it is to be measured by, e.g. from AudioSet's 521 classes to ten genres."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamcls.decision import label_map, ready_map
from streamcls.errors import TrainingError

if TYPE_CHECKING:
    from pathlib import Path

    from streamcls.decision import LabelMap as PolicyMap
    from streamcls.inference import Bundle
    from streamcls.types import FloatArray

__all__ = ["LabelMap", "Mapped", "WeighedMap", "load_label_map", "ready_label_map", "weighed_map"]


class Mapped(Protocol):
    """A map, whoever made it."""

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets, each once."""

    @property
    def description(self) -> str:
        """How it maps, for the readers of figures."""

    def apply(self, values: FloatArray, known: tuple[str, ...]) -> FloatArray:
        """Return the targets' posteriors, shape (n, n_targets), from the model's, shape (n, len(known))."""


class LabelMap(BaseModel):
    """Which label of the model counts as which target, and how several become one.

    Attributes
    ----------
    labels
        Target by label of the model; labels that are not named are ignored.
    combine
        ``max``: the largest posterior of those of one target; ``sum``: their sum, at most 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: dict[str, str] = Field(min_length=1)
    combine: Literal["max", "sum"] = "max"

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets, each once, in the order of their first label."""
        return tuple(dict.fromkeys(self.labels.values()))

    @property
    def description(self) -> str:
        """How it maps, for the readers of figures."""
        return f"{len(self.labels)} of its labels are mapped, several of one target by {self.combine}"

    def check(self, known: tuple[str, ...], model: str) -> None:
        """Raise a TrainingError that names the labels which the model does not have."""
        unknown = [label for label in self.labels if label not in known]
        if unknown:
            raise TrainingError(f"label map: {model} has no label {', '.join(map(repr, unknown))}")

    def apply(self, values: FloatArray, known: tuple[str, ...]) -> FloatArray:
        """Return the targets' posteriors, shape (n, n_targets), from the model's, shape (n, len(known))."""
        mapped = np.zeros((len(values), len(self.targets)), np.float32)
        for label, target in self.labels.items():
            column, own = self.targets.index(target), values[:, known.index(label)]
            mapped[:, column] = np.maximum(mapped[:, column], own) if self.combine == "max" else mapped[:, column] + own
        return np.minimum(mapped, np.float32(1.0))


@dataclass(frozen=True)
class WeighedMap:
    """The map of a policy: what the daemon makes of the model's posteriors."""

    policy: PolicyMap
    description: str

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets, each once."""
        return self.policy.labels

    def apply(self, values: FloatArray, known: tuple[str, ...]) -> FloatArray:
        """Return the targets' posteriors, shape (n, n_targets), from the model's, shape (n, len(known))."""
        del known  # the policy's map was made for this model
        return np.stack([self.policy.apply(row) for row in values])


def ready_label_map(bundle: Bundle, name: str, task: str) -> LabelMap:
    """Return a ready map of a taxonomy as plain scores, several of one target by max.

    Raises
    ------
    TrainingError
        The bundle has none of its classes.
    """
    mapping = ready_map(name, task).mapping(bundle.info())
    if not mapping:
        raise TrainingError(f"label map: {bundle.name} has no label that is one of the classes of {name!r} for {task}")
    return LabelMap(labels=mapping)


def weighed_map(bundle: Bundle, name: str, task: str) -> WeighedMap:
    """Return a ready map as the policies use it: scores divided by what is typical of them, where the map says that."""
    policy = label_map(bundle.info(), name, task)
    return WeighedMap(policy, f"mapped by the policies' map {name!r} for {task}, as the daemon does")


def load_label_map(path: Path) -> LabelMap:
    """Read a label map: TOML with a table ``[labels]`` (``"Opera" = "classical"``) and perhaps ``combine = "sum"``.

    Raises
    ------
    TrainingError
        The file cannot be read or says something else; the message names it.
    """
    try:
        return LabelMap.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TrainingError(f"{path}: the label map cannot be read: {error}") from error
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise TrainingError(f"{path}: {reasons}") from error
