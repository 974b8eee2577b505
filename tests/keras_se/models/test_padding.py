"""Padding and pooling of strided layers against the windows of PyTorch."""

import keras
import numpy as np
import pytest

import keras_se
from keras_se.models.blocks import conv_bn, depthwise_bn, pool_stem
from published_networks import assert_close


def images(model, count=2):
    return np.random.default_rng(0).random((count, *model.input_shape[1:]), "float32")


def flipped(x):
    return x[:, ::-1, ::-1]


@pytest.mark.parametrize("size", [(8, 8), (9, 9), (8, 9)])
@pytest.mark.parametrize(("kernel", "layer"), [(3, conv_bn), (7, conv_bn), (5, depthwise_bn)])
def test_symmetric_padding_is_keras_padding_of_the_flipped_image(kernel, layer, size):
    """Half the kernel on each side, of which the last is not reached from an even size; Keras's is the reverse."""
    arguments = (4, kernel) if layer is conv_bn else (kernel,)
    inputs = keras.Input((*size, 4))
    same, symmetric = (
        keras.Model(inputs, layer(inputs, *arguments, "layer", stride=2, padding=padding))
        for padding in ("same", "symmetric")
    )
    kernels, *norm = same.get_weights()
    kernels = np.random.default_rng(0).normal(size=kernels.shape)
    same.set_weights([kernels[::-1, ::-1], *norm])
    symmetric.set_weights([kernels, *norm])
    x = images(same)
    assert_close(symmetric.predict(x, verbose=0), flipped(same.predict(flipped(x), verbose=0)), of=1e-6)


def window_maxima(x, starts):
    """Maximum of the three values from each start on along an axis, as far as there are so many."""
    return np.stack([x[:, max(start, 0) : start + 3].max(axis=1) for start in starts], axis=1)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("size", [(8, 8), (9, 9), (8, 9)])
@pytest.mark.parametrize(
    ("pool", "starts"),
    [
        ("ceil", {8: (0, 2, 4, 6), 9: (0, 2, 4, 6)}),  # torch: MaxPool2d(3, 2, ceil_mode=True)
        ("padded", {8: (-1, 1, 3, 5), 9: (-1, 1, 3, 5, 7)}),  # torch: MaxPool2d(3, 2, padding=1)
    ],
)
def test_stem_pools_the_windows_of_torch(pool, starts, size, known):
    inputs = keras.Input((*(size if known else (None, None)), 2))
    model = keras.Model(inputs, pool_stem(inputs, pool))
    x = np.random.default_rng(0).random((2, *size, 2), "float32")
    rows = window_maxima(x, starts[size[0]])
    expected = window_maxima(rows.swapaxes(1, 2), starts[size[1]]).swapaxes(1, 2)
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)


@pytest.mark.parametrize(
    ("name", "arguments", "padded"),
    [
        ("se_resnext50_32x4d", {}, 0),
        ("se_resnext50_32x4d", {"padding": "symmetric"}, 4),  # the stem and three 3x3
        ("se_resnext50_32x4d", {"padding": "symmetric", "stem_pool": "padded"}, 5),
        ("senet154", {"padding": "symmetric"}, 7),  # and three projections
        ("mobilenet_v3_small", {}, 0),
        ("mobilenet_v3_small", {"padding": "symmetric"}, 5),
    ],
)
def test_only_what_has_a_stride_is_padded_explicitly(name, arguments, padded):
    with keras.StatelessScope(initialize_variables=False):
        model = keras_se.create_model(name, input_shape=(64, 64, 3), **arguments)
    assert sum(isinstance(layer, keras.layers.ZeroPadding2D) for layer in model.layers) == padded
