"""Figures of blocks, on a network in which it is known which block tells the classes apart."""

import keras
import numpy as np
import pytest

from keras_se import SqueezeExcite
from keras_se.surgery.dead_gates import dead_gates
from keras_se.surgery.ranking import class_means, rank_blocks


@pytest.fixture
def network():
    """Class 1 where the first block's gate is open, which it is for bright images; the second's is always 0.5."""
    image = keras.Input((4, 4, 2))
    x = SqueezeExcite(2, name="tells")(image)
    x = SqueezeExcite(2, name="idle")(x)
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
    tells, idle, scores = model.get_layer("tells"), model.get_layer("idle"), model.layers[-1]
    tells.reduce.set_weights([np.ones((1, 1, 2, 1)) / 2, np.zeros(1)])
    tells.expand.set_weights([np.full((1, 1, 1, 2), 8.0), np.full(2, -4.0)])  # sigmoid(8 z - 4)
    idle.expand.set_weights([np.zeros((1, 1, 1, 2)), np.zeros(2)])
    # Below 0.3 of the mean times the gates it is class 0.
    scores.set_weights([np.array([[0.0, 1.0], [0.0, 0.0]]), np.array([0.1, 0.0])])
    return model


def test_the_block_that_tells_the_classes_apart_comes_first(network):
    brightness = np.array([0.3, 0.35, 0.7, 0.8])
    images = np.broadcast_to(brightness[:, None, None, None], (4, 4, 4, 2)).astype("float32")
    labels = np.array([0, 0, 1, 1])
    ranking = rank_blocks(network, images, labels)
    assert ranking.accuracy == 1
    assert [block.name for block in ranking.blocks] == ["tells", "idle"]
    tells, idle = ranking.most_worth()
    gates = 1 / (1 + np.exp(4 - 8 * brightness))
    np.testing.assert_allclose([tells.mean, tells.spread], [gates.mean(), gates.std()], rtol=1e-5)
    np.testing.assert_allclose(tells.between_classes, gates.reshape(2, 2).mean(1).std(), rtol=1e-5)
    held = brightness * gates.mean() * 0.5 > 0.1  # what the formula gives with that gate at its mean
    assert tells.accuracy_lost == 1 - np.mean(held == labels)
    assert (idle.mean, idle.spread, idle.accuracy_lost) == (0.5, 0, 0)


def test_a_gate_of_one_half_for_every_image_is_dead(network):
    images = np.random.default_rng(0).random((3, 4, 4, 2), "float32")
    assert dead_gates(network, images) == {"idle": 0.5}
    network.get_layer("idle").expand.bias.assign([30.0, 30.0])
    assert dead_gates(network, images) == {"idle": 1.0}
    network.get_layer("idle").expand.bias.assign([30.0, 0.0])
    assert dead_gates(network, images) == {}
    plain = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.Conv2D(2, 1)])
    assert dead_gates(plain, images) == {}


def test_means_are_of_the_classes_that_have_images():
    gate = np.array([[1.0], [3.0], [5.0]])
    np.testing.assert_array_equal(class_means(gate, np.array([4, 1, 4])), [[3.0], [3.0]])
