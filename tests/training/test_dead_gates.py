"""SE that does nothing is named when training ends."""

import keras
import numpy as np

import keras_se
from keras_se.preprocessing import Preprocessing
from keras_se.training.data.sources import load_source
from keras_se.training.trainer import name_dead_gates


def test_a_gate_that_is_closed_for_every_image_is_named_with_the_remedy(capsys):
    image = keras.Input((8, 8, 3))
    x = keras_se.SqueezeExcite(1, name="open_se")(image)
    x = keras_se.SqueezeExcite(1, name="closed_se")(x)
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))
    for layer in (model.get_layer("open_se").reduce, model.get_layer("open_se").expand):
        layer.kernel.assign(np.ones(layer.kernel.shape))
    model.get_layer("closed_se").expand.bias.assign([-100.0] * 3)
    name_dead_gates(model, load_source("digits"), Preprocessing(8, 8))
    printed = capsys.readouterr().err
    assert "for each of 16 training images: closed_se (0); keras_se.fold_constant" in printed
