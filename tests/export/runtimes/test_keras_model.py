"""Keras's own outputs, which files are held to."""

import keras
import numpy as np
import pytest

from keras_se.export.runtimes.keras_model import run_keras


@pytest.mark.parametrize("images", [1, 32, 35, 65])
def test_each_image_has_its_outputs_however_many_there_are(images):
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(5)])
    pixels = np.random.default_rng(0).random((images, 4, 4, 3), "float32")
    kernel, bias = model.layers[-1].get_weights()
    expected = pixels.reshape(images, -1) @ kernel + bias
    np.testing.assert_allclose(run_keras(model, pixels).values, expected, rtol=0, atol=1e-5)  # sums of 48 in float32
