"""A pooling of one position becomes the stride of the convolution before it, and the normalisation goes there too."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_se.export import compare, export
from keras_se.export.conversion.lowering import lower
from keras_se.export.conversion.lowering_config import PLAIN

CHANNELS = 8
RNG = np.random.default_rng(0)


def network(size, convolution, pooling, *, read_again=False):
    """Convolution, pooling and normalisation, with statistics and weights that are not the initial ones."""
    image = keras.Input((size, size, CHANNELS))
    x = convolution(image)
    pooled = layers.BatchNormalization(name="norm")(pooling(x))
    outputs = layers.GlobalAveragePooling2D()(layers.ReLU()(pooled))
    if read_again:
        outputs = layers.Concatenate()([outputs, layers.GlobalMaxPooling2D()(x)])
    model = keras.Model(image, outputs)
    norm = model.get_layer("norm")
    norm.set_weights([RNG.uniform(0.5, 1.5, weights.shape) for weights in norm.get_weights()])
    return model


def convolutions(model):
    return [layer for layer in model.layers if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D)]


@pytest.mark.parametrize("kind", [layers.DepthwiseConv2D, lambda *kernel, **own: layers.Conv2D(4, *kernel, **own)])
@pytest.mark.parametrize("pooling", [layers.MaxPooling2D, layers.AveragePooling2D])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "zeros"),
    [
        (9, 3, 1, "same", 0),
        (10, 3, 1, "same", 1),  # of 10, TensorFlow puts a zero on both sides, and at a stride of 2 behind alone
        (12, 5, 1, "same", 1),
        (10, 3, 2, "same", 0),
        (11, 4, 1, "same", 0),
        (10, 3, 1, "valid", 0),
        (9, 2, 2, "valid", 0),
    ],
)
@pytest.mark.usefixtures("float64")
def test_the_function_stays_and_one_convolution_is_left(kind, pooling, size, kernel, stride, padding, zeros):
    model = network(size, kind(kernel, strides=stride, padding=padding), pooling(1, 2))
    lowered = lower(model, PLAIN)
    [convolution] = convolutions(lowered)
    assert convolution.strides == (2 * stride, 2 * stride)
    assert sum(isinstance(layer, layers.ZeroPadding2D) for layer in lowered.layers) == zeros
    images = RNG.random((3, size, size, CHANNELS))
    expected = model.predict_on_batch(images)
    np.testing.assert_allclose(lowered.predict_on_batch(images), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("convolution", "again"), [(layers.DepthwiseConv2D(3), True), (layers.DepthwiseConv2D(3, dilation_rate=2), False)]
)
def test_a_convolution_that_is_read_again_or_dilated_keeps_its_stride(convolution, again):
    model = network(10, convolution, layers.MaxPooling2D(1, 2), read_again=again)
    lowered = lower(model, PLAIN)
    assert [layer.strides for layer in convolutions(lowered)] == [(1, 1), (2, 2)]
    images = RNG.random((3, 10, 10, CHANNELS))
    expected = model.predict_on_batch(images)
    np.testing.assert_allclose(lowered.predict_on_batch(images), expected, rtol=1e-9, atol=1e-9)


def test_channels_of_other_sizes_no_longer_share_a_range(tmp_path):
    """Kernels of a depthwise convolution that differ a thousandfold, as normalisation leaves them in training."""
    depthwise = layers.DepthwiseConv2D(3, padding="same", use_bias=False)
    model = network(16, depthwise, layers.MaxPooling2D(1, 2))
    depthwise.set_weights([RNG.uniform(-1, 1, (3, 3, CHANNELS, 1)) * np.geomspace(1e-3, 1, CHANNELS)[:, None]])
    images = RNG.random((32, 16, 16, CHANNELS), "float32")
    maps = keras.Model(model.input, model.get_layer("norm").input).predict(images, verbose=0)
    norm = model.get_layer("norm")
    norm.set_weights([*norm.get_weights()[:2], maps.mean((0, 1, 2)), maps.var((0, 1, 2))])
    [artifact] = export(model, tmp_path, recipes=["static_wi8_ai8"], target="edgetpu", calibration=images)
    assert artifact.manifest["operations"]["DEPTHWISE_CONV_2D"] == 1
    parity = compare(model, artifact.path, images, engine="litert_reference")
    assert parity.verdict == "pass"
    assert parity.sqnr_db > 40  # 51; with the pooling as a convolution of its own, 29
