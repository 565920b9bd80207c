"""Putting an imported model together as a bundle, and trying it before it is kept."""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from streamcls import __version__
from streamcls.errors import BundleError
from streamcls.frontend import StreamingFrontEnd, windows_of
from streamcls.inference import load_bundle
from streamcls.inference.bundle import BUNDLE_FORMAT
from streamcls.training.export import replace_folder, write_files
from streamcls.training.golden import golden_bytes, plain_logits, rounded_windows
from streamcls.training.importing.card import import_card
from streamcls.training.importing.front_end import InputKind, front_end_for
from streamcls.training.importing.labels import read_labels
from streamcls.training.importing.tensors import read_model
from streamcls.types import FeatureWindow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamcls.inference import Bundle
    from streamcls.inference.bundle import WindowTable
    from streamcls.interfaces import Backend
    from streamcls.types import FloatArray, FrontEndSpec

__all__ = ["Activation", "ImportOptions", "Imported", "import_model"]

Activation = Literal["softmax", "sigmoid", "identity"]
_MODEL: Final = "model.tflite"
_LABELS: Final = "labels.txt"
_SEED: Final = 1
_LOUDNESS: Final = (0.3, 0.1, 0.03)
"""RMS of the test signals; full scale is 1."""
_SLACK: Final = 1e-3
"""How far a probability may lie outside 0 to 1 by rounding."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What nobody can read from a model's file.

    Attributes
    ----------
    output
        Folder of the bundle.
    name
        None for the folder's name.
    activation
        None to find out: a model whose outputs all lie within 0 and 1 puts out probabilities.
    values
        Keys of the front end, ``sample_rate`` among them.
    stride_s
        Distance of windows in seconds; None for half a window.
    scheme
        Put before the taxonomy ids; see :func:`~streamcls.training.importing.labels.read_labels`.
    output_name
        The output that the labels belong to; None where their number tells.
    replace
        Replace a bundle that is there already.
    """

    output: Path
    name: str | None = None
    version: str = "1"
    task: str = "tagging"
    description: str = ""
    activation: Activation | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    stride_s: float | None = None
    scheme: str = ""
    output_name: str | None = None
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Imported:
    """A bundle that was made, and what was found out on the way, in sentences."""

    bundle: Bundle
    remarks: tuple[str, ...]


