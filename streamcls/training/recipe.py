"""A recipe: one TOML file that says everything about how a model is trained, and is kept with the result."""

from __future__ import annotations

import difflib
import tomllib
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from streamcls.errors import TrainingError
from streamcls.training.recipe_tables import (
    LABEL,
    NAME,
    AugmentationTable,
    BroadcastTable,
    CalibrationTable,
    CorpusTable,
    DistillationTable,
    NetworkTable,
    QuantisationTable,
    Table,
    TrainingTable,
    WindowTable,
)
from streamcls.types import FrontEndSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydantic import BaseModel

__all__ = ["Recipe", "load_recipe", "parse_recipe"]


class Recipe(Table):
    """The whole of a recipe.

    Attributes
    ----------
    labels
        Each label, in the order of the outputs, and its taxonomy id or an empty string.
    background
        With ``softmax``: the labels that mean "none of the others" (speech, noise, music of no known kind). Clips and audio without a
        label teach the first of them; policies take it for no opinion.
    """

    name: str = Field(pattern=NAME)
    version: str = Field(min_length=1, max_length=64)
    task: str = Field(pattern=NAME)
    description: str = ""
    limits: str = ""
    seed: int = Field(default=1, ge=0, le=2**31 - 1)
    activation: Literal["softmax", "sigmoid"] = "softmax"
    labels: dict[Annotated[str, Field(pattern=LABEL)], str] = Field(min_length=1)
    background: tuple[str, ...] = ()
    front_end: dict[str, Any] = Field(default_factory=dict)
    window: WindowTable
    corpus: tuple[CorpusTable, ...] = Field(min_length=1)
    network: NetworkTable = NetworkTable()
    augmentation: AugmentationTable = AugmentationTable()
    broadcast: BroadcastTable = BroadcastTable()
    training: TrainingTable = TrainingTable()
    distillation: DistillationTable = DistillationTable()
    quantisation: QuantisationTable = QuantisationTable()
    calibration: CalibrationTable = CalibrationTable()

    @field_validator("front_end")
    @classmethod
    def _front_end(cls, value: dict[str, Any]) -> dict[str, Any]:
        known = FrontEndSpec.field_names()
        for key in value:
            if key not in known:
                raise ValueError(f"unknown key {key!r}{_suggestion(key, known)}")
        FrontEndSpec(**value)
        return value

    @model_validator(mode="after")
    def _names(self) -> Recipe:
        names = [corpus.name for corpus in self.corpus]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"corpus: the name {name!r} is used {names.count(name)} times, each needs its own")
        for where, target in self._label_uses():
            if target not in self.labels:
                raise ValueError(
                    f"{where} names {target!r}, the recipe has {', '.join(self.labels)}{_suggestion(target, tuple(self.labels))}"
                )
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.background and self.activation != "softmax":
            raise ValueError('background is for activation = "softmax"; with sigmoid every label may be absent')
        if self.distillation.map and not (self.distillation.teacher and self.distillation.classes):
            raise ValueError("distillation.map needs distillation.teacher and distillation.classes")
        if self.network.kind != "ds_cnn" and self.quantisation.kind == "int8":
            raise ValueError(
                f'network.kind {self.network.kind!r} has an LSTM, which int8 makes slow: set quantisation.kind = "dynamic_range"'
            )
        if self.activation == "softmax" and self.augmentation.mix:
            raise ValueError(
                'augmentation.mix adds labels up, which softmax cannot express: use mix_up, or activation = "sigmoid"'
            )
        return self

    def _label_uses(self) -> Iterator[tuple[str, str]]:
        """Yield where a label is named, and the label."""
        for corpus in self.corpus:
            for found, targets in corpus.labels.items():
                for target in targets:
                    if target != "?*":
                        yield f"corpus {corpus.name!r}: labels.{found}", target.removeprefix("?")
        for label in self.training.label_share:
            if label != "negative":
                yield "training.label_share", label
        yield from (("background", label) for label in self.background)
        yield from (("distillation.map", label) for label in self.distillation.map)
        yield from (("calibration.thresholds", label) for label in self.calibration.thresholds or ())

    @property
    def spec(self) -> FrontEndSpec:
        """The front end."""
        return FrontEndSpec(**self.front_end)


def _suggestion(word: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def parse_recipe(text: str, origin: str = "recipe") -> Recipe:
    """Read a recipe from TOML.

    Raises
    ------
    TrainingError
        No TOML, an unknown key or a bad value; the message names ``origin`` and each key.
    """
    try:
        return Recipe.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise TrainingError(f"{origin}: no valid TOML: {error}") from error
    except ValidationError as error:
        reasons = []
        for problem in error.errors():
            where = ".".join(map(str, problem["loc"])) or "recipe"
            if problem["type"] == "extra_forbidden":
                reasons.append(
                    f"{where}: unknown key{_suggestion(str(problem['loc'][-1]), _keys_at(problem['loc'][:-1]))}"
                )
            else:
                reasons.append(f"{where}: {problem['msg'].removeprefix('Value error, ')}")
        raise TrainingError(f"{origin}: {'; '.join(reasons)}") from error


def _keys_at(location: tuple[int | str, ...]) -> tuple[str, ...]:
    """Name the keys of the table at a place in a recipe."""
    tables: dict[str, type[BaseModel]] = {
        "window": WindowTable, "corpus": CorpusTable, "network": NetworkTable, "augmentation": AugmentationTable,
        "broadcast": BroadcastTable, "training": TrainingTable, "distillation": DistillationTable, "quantisation": QuantisationTable,
        "calibration": CalibrationTable,
    }  # fmt: skip
    table = tables.get(str(location[0]), Recipe) if location else Recipe
    return tuple(table.model_fields)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe file; see :func:`parse_recipe`."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path}: the recipe cannot be read: {error}") from error
    return parse_recipe(text, str(path))
