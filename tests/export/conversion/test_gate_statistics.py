"""Gates that batch statistics foretell, against the mean of gates that images give."""

import keras
import numpy as np
import pytest

import keras_se
from keras_se.export.conversion.gate_statistics import mean_gate


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("activation", ["relu", "relu6", "hard_swish", "silu", None])
def test_it_is_near_the_mean_gate_of_normal_inputs(activation, learned, randomise):
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 6))
    normal = keras.layers.BatchNormalization(scale=learned, center=learned)
    excite = keras_se.SqueezeExcite(hidden=4)
    x = normal(image)
    x = keras.layers.Activation(activation)(x) if activation else x
    model = keras.Model(image, [x, excite(x)])
    if learned:
        randomise(model, 0)
    images = np.random.default_rng(0).normal(normal.moving_mean, np.sqrt(normal.moving_variance), (64, 32, 32, 6))
    maps, rescaled = (np.asarray(output) for output in model(images))
    gates = rescaled.sum((1, 2)) / maps.sum((1, 2))
    np.testing.assert_allclose(mean_gate(excite), gates.mean(0), rtol=0.02)


@pytest.mark.parametrize("squeeze", ["avg", "max", "none"])
@pytest.mark.parametrize("before", ["BatchNormalization", "LayerNormalization"])
def test_it_is_known_for_a_mean_behind_batch_normalisation_alone(squeeze, before):
    excite = keras_se.SqueezeExcite(2, squeeze=squeeze)
    excite(getattr(keras.layers, before)()(keras.Input((8, 8, 4))))
    assert (mean_gate(excite) is None) == ((squeeze, before) != ("avg", "BatchNormalization"))


def test_it_is_not_known_behind_a_normalisation_of_rows():
    excite = keras_se.SqueezeExcite(2)
    excite(keras.layers.BatchNormalization(axis=1)(keras.Input((8, 8, 4))))
    assert mean_gate(excite) is None


def test_it_is_not_known_on_the_image_itself():
    excite = keras_se.SqueezeExcite(2)
    excite(keras.Input((8, 8, 4)))
    assert mean_gate(excite) is None
