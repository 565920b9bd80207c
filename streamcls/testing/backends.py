"""The contract of inference backends."""

from __future__ import annotations

import unittest
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - a field of a dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from streamcls.errors import BackendUnavailableError, BundleError
from streamcls.testing.values import make_window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamcls.inference import Bundle
    from streamcls.interfaces import Backend, BundleView, Classifier
    from streamcls.types import FeatureWindow

__all__ = ["BackendContract"]


@dataclass(frozen=True, slots=True)
class _View:
    """A bundle as backends see it, with something in it that is wrong."""

    path: Path
    model_bytes: bytes
    input_shape: tuple[int, ...]
    n_labels: int
    output_name: str | None


class BackendContract:
    """Subclass it, set ``component``, and return in ``bundle`` a bundle that the backend can load.

    Where the backend is not available, all but the rules on that are skipped.
    """

    component: ClassVar[type[Any]]

    def bundle(self) -> Bundle:
        """Return a bundle; see ``streamcls.inference.load_bundle``."""
        raise NotImplementedError("override bundle() and return a bundle that the backend can load")

    def windows(self) -> Sequence[FeatureWindow]:
        """Return at least four different windows for it."""
        bundle = self.bundle()
        return [make_window(bundle, seed) for seed in range(4)]

    def mismatched(self) -> Sequence[BundleView]:
        """Return bundles that do not fit their models: by default, wrong in their labels, in their input, and in the model itself."""
        good = self.bundle()
        shape = good.input_shape
        return [
            _View(good.path, good.model_bytes, shape, good.n_labels + 1, good.output_name),
            _View(good.path, good.model_bytes, (*shape[:-1], shape[-1] + 1), good.n_labels, good.output_name),
            _View(good.path, b"this is no model", shape, good.n_labels, good.output_name),
            _View(good.path, b"", shape, good.n_labels, good.output_name),
        ]

    def backend(self) -> Backend:
        """Make the backend, or skip the test where it is not available."""
        reason = self.component.unavailable()
        if reason:
            raise unittest.SkipTest(f"backend {self.component.name}: {reason}")
        backend: Backend = self.component()
        return backend

    def classifier(self) -> Classifier:
        """Load the bundle."""
        return self.backend().load(self.bundle())

    def test_it_has_the_members_of_a_backend(self) -> None:
        """See :class:`streamcls.Backend`."""
        name = self.component.name
        assert isinstance(name, str), f"name is {name!r}, expected a string"
        assert name, "name is empty"
        assert callable(self.component.load), "it lacks load"

    def test_it_says_why_it_is_unavailable_or_nothing(self) -> None:
        """``unavailable()`` never raises: it returns a reason, or an empty string."""
        reason = self.component.unavailable()
        assert isinstance(reason, str), (
            f"unavailable() returned {reason!r}, expected a string, empty where the backend works"
        )

    def test_loading_where_it_is_unavailable_raises_the_reason(self) -> None:
        """``BackendUnavailableError``, so that the message reaches whoever chose it."""
        reason = self.component.unavailable()
        if not reason:
            raise unittest.SkipTest(f"backend {self.component.name} is available")
        try:
            self.component().load(self.bundle())
        except BackendUnavailableError as error:
            assert reason in str(error), f"the error {str(error)!r} lacks the reason {reason!r}"
        else:
            raise AssertionError("load() raised nothing, although unavailable() gave a reason")

    def test_its_logits_are_one_finite_float32_per_label(self) -> None:
        """Shape (n_labels,), before activation and calibration."""
        classifier, n_labels = self.classifier(), self.bundle().n_labels
        for window in self.windows():
            logits = classifier.logits(window)
            assert isinstance(logits, np.ndarray), f"logits are {type(logits).__name__}, expected an array"
            assert logits.shape == (n_labels,), f"logits have the shape {logits.shape}, expected ({n_labels},)"
            assert logits.dtype == np.float32, f"logits are {logits.dtype}, expected float32"
            assert np.isfinite(logits).all(), f"logits are {logits}"
        classifier.close()

    def test_its_logits_depend_on_the_window(self) -> None:
        """A model whose windows() all give the same cannot show that the other rules hold."""
        classifier = self.classifier()
        seen = {classifier.logits(window).tobytes() for window in self.windows()}
        classifier.close()
        assert len(seen) > 1, "every window gave the same logits: return windows() that the model can tell apart"

    def test_the_same_window_twice_gives_bit_equal_logits(self) -> None:
        """Also with others in between: a recurrent model is reset before every window."""
        classifier, windows = self.classifier(), self.windows()
        first = [classifier.logits(window).tobytes() for window in windows]
        again = [classifier.logits(window).tobytes() for window in reversed(windows)]
        classifier.close()
        assert first == again[::-1], (
            "logits changed with what came before: they have to be a pure function of the window"
        )

    def test_streams_that_share_a_classifier_do_not_influence_each_other(self) -> None:
        """Two streams interleaved through one classifier give what each gives alone."""
        windows = self.windows()
        streams = (windows[0::2], windows[1::2])
        alone = []
        for stream in streams:
            classifier = self.classifier()
            alone.append([classifier.logits(window).tobytes() for window in stream])
            classifier.close()
        shared = self.classifier()
        together: list[list[bytes]] = [[], []]
        for pair in zip(*streams, strict=False):
            for number, window in enumerate(pair):
                together[number].append(shared.logits(window).tobytes())
        shared.close()
        for number, seen in enumerate(together):
            assert seen == alone[number][: len(seen)], (
                "a stream's logits changed because another stream was classified in between"
            )

    def test_two_classifiers_of_one_bundle_agree(self) -> None:
        """Each worker has its own."""
        one, two = self.classifier(), self.classifier()
        for window in self.windows():
            assert one.logits(window).tobytes() == two.logits(window).tobytes(), (
                "two classifiers of one bundle disagree"
            )
        one.close()
        two.close()

    def test_its_logits_stay_as_they_are(self) -> None:
        """They are not a view of a buffer that the next call writes to."""
        classifier = self.classifier()
        kept: list[tuple[Any, bytes]] = []
        for window in self.windows():
            logits = classifier.logits(window)
            kept.append((logits, logits.tobytes()))
        classifier.close()
        for logits, before in kept:
            assert logits.tobytes() == before, "logits changed after they were returned: return a copy"

    def test_it_leaves_the_window_as_it_is(self) -> None:
        """The features belong to all models that share them."""
        classifier = self.classifier()
        for window in self.windows():
            before = window.features.tobytes()
            classifier.logits(window)
            assert window.features.tobytes() == before, "the features of the window were changed"
        classifier.close()

    def test_it_refuses_a_bundle_that_does_not_fit_its_model(self) -> None:
        """With a ``BundleError`` that names the bundle's folder, when it is loaded and not when it is used."""
        backend = self.backend()
        for view in self.mismatched():
            what = f"input_shape {view.input_shape}, {view.n_labels} labels, {len(view.model_bytes)} bytes"
            try:
                backend.load(view)
            except BundleError as error:
                assert str(view.path) in str(error), f"{what}: the error {str(error)!r} does not name the bundle"
            else:
                raise AssertionError(f"{what}: load() took a bundle that does not fit its model")
