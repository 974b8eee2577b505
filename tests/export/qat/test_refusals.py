"""`quantize_aware` refuses, with a remedy, what it cannot rewrite and what it cannot calibrate on."""

import keras
import numpy as np
import pytest

from keras_se.errors import InputError
from keras_se.export import quantize_aware


def images_of(pixels=8, number=8):
    return np.random.default_rng(0).random((number, pixels, pixels, 3), "float32")


def test_an_unknown_target_is_refused(trained):
    with pytest.raises(InputError, match=r"target must be one of phone_cpu, .* got 'toaster'"):
        quantize_aware(trained.model, calibration=trained.images[:2], target="toaster")


def test_a_layer_without_an_int8_form_is_named():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.LayerNormalization(name="odd_one")(keras.layers.Conv2D(4, 3)(inputs)))
    with pytest.raises(InputError, match="no int8 form of a LayerNormalization; got the layer odd_one"):
        quantize_aware(model, calibration=images_of(number=2))


REFUSED = {
    "RandomFlip": (keras.layers.RandomFlip(name="odd"), "apply it to the images before"),
    "Resizing": (keras.layers.Resizing(8, 8, name="odd"), "apply it to the images before"),
    "Normalization": (
        keras.layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.1, 0.2, 0.3], name="odd"),
        "write it as Rescaling",
    ),
    "SeparableConv2D": (keras.layers.SeparableConv2D(4, 3, name="odd"), "write it as DepthwiseConv2D and Conv2D"),
    "Conv1D": (keras.layers.Conv1D(4, 3, name="odd"), "write it as Conv2D with one row"),
    "Lambda": (keras.layers.Lambda(lambda x: 2 * x, name="odd"), "write it in Keras's layers"),
    "UpSampling2D": (keras.layers.UpSampling2D(2, name="odd"), "replace it, or quantize after training"),
}


@pytest.mark.parametrize(("layer", "remedy"), REFUSED.values(), ids=REFUSED)
def test_a_layer_without_an_int8_form_is_refused_with_a_remedy(on_images, layer, remedy):
    before, behind = [], []
    if isinstance(layer, keras.layers.Conv1D):
        before, behind = [keras.layers.Reshape((64, 3))], [keras.layers.Reshape((62, 4, 1))]
    model = on_images(*before, layer, *behind)
    kind = type(layer).__name__
    with pytest.raises(InputError, match=f"no int8 form of a {kind}; got the layer odd: {remedy}"):
        quantize_aware(model, calibration=images_of())


def test_a_layer_that_is_called_twice_is_refused_by_name(on_images):
    shared = keras.layers.Conv2D(3, 3, padding="same", name="shared")
    with pytest.raises(InputError, match="called once; got shared, called 2 times: give each call a layer of its own"):
        quantize_aware(on_images(shared, shared), calibration=images_of())


@pytest.mark.parametrize("images", [None, np.zeros((0, 32, 32, 3), "float32"), np.zeros((2, 8, 8, 3), "float32")])
def test_unfit_calibration_images_are_refused(trained, images):
    with pytest.raises(InputError, match="calibration images"):
        quantize_aware(trained.model, calibration=images)


def test_an_unknown_calibration_method_is_refused(trained):
    with pytest.raises(InputError, match=r"calibration_method must be one of .* got 'entropy'"):
        quantize_aware(trained.model, calibration=trained.images[:2], method="entropy")


def test_an_unknown_engine_is_refused(trained):
    with pytest.raises(InputError, match="engine must be one of keras, tfmot; got 'torch'"):
        quantize_aware(trained.model, calibration=trained.images[:2], engine="torch")
