from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit, softmax

from streamcls.errors import BundleError
from streamcls.inference import Calibration, Quantisation, dequantise, quantise

ANY_LOGITS = arrays(np.float32, 5, elements=st.floats(width=32, allow_nan=False))
SANE_LOGITS = arrays(np.float32, 5, elements=st.floats(-50, 50, width=32))


@settings(deadline=None)
@given(logits=SANE_LOGITS, temperature=st.floats(0.1, 10))
def test_each_activation_is_its_textbook_formula(logits: np.ndarray, temperature: float) -> None:
    bias = (0.5, -1.0, 0.0, 2.0, 0.25)
    scaled = logits.astype(np.float64) / temperature + np.array(bias)
    for activation, expected in (
        ("softmax", softmax(scaled)),
        ("sigmoid", expit(scaled)),
        ("identity", scaled.clip(0, 1)),
    ):
        got = Calibration(activation, temperature, bias).posterior(logits)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, atol=1e-6)


@settings(deadline=None)
@given(
    logits=ANY_LOGITS,
    temperature=st.sampled_from([1e-300, 1e-3, 1.0, 1000.0]),
    large=st.sampled_from([0.0, 1e308, -1e308]),
)
def test_extreme_outputs_still_give_probabilities(logits: np.ndarray, temperature: float, large: float) -> None:
    for activation in ("softmax", "sigmoid", "identity"):
        got = Calibration(activation, temperature, (large, 0.0, 0.0, 0.0, 0.0)).posterior(logits)
        assert np.all((got >= 0) & (got <= 1))
        if activation == "softmax":
            assert got.sum() == pytest.approx(1.0, abs=1e-5)


@settings(deadline=None)
@given(logits=SANE_LOGITS)
def test_calibration_without_bias_keeps_the_order(logits: np.ndarray) -> None:
    for activation in ("softmax", "sigmoid"):
        got = Calibration(activation, 2.0).posterior(logits)
        assert got[np.argmax(logits)] == got.max()


def test_infinite_outputs_are_certain() -> None:
    logits = np.array([math.inf, 0.0, -math.inf], np.float32)
    assert Calibration("softmax").posterior(logits).tolist() == [1.0, 0.0, 0.0]
    assert Calibration("sigmoid").posterior(logits).tolist() == [1.0, 0.5, 0.0]
    assert Calibration("softmax").posterior(np.full(2, -math.inf, np.float32)).tolist() == [0.5, 0.5]


def test_a_model_that_puts_out_nan_is_called_damaged() -> None:
    for activation in ("softmax", "sigmoid", "identity"):
        with pytest.raises(BundleError, match="the model put out NaN for label 1"):
            Calibration(activation).posterior(np.array([0.0, math.nan, 1.0], np.float32))


def test_a_posterior_cannot_be_written_and_the_logits_stay() -> None:
    logits = np.array([1.0, 2.0], np.float32)
    posterior = Calibration("identity").posterior(logits)
    with pytest.raises(ValueError, match="read-only"):
        posterior[0] = 0
    assert logits.tolist() == [1.0, 2.0]


def test_a_higher_temperature_makes_less_sure() -> None:
    logits = np.array([2.0, 0.0], np.float32)
    assert Calibration("softmax", 4.0).posterior(logits)[0] < Calibration("softmax", 1.0).posterior(logits)[0]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@settings(deadline=None)
@given(
    scale=st.floats(1e-4, 10),
    zero_point=st.integers(-128, 127),
    integers=arrays(np.int16, 20, elements=st.integers(-128, 127)),
)
def test_integers_survive_the_way_to_reals_and_back(
    dtype: type, scale: float, zero_point: int, integers: np.ndarray
) -> None:
    shift = 128 if dtype is np.uint8 else 0
    parameters = Quantisation(scale, zero_point + shift)
    values = (integers + shift).astype(dtype)
    again = quantise(dequantise(values, parameters), parameters, dtype)
    assert again.dtype == dtype
    np.testing.assert_array_equal(again, values)


@settings(deadline=None)
@given(values=arrays(np.float32, 20, elements=st.floats(-3, 3, width=32)))
def test_reals_inside_the_range_come_back_within_half_a_step(values: np.ndarray) -> None:
    parameters = Quantisation(0.025, 3)
    again = dequantise(quantise(values, parameters, np.int8), parameters)
    inside = (values >= (-128 - 3) * 0.025) & (values <= (127 - 3) * 0.025)
    assert np.all(np.abs(again - values)[inside] <= 0.0126)


def test_reals_outside_the_range_are_clipped_and_never_wrap() -> None:
    values = np.array([1e6, -1e6, math.inf, -math.inf], np.float32)
    assert quantise(values, Quantisation(0.1, 0), np.int8).tolist() == [127, -128, 127, -128]
    assert quantise(values, Quantisation(0.1, 128), np.uint8).tolist() == [255, 0, 255, 0]


def test_the_formula_is_tensorflow_lites() -> None:
    assert dequantise(np.array([-128, 0, 127], np.int8), Quantisation(0.5, -28)).tolist() == [-50.0, 14.0, 77.5]
    assert quantise(np.array([-50.0, 14.0, 77.5], np.float32), Quantisation(0.5, -28), np.int8).tolist() == [
        -128,
        0,
        127,
    ]
