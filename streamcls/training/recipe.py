"""A recipe: one TOML file that says everything about how a model is trained, and is kept with the result."""

from __future__ import annotations

import difflib
import tomllib
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from streamcls.errors import TrainingError
from streamcls.types import FrontEndSpec

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "AugmentationTable",
    "CalibrationTable",
    "CorpusTable",
    "DistillationTable",
    "NetworkTable",
    "QuantisationTable",
    "Recipe",
    "TrainingTable",
    "WindowTable",
    "load_recipe",
    "parse_recipe",
]

_NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
Share = Annotated[float, Field(ge=0, le=1)]
Decibels = Annotated[float, Field(ge=-120, le=120, allow_inf_nan=False)]
Span = tuple[Decibels, Decibels]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class WindowTable(_Table):
    """``[window]``: what the model sees at once, and how often it is asked. In frames of the front end."""

    n_frames: int = Field(ge=8, le=100_000)
    stride_frames: int = Field(ge=1, le=100_000)


class CorpusTable(_Table):
    """``[[corpus]]``: labelled audio.

    Attributes
    ----------
    path
        A folder of ``label/file`` folders, a CSV manifest, or an NPZ file of precomputed log-mel (see
        :class:`~streamcls.training.precomputed.PrecomputedRows`); ``${NAME}`` stands for an environment variable.
    sets
        Of a manifest: rows whose column ``set`` is one of these; empty for all.
    skip
        Paths of a manifest, or clips of precomputed features, that are left out.
    labels
        The recipe's labels for each label found, e.g. ``{ street_music = ["music", "?speech"] }``. A question mark says that
        nobody knows whether the label applies: it is neither trained nor counted (``?*`` for all labels: audio for distillation
        alone). An empty list is a negative example. The key ``*`` is for every label not named. A label without a rule is
        skipped; an empty table keeps the recipe's labels as they are.
    split
        ``given`` takes the manifest's column ``split`` (train, valid, test); ``hash`` draws 70, 15 and 15 % by the group's hash.
    group_pattern
        Regular expression searched in the path; what its first group matches is the recording that must not be split, in this
        and any other corpus. Used where the manifest gives no group.
    active_within_db
        A window carries the clip's labels only where its loudest frame comes that near to the clip's loudest; other windows of
        the clip are left out. None for all windows.
    short
        A clip shorter than a window is repeated until it fills one (``repeat``) or left out (``skip``).
    share
        How often this corpus is drawn among those that have the same label, relative to the others.
    source, licence
        For the card.
    """

    name: str = Field(pattern=_NAME)
    path: str = Field(min_length=1)
    layout: Literal["manifest", "folder", "precomputed"] = "manifest"
    sets: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    labels: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    split: Literal["given", "hash"] = "hash"
    group_pattern: str = ""
    active_within_db: float | None = Field(default=None, gt=0, le=120)
    short: Literal["repeat", "skip"] = "repeat"
    share: float = Field(default=1.0, gt=0, le=1_000)
    source: str = ""
    licence: str = ""


class NetworkTable(_Table):
    """``[network]``: ``ds_cnn`` is a depthwise-separable convolutional network."""

    kind: Literal["ds_cnn"] = "ds_cnn"
    size: Literal["S", "M", "L"] = "M"
    dropout: float = Field(default=0.2, ge=0, lt=1)


class AugmentationTable(_Table):
    """``[augmentation]``: what happens to training windows only, on their log-mel bands in decibels.

    Attributes
    ----------
    equalise_db
        Standard deviation of a random smooth curve over the bands.
    band_limit
        Share of windows whose lowest or highest bands are cut off, as telephones, AM and low bit rates do.
    noise
        Share of windows with stationary noise of a random spectrum, ``noise_snr_db`` below the signal.
    mix
        Share of windows to which a second clip is added; ``mix_snr_db`` is how much louder the first one is. With ``softmax``
        the targets are mixed by ``mix_up`` instead.
    nothing
        Share of windows that are replaced by digital silence or by noise alone, which has no label: the model must be unsure.
    mix_up
        Share of windows that are blended with another, targets too (Zhang et al. 2018, "mixup").
    jitter_db
        Largest standard deviation of independent noise on each value; a window's own is drawn below it.
    shift_bands
        Largest shift along the bands, up or down: a change of pitch.
    time_mask, band_mask
        Largest part of the frames or bands that one mask sets to the mean.
    """

    equalise_db: float = Field(default=6.0, ge=0, le=40)
    band_limit: Share = 0.2
    noise: Share = 0.2
    noise_snr_db: Span = (5.0, 40.0)
    mix: Share = 0.0
    mix_snr_db: Span = (-5.0, 20.0)
    nothing: Share = 0.03
    mix_up: Share = 0.3
    jitter_db: float = Field(default=1.0, ge=0, le=40)
    shift_bands: int = Field(default=2, ge=0, le=64)
    time_mask: Share = 0.15
    band_mask: Share = 0.15

    @property
    def is_off(self) -> bool:
        """Whether nothing happens to a window."""
        return not any(
            (self.equalise_db, self.band_limit, self.noise, self.mix, self.nothing, self.mix_up, self.jitter_db, self.shift_bands,
             self.time_mask, self.band_mask)
        )  # fmt: skip


