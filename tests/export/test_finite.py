"""Numbers that no file can hold are refused before native code sees them."""

import keras
import numpy as np
import pytest

from keras_se.errors import InputError
from keras_se.export import check, export, quantize_aware
from keras_se.export.convert import to_tflite
from keras_se.export.parity import _decibels, _relative

IMAGES = np.full((2, 8, 8, 3), 0.5, "float32")


def network() -> keras.Model:
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="stem")(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="head")], name="inner")
    return keras.Model(image, inner(keras.layers.GlobalAveragePooling2D()(x)))


def spoiled(layer: str, value: float) -> keras.Model:
    model = network()
    [found] = [one for one in model._flatten_layers() if one.name == layer]
    variable = found.moving_variance if layer == "norm" else found.kernel
    variable.assign(np.full(variable.shape, value, "float32"))
    return model


@pytest.mark.parametrize(
    "conversion",
    [
        lambda model, folder: export(model, folder, calibration=IMAGES),
        lambda model, folder: check(model),
        lambda model, folder: quantize_aware(model, calibration=IMAGES),
        lambda model, folder: to_tflite(model),
    ],
)
@pytest.mark.parametrize(
    ("layer", "value", "message"),
    [
        ("stem", np.nan, "weights must be finite; kernel of the layer stem holds nan"),
        ("head", -np.inf, "weights must be finite; kernel of the layer head holds -inf"),
        ("norm", -1, "a moving variance must be at least 0; the layer norm holds -1"),
    ],
)
def test_a_weight_that_is_no_number_is_refused_by_its_layer(layer, value, message, conversion, tmp_path):
    with pytest.raises(InputError, match=message):
        conversion(spoiled(layer, value), tmp_path)
    assert not any(tmp_path.iterdir())


def test_weights_whose_sums_overflow_are_refused_at_the_first_layer_that_does(tmp_path):
    with pytest.raises(InputError, match=r"activations must be finite; .*(stem|norm).* gives a NaN or an infinity"):
        export(spoiled("stem", 3e38), tmp_path, calibration=IMAGES)


def test_differences_from_a_reference_that_is_zero_throughout():
    assert (_relative(0.0, 0.0), _relative(1.0, 0.0), _relative(1.0, 4.0)) == (0.0, np.inf, 0.25)
    assert (_decibels(0.0, 0.0), _decibels(0.0, 1.0)) == (np.inf, -np.inf)
