"""Reading and checking a model bundle: a folder with ``bundle.toml`` and the files it names."""

from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from streamcls.errors import BundleError
from streamcls.inference.calibration import Calibration
from streamcls.inference.search import BUNDLE_FILE
from streamcls.types import FrontEndSpec, ModelInfo

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BUNDLE_FORMAT", "Bundle", "Manifest", "load_bundle", "parse_labels"]

BUNDLE_FORMAT = 1
_LARGEST_FILE = 512 << 20
_LARGEST_TEXT = 4 << 20
_NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
_SHA256 = r"^[0-9a-f]{64}$"


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ModelTable(_Table):
    """``[model]``: the file and how its tensors are to be used."""

    file: str = "model.tflite"
    labels: str = "labels.txt"
    input_shape: tuple[Annotated[int, Field(ge=1, le=1 << 24)], ...] = Field(min_length=1, max_length=5)
    output_name: str | None = None
    quantisation: Literal["int8", "dynamic_range", "float16", "float32"]


class WindowTable(_Table):
    """``[window]``: how many frames the model sees, and how far apart two windows lie."""

    n_frames: int = Field(ge=1, le=100_000)
    stride_frames: int = Field(ge=1, le=100_000)


class CalibrationTable(_Table):
    """``[calibration]``: see :class:`~streamcls.inference.calibration.Calibration`.

    ``background`` names labels that mean "none of the others": speech or noise to a genre model, say.
    """

    activation: Literal["softmax", "sigmoid", "identity"]
    temperature: float = Field(default=1.0, gt=0, le=1_000, allow_inf_nan=False)
    bias: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] = ()
    thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    background: tuple[str, ...] = ()


class Manifest(_Table):
    """The whole of ``bundle.toml``."""

    format: int
    name: str = Field(pattern=_NAME)
    version: str = Field(min_length=1, max_length=64)
    task: str = Field(pattern=_NAME)
    description: str = ""
    model: ModelTable
    front_end: dict[str, Any]
    window: WindowTable
    calibration: CalibrationTable
    files: dict[str, Annotated[str, Field(pattern=_SHA256)]] = Field(min_length=1)
    provenance: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _listed(self) -> Manifest:
        for name in (self.model.file, self.model.labels):
            if name not in self.files:
                raise ValueError(f"files lacks {name!r}, and every file needs its sha256")
        return self


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes
    ----------
    path
        Its folder.
    spec
        Its front end.
    labels
        In the order of the model's outputs.
    taxonomy
        Taxonomy id by label, where the bundle gives one.
    model_bytes
        The model file as it was when its hash was checked.
    """

    path: Path
    manifest: Manifest
    spec: FrontEndSpec
    labels: tuple[str, ...]
    taxonomy: dict[str, str]
    model_bytes: bytes

    @property
    def name(self) -> str:
        """Name, unique among the models of a daemon."""
        return self.manifest.name

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the model's input tensor, batch of one included."""
        return self.manifest.model.input_shape

    @property
    def output_name(self) -> str | None:
        """Name of the output tensor, where the model has several."""
        return self.manifest.model.output_name

    @property
    def n_labels(self) -> int:
        """Number of outputs."""
        return len(self.labels)

    @cached_property
    def calibration(self) -> Calibration:
        """What turns logits into the posterior."""
        table = self.manifest.calibration
        return Calibration(table.activation, table.temperature, table.bias)

    @property
    def digest(self) -> str:
        """SHA-256 of the model file."""
        return self.manifest.files[self.manifest.model.file]

    @property
    def window_s(self) -> float:
        """Length of a window in seconds."""
        return (
            (self.manifest.window.n_frames - 1) * self.spec.hop_length + self.spec.frame_length
        ) / self.spec.sample_rate

    def stride_s(self, stride_frames: int) -> float:
        """Distance of windows that many frames apart, in seconds."""
        return stride_frames * self.spec.hop_length / self.spec.sample_rate

    def info(self, name: str | None = None, stride_frames: int | None = None) -> ModelInfo:
        """Return what policies may know, under the name the configuration gave the model."""
        return ModelInfo(
            name=name or self.name,
            version=self.manifest.version,
            task=self.manifest.task,
            labels=self.labels,
            exclusive=self.manifest.calibration.activation == "softmax",
            window_s=self.window_s,
            stride_s=self.stride_s(stride_frames or self.manifest.window.stride_frames),
            digest=self.digest,
            front_end_digest=self.spec.digest,
            taxonomy=self.taxonomy,
            thresholds=self.manifest.calibration.thresholds,
            background=self.manifest.calibration.background,
        )


