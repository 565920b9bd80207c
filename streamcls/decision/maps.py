"""Ready maps from a well-known taxonomy to the policies' labels, kept as TOML beside this module."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator, Discriminator, Tag

from streamcls.decision.labels import LabelMap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamcls.types import ModelInfo

__all__ = ["READY_MAPS", "MapSetting", "MappedClass", "ReadyMap", "label_map", "ready_map"]

READY_MAPS: Final = ("audioset",)
"""Names that may stand in a configuration instead of a map."""


def _known(name: str) -> str:
    if name not in READY_MAPS:
        raise ValueError(
            f"there is no ready map {name!r}, expected a table or one of {', '.join(map(repr, READY_MAPS))}"
        )
    return name


MapSetting: TypeAlias = Annotated[
    Annotated[dict[str, str], Tag("table")] | Annotated[str, AfterValidator(_known), Tag("name")],
    Discriminator(lambda value: "name" if isinstance(value, str) else "table"),
]
"""A policy's setting ``map``: a table from the model's labels to the policy's, or one of :data:`READY_MAPS`."""


@dataclass(frozen=True, slots=True)
class MappedClass:
    """One class of a taxonomy.

    Attributes
    ----------
    taxonomy
        Its id, e.g. ``audioset:/m/06by7``.
    label
        The policy's label that it counts as; empty where it was considered and left out.
    why
        The reason for that.
    """

    taxonomy: str
    name: str
    label: str
    why: str


@dataclass(frozen=True, slots=True)
class ReadyMap:
    """What one taxonomy means for one task.

    Attributes
    ----------
    typical
        Typical score by label, above 0, for labels that are weighed against each other; empty where each stands alone.
    rest
        Weight, in typical scores, of all that has no label; 0 or more.
    gate
        Taxonomy id and name of the class without which there is no label at all, and the score from which it counts fully; or None.
    enter
        Recommended threshold by label, 0 to 1; may be empty.
    """

    name: str
    task: str
    classes: tuple[MappedClass, ...]
    typical: Mapping[str, float]
    rest: float
    gate: tuple[str, str, float] | None
    enter: Mapping[str, float]

    def mapping(self, model: ModelInfo) -> dict[str, str]:
        """Return the policy's label by the model's, for those of its labels that are classes of this taxonomy."""
        targets = {one.taxonomy: one.label for one in self.classes}
        names = {one.name: one.taxonomy for one in self.classes}
        found = {label: targets.get(self._class_of(label, model, names), "") for label in model.labels}
        return {label: target for label, target in found.items() if target}

    def gate_of(self, model: ModelInfo) -> tuple[str, float] | None:
        """Return the model's label that is the gate and its score; None where the model lacks it, or the map has none."""
        if self.gate is None:
            return None
        identifier, name, full = self.gate
        found = [label for label in model.labels if self._class_of(label, model, {name: identifier}) == identifier]
        return (found[0], full) if found else None

    def _class_of(self, label: str, model: ModelInfo, names: Mapping[str, str]) -> str:
        """Return the taxonomy id of a model's label: its own where it is of this taxonomy, else that of its name; or nothing."""
        identifier = model.taxonomy.get(label, "")
        return identifier if identifier.startswith(f"{self.name}:") else names.get(label, "")


@cache
def ready_map(name: str, task: str) -> ReadyMap:
    """Read one of :data:`READY_MAPS` for a task, ``genre`` or ``moderation``."""
    text = files("streamcls.decision").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    table: dict[str, Any] = tomllib.loads(text)[task]
    classes = tuple(
        MappedClass(f"{name}:{identifier}", one["name"], one.get("label", ""), one["why"])
        for identifier, one in table["classes"].items()
    )
    gate = table.get("gate")
    return ReadyMap(
        name,
        task,
        classes,
        typical=table.get("typical", {}),
        rest=table.get("rest", 0.0),
        gate=(f"{name}:{gate['class']}", gate["name"], gate["full"]) if gate else None,
        enter=table.get("enter", {}),
    )


def label_map(model: ModelInfo, setting: Mapping[str, str] | str, task: str) -> LabelMap:
    """Make the map that a policy's setting ``map`` asks for.

    Parameters
    ----------
    setting
        The model's labels to the policy's, empty for all as they are; or the name of a ready map.
    task
        The policy's, by which a ready map has a table of its own.

    Raises
    ------
    ValueError
        A table that names a label which the model lacks, or a ready map none of whose classes the model knows.
    """
    if not isinstance(setting, str):
        return LabelMap(model.labels, setting, exclusive=model.exclusive)
    ready = ready_map(setting, task)
    mapping = ready.mapping(model)
    if not mapping:
        raise ValueError(
            f"map is {setting!r}, but {model.name} has no label that is one of its classes for {task}, by taxonomy id or by name"
        )
    return LabelMap(
        model.labels,
        mapping,
        exclusive=model.exclusive,
        typical=ready.typical,
        rest=ready.rest,
        gate=ready.gate_of(model),
        thresholds=ready.enter,
    )
