"""The tables of a recipe: what may be said about each part of a training run, with defaults and bounds."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = [
    "LABEL",
    "NAME",
    "AugmentationTable",
    "BroadcastTable",
    "CalibrationTable",
    "CorpusTable",
    "DistillationTable",
    "NetworkTable",
    "QuantisationTable",
    "Table",
    "TrainingTable",
    "WindowTable",
]

NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
LABEL = r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,63}$"
Share = Annotated[float, Field(ge=0, le=1)]
Decibels = Annotated[float, Field(ge=-120, le=120, allow_inf_nan=False)]
Span = tuple[Decibels, Decibels]


class Table(BaseModel):
    """A table of a recipe: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class WindowTable(Table):
    """``[window]``: what the model sees at once, and how often it is asked. In frames of the front end."""

    n_frames: int = Field(ge=8, le=100_000)
    stride_frames: int = Field(ge=1, le=100_000)


class CorpusTable(Table):
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
        nobody knows whether the label applies: it is neither trained nor counted. ``?*`` stands for all labels that are not named
        beside it; alone, it marks audio for distillation. An empty list is a negative example. The key ``*`` is for every label not
        named. A label without a rule is skipped; an empty table keeps the recipe's labels as they are.
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
        How often a recording of this corpus is drawn among those that have the same label, relative to the others.
    renditions
        How many renditions of each file, instead of what ``[broadcast]`` says.
    source, licence
        For the card.
    """

    name: str = Field(pattern=NAME)
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
    renditions: int | None = Field(default=None, ge=0, le=20)
    source: str = ""
    licence: str = ""

    @field_validator("group_pattern")
    @classmethod
    def _pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from error
        return value


class NetworkTable(Table):
    """``[network]``: what is trained.

    ``ds_cnn`` is a depthwise-separable convolutional network, ``lstm`` a long short-term memory over the frames, ``crnn`` convolutions
    and then an LSTM.

    ``start`` is a float network kept by an earlier run (``NAME.run/float.keras``): layers of the same name and shape begin with its
    weights, the others at random. Empty for none.
    """

    kind: Literal["ds_cnn", "lstm", "crnn"] = "ds_cnn"
    size: Literal["S", "M", "L"] = "M"
    dropout: float = Field(default=0.2, ge=0, lt=1)
    start: str = ""


class AugmentationTable(Table):
    """``[augmentation]``: what happens to training windows only, on their log-mel bands in decibels.

    Attributes
    ----------
    gain_db
        Lowest and highest gain. Where the front end normalises each window, it matters only to what falls below the floor.
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

    gain_db: Span = (-30.0, 10.0)
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
            (any(self.gain_db), self.equalise_db, self.band_limit, self.noise, self.mix, self.nothing, self.mix_up, self.jitter_db,
             self.shift_bands, self.time_mask, self.band_mask)
        )  # fmt: skip


class BroadcastTable(Table):
    """``[broadcast]``: further renditions of each training file, as broadcasting would alter its waveform.

    Attributes
    ----------
    renditions
        How many of each file, beside the plain one; each is processed once and kept.
    longest_s
        A rendition of a longer file is of a stretch of so many seconds, from a random place.
    share
        Probability of each stage (equaliser, compressor, reverberation, band limit, noise, gain, codec) in a rendition's chain.
    speed
        Largest change of speed, pitch and tempo together, as a share. A teacher hears a rendition after this and before the chain.
    seed
        Of the renditions alone, so that models of other seeds share them.
    """

    renditions: int = Field(default=0, ge=0, le=20)
    longest_s: float = Field(default=30.0, gt=0, le=86_400)
    share: Share = 0.4
    speed: float = Field(default=0.06, ge=0, le=0.25)
    seed: int = Field(default=1, ge=0, le=2**31 - 1)


class TrainingTable(Table):
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


class DistillationTable(Table):
    """``[distillation]``: what other models say, as further targets.

    Attributes
    ----------
    teacher
        A TFLite model that takes a waveform, e.g. ``${STREAMCLS_DATA}/reference/yamnet.tflite``; empty for none. Its posteriors are
        learnt by a second head on the same embedding, which is thrown away afterwards.
    sample_rate
        Of the teacher's input, in hertz.
    weight
        Of the teacher's loss (cross-entropy summed over its classes), relative to the labels' loss.
    unlabelled_share
        Share of windows drawn from clips that have no label of this recipe.
    classes
        A CSV file that names the teacher's classes in their order (column ``display_name``); needed by ``map``.
    map
        The teacher's classes that stand for each label: their posteriors, summed, become the targets of windows whose labels nobody
        knows, and take part in the others' by ``label_share``.
    typical
        How far a label's mean over the training audio is divided out: 0 leaves the teacher's scores as they are, 1 makes all labels
        equally frequent (``softmax`` only).
    context_s
        The teacher's scores for ``map`` are averaged over this much more audio on either side of a window.
    label_share
        Part of the teacher in the targets of windows whose labels are known.
    ensemble
        Float networks kept by earlier runs of the same labels and window; the mean of their posteriors on the very window that is
        trained makes up ``ensemble_share`` of its target.
    """

    teacher: str = ""
    sample_rate: int = Field(default=16_000, ge=1_000, le=384_000)
    weight: float = Field(default=0.3, ge=0, le=1_000)
    unlabelled_share: Share = 0.25
    classes: str = ""
    map: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    typical: Share = 0.5
    context_s: float = Field(default=0.0, ge=0, le=600)
    label_share: Share = 0.0
    ensemble: tuple[str, ...] = ()
    ensemble_share: Share = 0.5


class QuantisationTable(Table):
    """``[quantisation]``: representative windows come from the training split only.

    ``clip_percentile`` bounds the input's range, so that rare extremes do not coarsen every step.
    """

    kind: Literal["int8", "dynamic_range", "float32"] = "int8"
    representative_windows: int = Field(default=512, ge=1, le=100_000)
    clip_percentile: float = Field(default=99.9, gt=50, le=100)


class CalibrationTable(Table):
    """``[calibration]``: on the validation split.

    ``false_positive_rate`` is the share of windows without a label that may exceed its threshold (``sigmoid`` only). ``thresholds`` by
    label, e.g. as ``streamcls calibrate`` found them on a validation programme, go before those that are fitted; none by default.
    """

    temperature: bool = True
    false_positive_rate: float = Field(default=0.002, gt=0, lt=1)
    lowest_threshold: Share = 0.5
    thresholds: dict[str, Share] | None = None
