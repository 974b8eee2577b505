"""Layers of a quantization-aware model against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_se.export.qat.fake_quant import FakeQuantize, RoundedWeights
from keras_se.export.quantization.weight_rounding import rounded_kernel

RNG = np.random.default_rng(0)


def quantized(x, low, high):
    """Round by the specification of int8: a scale of the range over 255, a zero point that is one of the values."""
    scale = (high - low) / 255
    zero = np.clip(np.round(-128 - low / scale), -128, 127)
    return (np.clip(np.round(x / scale) + zero, -128, 127) - zero) * scale


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 2.0), (-0.3, 0.0), (0.0, 255 / 256), (-1.0, 127 / 128)])
def test_values_are_those_of_an_int8_tensor(low, high, learned):
    x = RNG.uniform(1.3 * low - 0.1, 1.3 * high + 0.1, 10_000)
    scale = (high - low) / 255
    # What lies within 1e-3 of the middle between two values may be rounded to either in float32.
    x = x[np.abs((x / scale) % 1 - 0.5) > 1e-3].astype("float32")
    got = np.asarray(FakeQuantize(low, high, learned=learned)(x))
    np.testing.assert_allclose(got, quantized(x, low, high), atol=1e-3 * scale)
    assert FakeQuantize(low, high, learned=learned)(np.zeros(1, "float32"))[0] == 0


def test_gradients_pass_inside_the_range_and_move_its_ends_outside():
    layer = FakeQuantize(-1.0, 1.0, learned=True)
    x = tf.constant([-3.0, -0.5, 0.25, 2.0, 5.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(layer(x) * tf.constant([1.0, 2.0, 3.0, 4.0, 5.0]))
    inputs, ends = tape.gradient(loss, [x, layer.trainable_variables[0].value])
    np.testing.assert_allclose(inputs, [0, 2, 3, 0, 0])
    np.testing.assert_allclose(ends, [1, 4 + 5])


def test_a_range_that_training_turned_round_stays_one():
    layer = FakeQuantize(0.0, 1.0, learned=True)
    layer(np.zeros(1, "float32"))
    layer.trainable_variables[0].assign([0.5, -0.5])
    low, high = layer.range()
    assert low <= 0 <= high
    assert high > low
    assert np.isfinite(layer(np.ones(3, "float32"))).all()


@pytest.mark.parametrize("ends", [(0.5, 1.0), (-1.0, -0.5), (0.0, 1e-4), (float("nan"), 1.0)])
def test_a_range_without_zero_or_width_is_refused(ends):
    with pytest.raises(ValueError, match=f"must include 0 .* got {ends[0]}"):
        FakeQuantize(*ends)


KERNELS = {
    "Conv2D": (lambda: keras.layers.Conv2D(5, 3), (0, 1, 2)),
    "DepthwiseConv2D": (lambda: keras.layers.DepthwiseConv2D(3, depth_multiplier=2), (0, 1)),
    "grouped Conv2D": (lambda: keras.layers.Conv2D(4, 3, groups=2), (0, 1, 2)),
    "Dense": (lambda: keras.layers.Dense(5), (0,)),
}


@pytest.mark.parametrize(("make", "of_a_filter"), KERNELS.values(), ids=KERNELS.keys())
def test_each_filter_is_rounded_in_127ths_of_its_greatest_weight(make, of_a_filter):
    x = RNG.normal(size=(2, 8, 8, 4)).astype("float32")
    layer = RoundedWeights(make())
    got = layer(x)
    exact = np.asarray(layer.layer.kernel) * RNG.uniform(0.1, 10, layer.layer.kernel.shape).astype("float32")
    layer.layer.kernel.assign(exact)
    step = np.abs(exact).max(of_a_filter, keepdims=True) / 127
    rounded = np.round(exact / step) * step
    assert not np.allclose(rounded, exact, atol=1e-4)
    np.testing.assert_allclose(np.asarray(rounded_kernel(layer.layer)), rounded, rtol=1e-6, atol=1e-7)
    plain = make()
    plain.build(x.shape)
    plain.kernel.assign(rounded)
    np.testing.assert_allclose(layer(x), plain(x), rtol=1e-5, atol=1e-5)
    assert got.shape == plain(x).shape


def test_a_kernel_learns_through_its_rounding():
    layer = RoundedWeights(keras.layers.Dense(3, use_bias=False))
    x = RNG.normal(size=(4, 2)).astype("float32")
    layer(x)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x))
    gradient = tape.gradient(loss, layer.trainable_variables[0].value)
    np.testing.assert_allclose(gradient, np.repeat(x.sum(0)[:, None], 3, 1), rtol=1e-6)


def test_a_filter_of_zeros_stays_zero():
    layer = RoundedWeights(keras.layers.Dense(3, kernel_initializer="zeros"))
    assert not np.asarray(layer(np.ones((1, 2), "float32"))).any()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_rounds_the_float32_weights_and_ranges(policy):
    layer = RoundedWeights(keras.layers.Dense(64, use_bias=False, dtype=policy))
    x = np.eye(32, dtype="float32")
    output = layer(x)
    assert output.dtype.name == layer.layer.compute_dtype
    kernel = np.asarray(layer.layer.kernel)
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(output, np.asarray(rounded_kernel(layer.layer)).astype(output.dtype.as_numpy_dtype))
    rounding = FakeQuantize(0.0, 1.0, learned=True, dtype=policy)
    assert rounding(output).dtype == output.dtype
    assert rounding.trainable_variables[0].dtype == "float32"
