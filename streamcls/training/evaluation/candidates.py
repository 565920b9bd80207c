"""Whatever is to be measured, behind one face: our bundles, a user's, one of other labels through a map, a baseline."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.errors import TrainingError
from streamcls.types import FeatureWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamcls.inference import Bundle
    from streamcls.interfaces import Classifier
    from streamcls.training.evaluation.labelmap import Mapped
    from streamcls.types import FloatArray, FrontEndSpec

__all__ = [
    "Candidate",
    "bundle_candidate",
    "divided_by_means",
    "logits_of",
    "posteriors_of",
    "with_remainder",
]

_TINY: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model to be measured.

    Attributes
    ----------
    labels
        Of its posteriors: the real ones, without a background label.
    exclusive
        Whether one of the labels is to be chosen. Then the posteriors have one column more, the last: the probability of none.
    n_frames, stride
        Its windows, in frames of its front end ``spec``.
    run
        From windows, shape (n, n_frames, n_features), to outputs, shape (n, n_outputs): the expensive part.
    read
        From outputs to posteriors, shape (n, n_labels), one more if exclusive.
    key
        Outputs are kept on disk under it; empty for not at all.
    thresholds
        By label, where it has some of its own.
    facts
        Size, quantisation and the like, for the tables.
    remarks
        Sentences that a reader of the figures must know.
    """

    name: str
    version: str
    labels: tuple[str, ...]
    exclusive: bool
    spec: FrontEndSpec
    n_frames: int
    stride: int
    run: Callable[[FloatArray], FloatArray]
    read: Callable[[FloatArray], FloatArray]
    key: str = ""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def window_s(self) -> float:
        """Length of a window in seconds."""
        return ((self.n_frames - 1) * self.spec.hop_length + self.spec.frame_length) / self.spec.sample_rate

    @property
    def stride_s(self) -> float:
        """Distance of two windows in seconds."""
        return self.stride * self.spec.hop_length / self.spec.sample_rate

    def posteriors(self, features: FloatArray) -> FloatArray:
        """Judge windows."""
        return self.read(self.run(features))


def logits_of(classifier: Classifier, features: FloatArray) -> FloatArray:
    """Run a classifier over windows, shape (n, n_frames, n_features), and return its logits, shape (n, n_labels)."""
    return np.stack([classifier.logits(FeatureWindow("evaluation", window, 0, 0, 1, 0.0)) for window in features])


def posteriors_of(bundle: Bundle, logits: FloatArray) -> FloatArray:
    """Calibrate logits, shape (n, n_labels)."""
    return np.stack([bundle.calibration.posterior(row) for row in logits])


def bundle_candidate(
    bundle: Bundle,
    classifier: Classifier,
    *,
    label_map: Mapped | None = None,
    name: str | None = None,
    exclusive: bool | None = None,
    background: tuple[str, ...] | None = None,
) -> Candidate:
    """Make a candidate of a bundle and the classifier that runs it.

    Parameters
    ----------
    label_map
        For a bundle whose labels are others than those it is measured by.
    name
        Instead of the bundle's.
    exclusive
        Whether one label is to be chosen; by default as the bundle's activation says.
    background
        Labels that mean none of the others, where labels exclude each other; by default those that the bundle states. Where there is
        none, what a map's posteriors lack to 1 is
        the probability of none; where they add up to more, they are divided by their sum.
    """
    one = bundle.manifest.calibration.activation == "softmax" if exclusive is None else exclusive
    stated = bundle.manifest.calibration.background if background is None else background
    none = tuple(label for label in bundle.labels if label in stated) if one and label_map is None else ()
    labels = label_map.targets if label_map else tuple(label for label in bundle.labels if label not in none)
    columns = [bundle.labels.index(label) for label in labels] if label_map is None else []
    others = [bundle.labels.index(label) for label in none]
    softmax = bundle.manifest.calibration.activation == "softmax"

    def read(outputs: FloatArray) -> FloatArray:
        values = posteriors_of(bundle, outputs)
        real = label_map.apply(values, bundle.labels) if label_map else values[:, columns]
        if not one:
            return real
        if softmax and label_map is None:
            return np.concatenate([real, values[:, others].sum(axis=1, keepdims=True)], axis=1)
        return with_remainder(real)

    window = bundle.manifest.window
    remarks = [f"{name or bundle.name}: {label_map.description}."] if label_map else []
    facts = {"bytes": len(bundle.model_bytes), "quantisation": bundle.manifest.model.quantisation}
    kept = bundle.digest + bundle.spec.digest if bundle.spec.kind == "waveform" else ""
    return Candidate(
        name or bundle.name, bundle.manifest.version, labels, one, bundle.spec, window.n_frames, window.stride_frames,
        lambda features: logits_of(classifier, features), read,
        key=hashlib.sha256(f"{kept} {window.n_frames} {window.stride_frames}".encode()).hexdigest() if kept else "",
        thresholds=bundle.manifest.calibration.thresholds if label_map is None else {},
        facts=facts | {"parameters": _parameters(bundle)}, remarks=tuple(remarks),
    )  # fmt: skip


def with_remainder(real: FloatArray) -> FloatArray:
    """Make one distribution of posteriors that each stand alone: the last column is what they lack to 1."""
    shares = real / np.maximum(real.sum(axis=1, keepdims=True), 1.0)
    return np.concatenate([shares, np.maximum(1.0 - shares.sum(axis=1, keepdims=True), 0.0)], axis=1)


def divided_by_means(candidate: Candidate, means: FloatArray, where: str) -> Candidate:
    """Return the candidate with each label's posterior divided by its mean, shape (n_labels,), elsewhere.

    That takes out how readily a tagger says each of its labels; the values are scaled by the means' mean, so that they stay
    probabilities of about the same size.

    Raises
    ------
    TrainingError
        The labels do not exclude each other.
    """
    if not candidate.exclusive:
        raise TrainingError(f"{candidate.name}: only labels that exclude each other are divided by their means")
    factors = (means.mean() / np.maximum(means, _TINY)).astype(np.float32)

    def read(outputs: FloatArray) -> FloatArray:
        return with_remainder(candidate.read(outputs)[:, :-1] * factors)

    remark = f"{candidate.name} / means: each label's posterior divided by its mean over {where}."
    return replace(candidate, name=f"{candidate.name} / means", read=read, remarks=(*candidate.remarks, remark))


def _parameters(bundle: Bundle) -> int | None:
    """Return the number of parameters as the bundle's metrics state it."""
    try:
        stated = json.loads((bundle.path / "metrics.json").read_text("utf-8")).get("parameters")
    except (OSError, ValueError, AttributeError):
        return None
    return stated if isinstance(stated, int) else None
