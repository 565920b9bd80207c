"""Networks: shapes, sizes, names, and a copy for one window at a time."""

from __future__ import annotations

import numpy as np
import pytest

from streamcls.errors import TrainingError
from streamcls.training.networks import RECURRENT, build_network, kind_of, rebuild, with_teacher_head
from streamcls.training.tensorflow import load_tensorflow

pytest.importorskip("tensorflow", reason="training is not installed")

KINDS = ["ds_cnn", "lstm", "crnn"]
SIZES = ["S", "M", "L"]


@pytest.fixture
def windows() -> np.ndarray:
    return np.random.default_rng(4).standard_normal((3, 43, 32)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_gives_a_logit_per_label_from_its_embedding(kind: str, windows: np.ndarray) -> None:
    model = build_network(kind, "S", 43, 32, 5, inverse_dct=None, dropout=0.1)
    assert model(windows).shape == (3, 5)
    assert model.get_layer("logits").input is model.get_layer("dropout").output
    assert model.get_layer("dropout").input is model.get_layer("embedding").output


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_grow(kind: str) -> None:
    counts = [build_network(kind, size, 43, 32, 5, inverse_dct=None, dropout=0.0).count_params() for size in SIZES]
    assert counts[0] < counts[1] / 2 < counts[2] / 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_teacher_head_shares_everything_and_leaves_the_logits_alone(kind: str, windows: np.ndarray) -> None:
    model = build_network(kind, "S", 43, 32, 5, inverse_dct=None, dropout=0.0)
    before = model(windows).numpy()
    taught = with_teacher_head(model, 21)
    logits, head = taught(windows)
    assert head.shape == (3, 21)
    np.testing.assert_array_equal(logits.numpy(), before)
    taught.set_weights([value + 1e-3 for value in taught.get_weights()])
    assert not np.array_equal(model(windows).numpy(), before)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_layer_undoes_the_cosine_transform_and_can_be_trained(kind: str) -> None:
    matrix = np.random.default_rng(5).standard_normal((32, 32)).astype(np.float32)
    model = build_network(kind, "S", 43, 32, 5, inverse_dct=matrix, dropout=0.0)
    layer = model.get_layer("to_bands")
    np.testing.assert_array_equal(layer.get_weights()[0], matrix)
    assert layer.trainable_weights


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_name_tells_kind_and_size(kind: str, size: str) -> None:
    model = build_network(kind, size, 43, 32, 5, inverse_dct=None, dropout=0.0)
    assert kind_of(model) == (kind, size)


def test_a_model_of_another_origin_is_refused() -> None:
    class Model:
        name = "functional_3"

    with pytest.raises(TrainingError, match=r"'functional_3' is none of ds_cnn, lstm, crnn"):
        kind_of(Model())


@pytest.mark.parametrize("inverse_dct", [None, np.eye(32, dtype=np.float32)], ids=["bands", "coefficients"])
@pytest.mark.parametrize("kind", sorted(RECURRENT))
def test_a_copy_for_one_window_at_a_time_gives_the_same_logits(
    kind: str, inverse_dct: np.ndarray | None, windows: np.ndarray
) -> None:
    rng = np.random.default_rng(6)
    model = build_network(kind, "S", 43, 32, 5, inverse_dct=inverse_dct, dropout=0.3)
    model.set_weights([np.abs(value + 0.1 * rng.standard_normal(value.shape)) for value in model.get_weights()])
    copy = rebuild(model, load_tensorflow().keras, batch=1)
    assert copy.input_shape == (1, 43, 32)
    for window in windows:
        np.testing.assert_allclose(copy(window[None]).numpy(), model(window[None]).numpy(), rtol=1e-4, atol=1e-4)
