"""Grouped convolution against Keras's own, and its gradient against that of one convolution a group."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_se import macs
from keras_se.layers.grouped_conv2d import GroupedConv2D

RNG = np.random.default_rng(0)
# Channels, groups, filters: one dense convolution in training, several (64 channels each), and one a group.
SHAPES = [(12, 3, 24), (128, 32, 128), (256, 4, 32)]


def layer_and_input(channels, groups, filters, **arguments):
    layer = GroupedConv2D(filters, 3, groups=groups, padding="same", **arguments)
    x = RNG.normal(size=(2, 5, 4, channels)).astype("float32")
    layer.build(x.shape)
    for weight in layer.weights:
        weight.assign(RNG.normal(size=weight.shape))
    return layer, x


def one_by_one(layer, x):
    """A convolution a group, concatenated: what "grouped" means."""
    parts = zip(tf.split(x, layer.groups, -1), tf.split(layer.kernel.value, layer.groups, -1), strict=True)
    return tf.concat([tf.nn.conv2d(part, kernel, layer.strides, "SAME") for part, kernel in parts], -1)


def with_gradients(function, layer, x):
    """Return the outputs, and the gradients of a weighted sum of them for the input and the kernel."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
        weighted = tf.reduce_sum(y * tf.reshape(tf.cos(tf.range(tf.size(y), dtype="float32")), y.shape))
    return [np.array(y), *map(np.array, tape.gradient(weighted, [x, layer.kernel.value]))]


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_training_computes_one_convolution_a_group_and_its_gradients(shape, strides):
    layer, x = layer_and_input(*shape, strides=strides, use_bias=False)
    computed = with_gradients(lambda x: layer(x, training=True), layer, x)
    for value, expected in zip(computed, with_gradients(lambda x: one_by_one(layer, x), layer, x), strict=True):
        # 1e-5 of the greatest: float32 sums of up to 576 products, in another order.
        np.testing.assert_allclose(value, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("arguments", [{}, {"use_bias": False}, {"activation": "relu", "strides": 2}])
def test_inference_and_training_compute_what_keras_does(arguments):
    layer, x = layer_and_input(128, 32, 64, **arguments)
    keras_layer = keras.layers.Conv2D(64, 3, groups=32, padding="same", **arguments)
    keras_layer.build(x.shape)
    keras_layer.set_weights(layer.get_weights())
    expected = np.array(keras_layer(x))
    np.testing.assert_array_equal(np.array(layer(x)), expected)
    np.testing.assert_allclose(np.array(layer(x, training=True)), expected, atol=1e-5 * np.abs(expected).max())


def test_it_has_keras_weights_and_costs_them_at_each_position():
    layer, x = layer_and_input(12, 3, 24)
    assert [tuple(weight.shape) for weight in layer.weights] == [(3, 3, 4, 24), (24,)]
    inputs = keras.Input(x.shape[1:])
    assert macs(keras.Model(inputs, layer(inputs))) == 5 * 4 * 3 * 3 * 4 * 24


def test_training_is_a_few_dense_convolutions_and_inference_is_one():
    layer, x = layer_and_input(256, 64, 256, use_bias=False)

    def convolutions(training):
        graph = tf.function(lambda x: layer(x, training=training)).get_concrete_function(tf.constant(x)).graph
        functions = [function.definition.node_def for function in graph._functions.values()]
        nodes = [*graph.as_graph_def().node, *(node for body in functions for node in body)]
        return sum(node.op == "Conv2D" for node in nodes)

    assert convolutions(training=True) == 4  # of 256 channels, at least 64 each
    assert convolutions(training=False) == 1


def test_mixed_precision_trains():
    layer, x = layer_and_input(12, 3, 24, dtype="mixed_float16")
    assert layer(x, training=True).dtype == "float16"


def test_config_round_trip():
    layer, x = layer_and_input(12, 3, 24, strides=2)
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert isinstance(again, GroupedConv2D)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(np.array(again(x)), np.array(layer(x)))


def test_refuses_channels_that_the_groups_do_not_divide():
    with pytest.raises(ValueError, match="groups=3"):
        GroupedConv2D(24, 3, groups=3).build((None, 5, 5, 10))
