"""The backends ``litert`` and ``tflite-runtime``: goldens, quantised tensors, and refusals that say why."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import realbundle
from realbundle import real_bundle

from streamcls import BackendUnavailableError, BundleError
from streamcls.inference import load_bundle
from streamcls.testing import make_window
from streamcls_tflite import LiteRtBackend, TfliteRuntimeBackend
from streamcls_tflite.backends import _Runtime
from streamcls_tflite.classifier import TfliteClassifier

if TYPE_CHECKING:
    from streamcls.inference import Bundle

BACKENDS = [LiteRtBackend, TfliteRuntimeBackend]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(real_bundle(tmp_path_factory.mktemp("bundle")))


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> _Runtime:
    reason = request.param.unavailable()
    if reason:
        pytest.skip(f"backend {request.param.name}: {reason}")
    return request.param()


def test_litert_is_there_wherever_streamcls_is() -> None:
    assert LiteRtBackend.unavailable() == ""


def test_a_real_model_tells_windows_apart(backend: _Runtime, bundle: Bundle) -> None:
    classifier = backend.load(bundle)
    posteriors = [bundle.calibration.posterior(classifier.logits(make_window(bundle, seed))) for seed in range(3)]
    classifier.close()
    for posterior in posteriors:
        assert posterior.shape == (bundle.n_labels,)
        assert 0 <= posterior.min() <= posterior.max() <= 1
    assert len({posterior.tobytes() for posterior in posteriors}) > 1


@dataclass
class View:
    """A bundle as backends see it."""

    path: Any
    model_bytes: bytes
    input_shape: tuple[int, ...]
    n_labels: int
    output_name: str | None = None

    @classmethod
    def of(cls, bundle: Bundle, **other: Any) -> View:
        given = {
            name: getattr(bundle, name) for name in ("path", "model_bytes", "input_shape", "n_labels", "output_name")
        }
        return cls(**(given | other))


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"model_bytes": b"these are words"}, "cannot load the model"),
        ({"model_bytes": b""}, "cannot load the model"),
        ({"input_shape": (1, 2, 3)}, "model.input_shape is [1, 2, 3], the model wants ["),
        ({"n_labels": 3}, "model.labels has 3 labels, the model puts out"),
        ({"output_name": "not there"}, "model.output_name is 'not there'; the model has"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_by_field(
    backend: _Runtime, bundle: Bundle, other: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BundleError) as caught:
        backend.load(View.of(bundle, **other))
    assert str(caught.value).startswith(f"{bundle.path}: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_model_is_refused(backend: _Runtime, bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"cannot load the model|crashes on the model"):
        backend.load(View.of(bundle, model_bytes=bundle.model_bytes[:1_000]))


class Interpreter:
    """An edge that is not ours: a TFLite interpreter with the tensors of our choice. It multiplies its input by two."""

    def __init__(self, **tensors: Any) -> None:
        shape = np.array([1, 4], np.int32)
        self.given = {
            "name": "in",
            "index": 0,
            "shape": shape,
            "dtype": np.float32,
            "quantization": (0.0, 0),
        } | tensors.get("given", {})
        self.outputs = tensors.get("outputs") or [
            {"name": "out", "index": 1, "shape": shape, "dtype": np.float32, "quantization": (0.0, 0)}
            | tensors.get("put_out", {})
        ]
        self.inputs = tensors.get("inputs", 1)
        self.memory = np.zeros(0, np.float32)
        self.resets = 0

    def get_input_details(self) -> list[dict[str, Any]]:
        return [self.given] * self.inputs

    def get_output_details(self) -> list[dict[str, Any]]:
        return self.outputs

    def reset_all_variables(self) -> None:
        self.resets += 1

    def set_tensor(self, index: int, value: np.ndarray) -> None:
        assert value.dtype == self.given["dtype"]
        assert value.shape == tuple(self.given["shape"])
        self.memory = value

    def invoke(self) -> None:
        self.memory = self.memory.astype(np.float32) * 2

    def get_tensor(self, index: int) -> np.ndarray:
        (output,) = [one for one in self.outputs if one["index"] == index]
        return self.memory.astype(output["dtype"])


@dataclass
class Window:
    """What a classifier looks at of a window."""

    features: np.ndarray


def _classifier(interpreter: Interpreter, **view: Any) -> TfliteClassifier:
    return TfliteClassifier(
        interpreter, View(**({"path": "bundle", "model_bytes": b"", "input_shape": (1, 4), "n_labels": 4} | view))
    )


def test_state_is_reset_before_every_window() -> None:
    interpreter = Interpreter()
    classifier = _classifier(interpreter)
    for count in range(1, 4):
        assert classifier.logits(Window(np.arange(4, dtype=np.float32))).tolist() == [0, 2, 4, 6]
        assert interpreter.resets == count


def test_a_recurrent_model_says_the_same_of_the_same_window_whatever_it_heard_before(backend: _Runtime) -> None:
    # Six steps of four features, an LSTM of three units as one fused operation, a dense layer of two outputs.
    path = Path(realbundle.__file__).with_name("recurrent.tflite")
    classifier = backend.load(View(path, path.read_bytes(), (1, 6, 4), 2))
    rng = np.random.default_rng(1)
    windows = [Window(rng.standard_normal((6, 4)).astype(np.float32)) for _ in range(2)]
    first = classifier.logits(windows[0])
    assert np.ptp(first) > 0
    np.testing.assert_array_equal(classifier.logits(windows[0]), first)
    assert not np.array_equal(classifier.logits(windows[1]), first)
    np.testing.assert_array_equal(classifier.logits(windows[0]), first)


def test_quantised_tensors_are_converted_by_scale_and_zero_point() -> None:
    interpreter = Interpreter(
        given={"dtype": np.int8, "quantization": (0.5, 0)},
        put_out={"dtype": np.int8, "quantization": (0.25, 4)},
    )
    classifier = _classifier(interpreter)
    # 1.0 is stored as 2, doubled to 4, and read as (4 - 4) * 0.25.
    assert classifier.logits(Window(np.array([1.0, 2.0, -1.0, 0.0], np.float32))).tolist() == [0.0, 1.0, -2.0, -1.0]
    assert classifier.output_step == 0.25
    assert _classifier(Interpreter()).output_step == 0.0


def test_one_output_of_several_is_chosen_by_name() -> None:
    shape = np.array([1, 4], np.int32)
    common = {"shape": shape, "dtype": np.float32, "quantization": (0.0, 0)}
    outputs = [{"name": name, "index": index, **common} for index, name in enumerate("abc")]
    window = Window(np.ones(4, np.float32))
    assert _classifier(Interpreter(outputs=outputs), output_name="b").logits(window).tolist() == [2.0] * 4
    with pytest.raises(BundleError, match=r"model\.output_name is missing; the model has a, b, c"):
        _classifier(Interpreter(outputs=outputs))


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"inputs": 2}, "the model has 2 inputs, expected 1"),
        ({"given": {"dtype": np.int32}}, "tensor in is int32, expected float32, int8 or uint8"),
        ({"put_out": {"dtype": np.int8}}, "tensor out is int8 without a scale"),
    ],
)
def test_tensors_that_cannot_be_used_are_refused_by_name(tensors: dict[str, Any], reason: str) -> None:
    with pytest.raises(BundleError, match=reason):
        _classifier(Interpreter(**tensors))


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name.startswith("ai_edge_litert") else find(name)
    )
    reason = LiteRtBackend.unavailable()
    assert reason == "ai_edge_litert is not installed: pip install ai-edge-litert"
    with pytest.raises(BackendUnavailableError, match=reason):
        LiteRtBackend().load(bundle)


def test_a_library_that_does_not_import_is_named(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    imported = importlib.import_module

    def refuse(name: str, package: str | None = None) -> Any:
        if name == "ai_edge_litert.interpreter":
            raise OSError("libLiteRt.so: cannot open shared object file")
        return imported(name, package)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(
        BackendUnavailableError, match=r"backend 'litert': ai_edge_litert.interpreter does not import: libLiteRt.so"
    ):
        LiteRtBackend().load(bundle)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tflite-runtime exists for this Python")
def test_tflite_runtime_says_that_there_is_none_for_this_python() -> None:
    assert "use Python 3.11 or the backend 'litert'" in TfliteRuntimeBackend.unavailable()


def test_tflite_runtime_refuses_numpy_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would import and then fail in the middle of a stream."""
    monkeypatch.setattr(sys, "version_info", (3, 11, 9, "final", 0))
    monkeypatch.setattr(_Runtime, "unavailable", classmethod(lambda cls: ""))
    monkeypatch.setattr(np, "__version__", "2.1.0")
    assert (
        "fails with numpy 2.1.0: pip install 'streamcls[tflite-runtime]', which brings numpy 1"
        in TfliteRuntimeBackend.unavailable()
    )
    monkeypatch.setattr(np, "__version__", "1.26.4")
    assert TfliteRuntimeBackend.unavailable() == ""