class TrainingTable(_Table):
    """``[training]``: the optimiser (AdamW with a cosine schedule) and how long it runs.

    ``label_share`` says how often a label is drawn relative to the others; ``negative`` stands for clips without a label.
    """

    epochs: int = Field(default=40, ge=1, le=10_000)
    windows_per_epoch: int = Field(default=4_096, ge=8, le=10_000_000)
    batch_size: int = Field(default=64, ge=1, le=8_192)
    learning_rate: float = Field(default=3e-3, gt=0, le=1)
    weight_decay: float = Field(default=1e-4, ge=0, le=1)
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    label_share: dict[str, Annotated[float, Field(gt=0, le=1_000)]] = Field(default_factory=dict)


class DistillationTable(_Table):
    """``[distillation]``: a teacher's posteriors as further targets, through a head that is thrown away afterwards.

    Attributes
    ----------
    teacher
        A TFLite model that takes a waveform, e.g. ``${STREAMCLS_DATA}/reference/yamnet.tflite``; empty for none.
    sample_rate
        Of the teacher's input, in hertz.
    weight
        Of the teacher's loss (cross-entropy summed over its classes), relative to the labels' loss.
    unlabelled_share
        Share of windows drawn from clips that have no label of this recipe.
    """

    teacher: str = ""
    sample_rate: int = Field(default=16_000, ge=1_000, le=384_000)
    weight: float = Field(default=0.3, ge=0, le=1_000)
    unlabelled_share: Share = 0.25


class QuantisationTable(_Table):
    """``[quantisation]``: representative windows come from the training split only.

    ``clip_percentile`` bounds the input's range, so that rare extremes do not coarsen every step.
    """

    kind: Literal["int8", "dynamic_range", "float32"] = "int8"
    representative_windows: int = Field(default=512, ge=1, le=100_000)
    clip_percentile: float = Field(default=99.9, gt=50, le=100)


class CalibrationTable(_Table):
    """``[calibration]``: on the validation split.

    ``false_positive_rate`` is the share of windows without a label that may exceed its threshold (``sigmoid`` only).
    """

    temperature: bool = True
    false_positive_rate: float = Field(default=0.002, gt=0, lt=1)
    lowest_threshold: Share = 0.5


class Recipe(_Table):
    """The whole of a recipe. ``labels`` maps each label, in the order of the outputs, to its taxonomy id or an empty string."""

    name: str = Field(pattern=_NAME)
    version: str = Field(min_length=1, max_length=64)
    task: str = Field(pattern=_NAME)
    description: str = ""
    limits: str = ""
    seed: int = Field(default=1, ge=0, le=2**31 - 1)
    activation: Literal["softmax", "sigmoid"] = "softmax"
    labels: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,63}$")], str] = Field(min_length=1)
    front_end: dict[str, Any] = Field(default_factory=dict)
    window: WindowTable
    corpus: tuple[CorpusTable, ...] = Field(min_length=1)
    network: NetworkTable = NetworkTable()
    augmentation: AugmentationTable = AugmentationTable()
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
    def _consistent(self) -> Recipe:
        names = [corpus.name for corpus in self.corpus]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"corpus: the name {name!r} is used {names.count(name)} times, each needs its own")
        for corpus in self.corpus:
            for found, targets in corpus.labels.items():
                for target in targets:
                    if target != "?*" and target.removeprefix("?") not in self.labels:
                        raise ValueError(
                            f"corpus {corpus.name!r}: labels.{found} names {target!r}, "
                            f"the recipe has {', '.join(self.labels)}{_suggestion(target, tuple(self.labels))}"
                        )
        for label in self.training.label_share:
            if label not in (*self.labels, "negative"):
                raise ValueError(
                    f"training.label_share names {label!r}, the recipe has {', '.join(self.labels)} and negative"
                )
        if self.activation == "softmax" and self.augmentation.mix:
            raise ValueError(
                'augmentation.mix adds labels up, which softmax cannot express: use mix_up, or activation = "sigmoid"'
            )
        return self

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
        "training": TrainingTable, "distillation": DistillationTable, "quantisation": QuantisationTable,
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