def parse_labels(text: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Read a label file: one label a line, optionally a tab and its taxonomy id.

    Raises
    ------
    ValueError
        An empty file, an empty or a repeated label.
    """
    labels: list[str] = []
    taxonomy: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        label, _, identifier = line.partition("\t")
        label = label.strip()
        if not label:
            raise ValueError(f"line {number} has no label")
        if label in labels:
            raise ValueError(f"line {number} repeats the label {label!r}")
        labels.append(label)
        if identifier.strip():
            taxonomy[label] = identifier.strip()
    if not labels:
        raise ValueError("it is empty")
    return tuple(labels), taxonomy


def load_bundle(path: Path) -> Bundle:
    """Read a bundle's folder and verify all of it.

    Raises
    ------
    BundleError
        Anything missing, damaged, mismatched or of an unknown version; the message names the folder and the field.
    """
    manifest = _read_manifest(path)
    try:
        spec = FrontEndSpec(**manifest.front_end)
    except (TypeError, ValueError) as error:
        unknown = sorted(set(manifest.front_end) - set(FrontEndSpec.field_names()))
        reason = (
            f"unknown {', '.join(unknown)}; it has {', '.join(FrontEndSpec.field_names())}" if unknown else str(error)
        )
        raise BundleError(f"{path}: front_end: {reason}") from error
    contents = {name: _verified(path, name, digest) for name, digest in manifest.files.items()}
    try:
        labels, taxonomy = parse_labels(contents[manifest.model.labels].decode("utf-8"))
    except ValueError as error:
        raise BundleError(f"{path}: model.labels: {manifest.model.labels}: {error}") from error
    bundle = Bundle(path, manifest, spec, labels, taxonomy, contents[manifest.model.file])
    _check_consistency(bundle)
    return bundle


def _read_manifest(path: Path) -> Manifest:
    try:
        raw = (path / BUNDLE_FILE).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
        raise BundleError(
            f"{path}: no readable {BUNDLE_FILE}: {getattr(error, 'strerror', None) or error}; streamcls models lists the bundles there are"
        ) from error
    if len(raw) > _LARGEST_TEXT:
        raise BundleError(f"{path}: {BUNDLE_FILE} has {len(raw)} bytes, expected at most {_LARGEST_TEXT}")
    try:
        data = tomllib.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # besides bad TOML: no UTF-8, and integers of thousands of digits
        raise BundleError(f"{path}: {BUNDLE_FILE} is no valid TOML: {error}") from error
    if type(data.get("format")) is not int or data["format"] != BUNDLE_FORMAT:  # true and 1.0 equal 1
        raise BundleError(
            f"{path}: format is {data.get('format')!r}, this version of streamcls reads {BUNDLE_FORMAT}; "
            "upgrade streamcls or export the model again"
        )
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, e['loc'])) or BUNDLE_FILE}: {e['msg']}" for e in error.errors())
        raise BundleError(f"{path}: {reasons}") from error


def _verified(path: Path, name: str, digest: str) -> bytes:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise BundleError(f"{path}: files: {name!r} is no plain file name")
    file = path / name
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise BundleError(f"{path}: files: {name} is larger than {_LARGEST_FILE >> 20} MiB")
        content = file.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: files: {name} cannot be read: {error.strerror}") from error
    actual = hashlib.sha256(content).hexdigest()
    if actual != digest:
        raise BundleError(
            f"{path}: files: {name} has sha256 {actual[:12]}…, the bundle says {digest[:12]}…: it is damaged or was changed; "
            "put the whole folder there anew, or make it anew (models import, export)"
        )
    return content


def _check_consistency(bundle: Bundle) -> None:
    path, manifest = bundle.path, bundle.manifest
    expected = manifest.window.n_frames * bundle.spec.n_features
    size = 1
    for dimension in bundle.input_shape:
        size *= dimension
    if size != expected:
        raise BundleError(
            f"{path}: model.input_shape {list(bundle.input_shape)} holds {size} values, "
            f"window.n_frames x front_end features is {manifest.window.n_frames} x {bundle.spec.n_features} = {expected}; "
            "a bundle has the front end of its model: put the whole folder there anew"
        )
    bias = manifest.calibration.bias
    if bias and len(bias) != bundle.n_labels:
        raise BundleError(f"{path}: calibration.bias has {len(bias)} values for {bundle.n_labels} labels")
    calibration = manifest.calibration
    for key, used in (("thresholds", calibration.thresholds), ("background", calibration.background)):
        unknown = sorted(set(used) - set(bundle.labels))
        if unknown:
            raise BundleError(
                f"{path}: calibration.{key} names {', '.join(unknown)}, which {manifest.model.labels} does not have"
            )