def import_model(model: Path, labels: Path, kind: InputKind, backend: Backend, options: ImportOptions) -> Imported:
    """Make a bundle of a model file and a table of labels. The backend runs the model once on test signals before anything is kept.

    Raises
    ------
    BundleError
        Labels, front end and model do not fit each other, or the folder is taken; the message names the culprit.
    BackendUnavailableError
        The backend does not work here.
    """
    folder = options.output
    _check_place(folder, replacing=options.replace)
    facts = read_model(model)
    table = read_labels(labels, options.scheme)
    output = facts.output_for(len(table.labels), options.output_name, f"{model} with {labels}")
    spec, window = front_end_for(kind, facts.input_shape, options.values, options.stride_s)
    name = options.name or folder.resolve().name
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name):
        raise BundleError(f"the name {name!r} has to be small letters, digits and . _ - : give another with --name")
    files = {_MODEL: facts.content, _LABELS: table.text().encode()}
    manifest: dict[str, Any] = {
        "format": BUNDLE_FORMAT,
        "name": name,
        "version": options.version,
        "task": options.task,
        "description": options.description or f"Imported from {model.name}; nothing was measured.",
        "model": {
            "file": _MODEL,
            "labels": _LABELS,
            "input_shape": list(facts.input_shape),
            "output_name": output,
            "quantisation": facts.quantisation,
        },
        "front_end": asdict(spec),
        "window": window.model_dump(),
        "calibration": {"activation": options.activation or "identity"},
        "provenance": {
            "imported": datetime.now(UTC).strftime("%Y-%m-%d"),
            "from": model.name,
            "labels_from": labels.name,
            "streamcls": __version__,
        },
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-import-", dir=folder.parent))
    try:
        trial = staging / folder.name
        tried = _trial(load_bundle(write_files(trial, manifest, files)), backend, spec, window)
        remarks = [_activation_remark(tried.logits, options.activation, model)]
        if tried.constant:
            remarks.append("it says the same of silence, noise and tones: is the front end right?")
        files["golden.npz"] = golden_bytes(
            tried.features, tried.logits, plain_logits(facts.content, tried.features, output)
        )
        bundle = load_bundle(write_files(trial, manifest, files))
        files["CARD.md"] = import_card(bundle, remarks).encode()
        load_bundle(write_files(trial, manifest, files))
        replace_folder(trial, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Imported(replace(load_bundle(folder), path=folder), tuple(remarks))


@dataclass(frozen=True, slots=True)
class _Trial:
    """Test windows, shape (n, n_frames, n_features), and the logits for them, shape (n, n_labels)."""

    features: FloatArray
    logits: FloatArray

    @property
    def constant(self) -> bool:
        return bool(np.ptp(self.logits, axis=0).max() <= 0)


def _check_place(folder: Path, *, replacing: bool) -> None:
    if not folder.exists():
        return
    if not (folder / "bundle.toml").is_file():
        raise BundleError(f"{folder} exists and is no bundle; choose another folder with --output")
    if not replacing:
        raise BundleError(
            f"{folder} is a bundle already; replace it with --replace, or choose another folder with --output"
        )


def _trial(bundle: Bundle, backend: Backend, spec: FrontEndSpec, window: WindowTable) -> _Trial:
    features = rounded_windows(np.stack([_window(spec, window, signal) for signal in _signals(spec, window)]))
    classifier = backend.load(bundle)
    try:
        logits = np.stack([classifier.logits(FeatureWindow("import", one, 0, 0, 1, 0.0)) for one in features])
    finally:
        classifier.close()
    if not np.isfinite(logits).all():
        raise BundleError(
            f"{bundle.path.name}: the model puts out {logits[~np.isfinite(logits)][0]} for a plain test signal"
        )
    return _Trial(features, logits)


def _signals(spec: FrontEndSpec, window: WindowTable) -> list[FloatArray]:
    """Make test signals of one window: silence, then a chord, noise, and a swept tone, each quieter than the one before."""
    n = (window.n_frames - 1) * spec.hop_length + spec.frame_length
    t = np.arange(n) / spec.sample_rate
    chord = sum(np.sin(2 * np.pi * pitch * t) for pitch in (220.0, 277.18, 329.63) if pitch < spec.sample_rate / 2)
    noise = np.random.default_rng(_SEED).standard_normal(n)
    top = min(4_000.0, spec.sample_rate / 4)
    sweep = np.sin(2 * np.pi * (100.0 * t + (top - 100.0) * t**2 / (2 * t[-1] if n > 1 else 1.0)))
    loud = [
        level * part / max(float(np.sqrt(np.mean(np.square(part)))), 1e-9)
        for level, part in zip(_LOUDNESS, (chord, noise, sweep), strict=True)
    ]
    return [np.clip(part, -1, 1).astype(np.float32) for part in (np.zeros(n), *loud)]


def _window(spec: FrontEndSpec, window: WindowTable, signal: FloatArray) -> FloatArray:
    frames = StreamingFrontEnd(spec).push(signal)
    return windows_of(frames, spec, window.n_frames, window.n_frames)[0].features


def _activation_remark(logits: FloatArray, given: Activation | None, model: Path) -> str:
    """Hold the outputs against the activation and say what they look like.

    Raises
    ------
    BundleError
        The outputs are no probabilities and no activation was given, or ``identity`` was.
    """
    low, high = float(logits.min()), float(logits.max())
    within = low >= -_SLACK and high <= 1 + _SLACK
    if not within and given in (None, "identity"):
        raise BundleError(
            f"{model}: its outputs lie between {low:.3g} and {high:.3g}, so they are no probabilities; say what makes them so: "
            "--activation softmax (one label at a time) or --activation sigmoid (each label for itself)"
        )
    if given not in (None, "identity"):
        doubt = "; they look like probabilities already, is that right?" if within else ""
        return f"activation {given}, as given; on test signals its outputs lay between {low:.3g} and {high:.3g}{doubt}"
    exclusive = bool(np.allclose(logits.sum(axis=1), 1.0, atol=0.02))
    what = "sum to one, so that one label excludes the others" if exclusive else "stand each for itself"
    return f"its outputs are probabilities (activation identity); on test signals they {what}"
