"""A model written out computes what it computed, in Keras's own layers only."""

import keras
import numpy as np
import pytest

import keras_se
from keras_se.export.conversion.decompose import written_out
from published_networks import NETWORKS, rounding_of

FAST = ("mobilenet_v3_small",)


@pytest.mark.parametrize("fold", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("name", FAST)
@pytest.mark.usefixtures("float64")
def test_a_network_written_out_is_the_same_function(name, fold, rewritten):
    written, got, expected = rewritten(name, lambda model: written_out(model, fold=fold))
    np.testing.assert_allclose(got, expected, rtol=0, atol=rounding_of(name) * np.abs(expected).max())
    kinds = {type(layer) for layer in written.layers}
    assert not fold or keras.layers.BatchNormalization not in kinds
    assert all(kind.__module__.startswith("keras.src.layers") for kind in kinds)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*NETWORKS} - set(FAST)))
@pytest.mark.usefixtures("float64")
def test_every_other_network_written_out_is_the_same_function(name, rewritten):
    written, got, expected = rewritten(name, lambda model: written_out(model, fold=True))
    np.testing.assert_allclose(got, expected, rtol=0, atol=rounding_of(name) * np.abs(expected).max())
    assert keras.layers.BatchNormalization not in {type(layer) for layer in written.layers}


def small(block, randomise):
    """A model of one image input around `block`, with random weights, and its image."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, block(inputs))
    randomise(model, 1)
    return model, np.random.default_rng(1).normal(size=(2, 8, 8, 4)).astype("float32")


def conv_read_twice(x):
    y = keras.layers.Conv2D(4, 3, padding="same", name="conv")(x)
    return keras.layers.Add()([y, keras.layers.BatchNormalization()(y)])


def adapted(x):
    normalisation = keras.layers.Normalization()
    normalisation.adapt(np.random.default_rng(0).normal(3, 2, (50, 8, 8, 4)))
    return keras.layers.Conv2D(4, 3)(normalisation(x))


BLOCKS = {
    "a normalisation that was adapted": adapted,
    "a normalisation of given statistics": lambda x: keras.layers.Normalization(mean=2.0, variance=3.0)(x),
    "swish": lambda x: keras.layers.Conv2D(4, 3, activation="silu")(x),
    "hard sigmoid": lambda x: keras.layers.Conv2D(4, 3, activation="hard_sigmoid")(x),
    "hard sigmoid alone": lambda x: keras.layers.Activation("hard_sigmoid")(keras.layers.Add()([x, x])),
    "relu6": lambda x: keras.layers.DepthwiseConv2D(3, activation="relu6")(x),
    "dense and normalisation": lambda x: keras.layers.BatchNormalization()(
        keras.layers.Dense(5)(keras.layers.Flatten()(x))
    ),
    "normalisation alone": lambda x: keras.layers.BatchNormalization(scale=False)(x),
    "normalisation of a depthwise convolution with a multiplier": lambda x: keras.layers.BatchNormalization()(
        keras.layers.DepthwiseConv2D(3, depth_multiplier=2)(x)
    ),
    "rescaling of the input": lambda x: keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 127.5, -1)(x)),
    "rescaling of a vector": lambda x: keras.layers.Rescaling(2.0, 1.0)(keras.layers.GlobalAveragePooling2D()(x)),
    "a convolution that others read too": conv_read_twice,
    "maximum squeeze, hard gate": lambda x: keras_se.SqueezeExcite(2, squeeze="max", gate="hard_sigmoid")(x),
    "a gate of twice the sigmoid": lambda x: keras_se.SqueezeExcite(2, gate="double_sigmoid")(x),
    "no squeeze, ReLU gate": lambda x: keras_se.SqueezeExcite(2, squeeze="none", gate="relu")(x),
    "an operation without weights": lambda x: keras.ops.maximum(x, keras.layers.Conv2D(4, 1)(x)),
    "a model in a model": lambda x: keras.Sequential([keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()])(
        keras.layers.Conv2D(4, 1)(x)
    ),
}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS.keys())
@pytest.mark.parametrize("fold", [False, True])
def test_a_block_written_out_is_the_same_function(block, fold, randomise):
    model, images = small(block, randomise)
    expected = model.predict_on_batch(images)
    got = written_out(model, fold=fold).predict_on_batch(images)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)  # sums in another order


def test_the_model_itself_stays_as_it_was(randomise):
    model, images = small(lambda x: keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(x)), randomise)
    before = [np.array(weight) for weight in model.get_weights()]
    written = written_out(model, fold=True)
    written.set_weights([np.zeros_like(weight) for weight in written.get_weights()])
    assert model.predict_on_batch(images).any()
    for left, right in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(left, right)
