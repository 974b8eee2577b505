"""SqueezeExcite in models: the operations that it lowers to, layouts, and compilation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from excite_formula import SQUEEZES, excite, features, with_random_weights
from keras_se import SqueezeExcite
from keras_se.export.conversion.converter import to_tflite


def test_is_added_to_a_sequential_model_like_any_layer():
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(64, 3, padding="same", activation="relu")])
    model.add(SqueezeExcite(r=16))
    model.add(keras.layers.GlobalAveragePooling2D())
    model.add(keras.layers.Dense(10))
    assert model.layers[1].output.shape == (None, 32, 32, 64)
    assert model.predict(features(2, 32, 32, 3), verbose=0).shape == (2, 10)


def test_sequential_model_without_an_input_is_built_by_its_first_batch():
    model = keras.Sequential([keras.layers.Conv2D(32, 3)])
    model.add(SqueezeExcite(r=16))
    assert model(features(2, 8, 8, 3)).shape == (2, 6, 6, 32)


def test_lowers_to_five_builtin_operations():
    inputs = keras.Input((8, 8, 32))
    model = keras.Model(inputs, SqueezeExcite(16)(inputs))
    assert to_tflite(model).operation_counts == {"MEAN": 1, "CONV_2D": 2, "LOGISTIC": 1, "MUL": 1}


def test_channels_first_lowers_to_the_same_operations_and_two_changes_of_shape():
    inputs = keras.Input((32, 8, 8))
    model = keras.Model(inputs, SqueezeExcite(16, data_format="channels_first")(inputs))
    expected = {"MEAN": 1, "RESHAPE": 2, "CONV_2D": 2, "LOGISTIC": 1, "MUL": 1}
    assert to_tflite(model).operation_counts == expected


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("squeeze", SQUEEZES)
def test_convolves_with_channels_last(squeeze, data_format):
    """TensorFlow convolves channels first on a CPU only through oneDNN, which not every processor has."""
    layer = SqueezeExcite(4, squeeze=squeeze, data_format=data_format)
    layer.build((2, 16, 16, 16))
    shape = tf.TensorSpec((2, 16, 16, 16), "float32")
    graph = tf.function(layer).get_concrete_function(shape).graph
    layouts = [node.get_attr("data_format") for node in graph.get_operations() if node.type == "Conv2D"]
    assert layouts == [b"NHWC", b"NHWC"]


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_a_softmax_gate_is_taken_over_the_channels(data_format):
    u = features(2, 5, 7, 16)
    x = u if data_format == "channels_last" else u.transpose(0, 3, 1, 2)
    layer = SqueezeExcite(4, gate="softmax", data_format=data_format)
    layer.build(x.shape)
    w1, b1, w2, b2 = with_random_weights(layer, channels=16, hidden=4)
    logits = np.maximum(u.mean((1, 2), keepdims=True) @ w1.T + b1, 0) @ w2.T + b2
    gate = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    y = keras.ops.convert_to_numpy(layer(x))
    y = y if data_format == "channels_last" else y.transpose(0, 2, 3, 1)
    # As above.
    np.testing.assert_allclose(y, gate * u, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("squeeze", SQUEEZES)
def test_channels_first_in_mixed_precision_with_an_unknown_size_compiled(squeeze):
    inputs = keras.Input((16, None, None))
    layer = SqueezeExcite(4, squeeze=squeeze, data_format="channels_first", dtype="mixed_float16")
    model = keras.Model(inputs, layer(inputs))
    weights = with_random_weights(layer, channels=16, hidden=4)
    model.compile(jit_compile=True)
    for size in ((9, 6), (4, 11)):
        u = features(2, *size, 16)
        y = model.predict(u.transpose(0, 3, 1, 2), verbose=0)
        assert y.dtype == "float16"
        error = np.abs(y.transpose(0, 2, 3, 1) - excite(u, *weights, squeeze=squeeze))
        assert np.max(error / np.abs(u)) <= 4 * 2**-10  # as of the dtype policies
