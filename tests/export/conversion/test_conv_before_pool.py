"""Order of SE's operations in an NPU's form: convolution before pooling, rescaling after downsampling."""

import keras
import numpy as np
import pytest
from lowered_blocks import se_before_a_stride, se_behind_a_wide_convolution

import keras_se
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.conversion.lowering import lower
from keras_se.export.conversion.lowering_config import (
    CONV_BEFORE_POOL,
    DECOMPOSED,
    LoweringConfig,
)
from keras_se.export.quantization.calibration import calibrate
from keras_se.export.quantization.quantizer import quantize
from keras_se.export.quantization.recipes import RECIPES
from keras_se.export.runtimes.registry import ENGINES


def outputs(content):
    """Each operation's name and the shape of what it writes."""
    graph = content.graph
    shapes = (list(map(int, graph.tensors[op.outputs[0]].shape)) for op in graph.operators)
    return list(zip(content.operation_names, shapes, strict=True))


def test_a_squeeze_behind_its_convolution_pools_the_hidden_channels_only():
    inputs = keras.Input((24, 24, 32))
    model = keras.Model(inputs, keras_se.SqueezeExcite(16)(inputs))
    content = to_tflite(lower(model, LoweringConfig(squeeze="conv_before_pool")))
    pooled = [shape for name, shape in outputs(content) if name == "AVERAGE_POOL_2D"]
    assert pooled == [[1, 12, 12, 2], [1, 6, 6, 2], [1, 1, 1, 2]]
    assert "MEAN" not in content.operation_counts


@pytest.mark.usefixtures("float64")
def test_on_a_wide_map_the_first_step_of_the_pooling_is_the_convolution(randomise):
    inputs = keras.Input((57, 112, 4))
    model = keras.Model(inputs, keras_se.SqueezeExcite(2)(keras.layers.Activation("hard_swish")(inputs)))
    randomise(model, 1)
    written = lower(model, CONV_BEFORE_POOL)
    [reduce] = [layer for layer in written.layers if layer.name.endswith("_reduce")]
    assert reduce.kernel.shape[:2] == reduce.strides == (3, 2)
    images = np.random.default_rng(1).normal(0, 3, (2, 57, 112, 4))
    np.testing.assert_allclose(written.predict_on_batch(images), model.predict_on_batch(images), rtol=1e-9)


@pytest.mark.parametrize("side", [65, 59])
def test_a_wide_map_of_a_side_that_no_step_divides_keeps_its_kernel(side):
    inputs = keras.Input((side, side, 4))
    written = lower(keras.Model(inputs, keras_se.SqueezeExcite(2)(inputs)), CONV_BEFORE_POOL)
    [reduce] = [layer for layer in written.layers if layer.name.endswith("_reduce")]
    assert reduce.kernel_size == (1, 1)


def test_rescaling_after_downsampling_costs_int8_little_when_a_gate_is_nearly_closed():
    """A channel that is 16 times as large before its gate of 1/16 would leave the other ones few steps of a range."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 8))
    large = np.where(np.arange(8) == 3, 16.0, 1.0)
    normal = keras.layers.BatchNormalization()
    excite = keras_se.SqueezeExcite(hidden=4)
    x = keras.layers.ReLU()(normal(inputs))
    x = keras.layers.DepthwiseConv2D(3, 2, padding="same", use_bias=False)(excite(x))
    model = keras.Model(inputs, keras.layers.ReLU()(keras.layers.BatchNormalization()(x)))
    normal.gamma.assign(large)
    excite.reduce.kernel.assign(0 * excite.reduce.kernel)
    excite.expand.bias.assign(np.log(1 / (large - 0.9)))  # the gates are 0.06 and 0.91
    images = np.random.default_rng(0).normal(size=(64, 16, 16, 8)).astype("float32")
    expected = model.predict_on_batch(images).reshape(len(images), -1)

    def decibels(lowering):
        float_file = to_tflite(lower(model, lowering))
        content = quantize(float_file, RECIPES["static_wi8_ai8"], calibrate(float_file, images))
        got = ENGINES["litert_reference"].run(content.content, images).values
        return 10 * np.log10((expected**2).sum() / ((got - expected) ** 2).sum())

    # This form rounds twice behind the convolution and not once: 3 dB if all roundings were alike.
    assert decibels(CONV_BEFORE_POOL) > decibels(DECOMPOSED) - 3


def test_a_rescaling_after_downsampling_is_of_a_quarter():
    inputs = keras.Input((24, 24, 32))
    model = keras.Model(inputs, se_before_a_stride(padding="same")(inputs))
    multiplied = {
        lowering: [shape for name, shape in outputs(to_tflite(lower(model, lowering))) if name == "MUL"]
        for lowering in (DECOMPOSED, CONV_BEFORE_POOL)
    }
    assert multiplied == {DECOMPOSED: [[1, 24, 24, 32]], CONV_BEFORE_POOL: [[1, 12, 12, 32]]}


def test_a_squeeze_behind_a_wide_convolution_reads_what_that_reads():
    inputs = keras.Input((24, 24, 4))
    model = keras.Model(inputs, se_behind_a_wide_convolution(inputs))
    written = lower(model, CONV_BEFORE_POOL)
    [reduce] = [layer for layer in written.layers if layer.name.endswith("_reduce")]
    assert tuple(reduce.kernel.shape) == (1, 1, 4, 4)
