"""Conversion: what each kind of network becomes, and that the result says what the float network says."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from streamcls.errors import TrainingError
from streamcls.training.networks import build_network
from streamcls.training.quantise import convert
from streamcls.training.recipe import QuantisationTable

pytest.importorskip("tensorflow", reason="training is not installed")

SHAPE = (43, 32)


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    return np.random.default_rng(4).standard_normal((8, *SHAPE)).astype(np.float32)


def network(kind: str) -> Any:
    """A network whose weights are far from those it begins with, so that its state matters."""
    model = build_network(kind, "S", *SHAPE, 5, inverse_dct=np.eye(SHAPE[1], dtype=np.float32), dropout=0.1)
    rng = np.random.default_rng(6)
    model.set_weights([value + 0.1 * np.abs(rng.standard_normal(value.shape)) for value in model.get_weights()])
    return model


def interpreter(content: bytes) -> Any:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    runner = litert.Interpreter(model_content=content, num_threads=1)
    runner.allocate_tensors()
    return runner


def logits(runner: Any, window: np.ndarray) -> np.ndarray:
    runner.reset_all_variables()
    runner.set_tensor(runner.get_input_details()[0]["index"], window[None])
    runner.invoke()
    return np.array(runner.get_tensor(runner.get_output_details()[0]["index"])[0])


@pytest.mark.parametrize("kind", ["lstm", "crnn"])
def test_a_recurrent_network_becomes_the_fused_operation_and_keeps_its_logits(kind: str, windows: np.ndarray) -> None:
    model = network(kind)
    runner = interpreter(convert(model, QuantisationTable(kind="dynamic_range"), windows))
    operations = Counter(operation["op_name"] for operation in runner._get_ops_details())
    assert operations["UNIDIRECTIONAL_SEQUENCE_LSTM"] == 1
    assert not operations["WHILE"]
    exact = model(windows).numpy()
    ours = np.stack([logits(runner, window) for window in windows])
    assert np.abs(ours - exact).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize("kind", ["lstm", "crnn"])
def test_a_recurrent_network_in_integers_is_refused(kind: str, windows: np.ndarray) -> None:
    model = build_network(kind, "S", *SHAPE, 5, inverse_dct=None, dropout=0.1)
    with pytest.raises(TrainingError, match=r"set quantisation\.kind = \"dynamic_range\""):
        convert(model, QuantisationTable(kind="int8"), windows)


def test_a_convolutional_network_becomes_integers_throughout(windows: np.ndarray) -> None:
    runner = interpreter(convert(network("ds_cnn"), QuantisationTable(kind="int8"), windows))
    types = {np.dtype(tensor["dtype"]) for tensor in runner.get_tensor_details()}
    assert types <= {np.dtype(np.int8), np.dtype(np.int32)}


def test_float32_is_the_network_as_it_is(windows: np.ndarray) -> None:
    model = network("lstm")
    runner = interpreter(convert(model, QuantisationTable(kind="float32"), windows))
    ours = np.stack([logits(runner, window) for window in windows])
    np.testing.assert_allclose(ours, model(windows).numpy(), rtol=1e-3, atol=1e-3)
