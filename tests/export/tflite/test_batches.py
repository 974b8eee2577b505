"""A file of several images gives each what it gives alone."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers

from keras_se.errors import InputError
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.quantization.calibration import calibrate
from keras_se.export.quantization.quantizer import quantize
from keras_se.export.quantization.recipes import RECIPES
from keras_se.export.runtimes.registry import ENGINES
from keras_se.export.tflite.batches import with_batch

SHAPE = (8, 8, 3)
IMAGES = np.random.default_rng(0).random((7, *SHAPE), "float32")


@pytest.fixture(scope="module")
def model():
    """A network in which three layers write the batch into a shape: Reshape, Dense on a map, and Flatten."""
    image = keras.Input(SHAPE)
    x = layers.Reshape((4, 16, 4))(layers.Conv2D(4, 3, padding="same", activation="relu")(image))
    return keras.Model(image, layers.Dense(5)(layers.Flatten()(layers.Dense(6)(x))), name="flat")


@pytest.fixture(scope="module")
def file(model):
    return to_tflite(model)


def test_litert_resizes_an_exported_file_to_any_batch(model, file):
    interpreter = Interpreter(model_content=file.content)
    [taken], [given] = interpreter.get_input_details(), interpreter.get_output_details()
    assert taken["shape"].tolist() == [1, *SHAPE]
    for batch in (3, 7, 1):
        interpreter.resize_tensor_input(taken["index"], (batch, *SHAPE))
        interpreter.allocate_tensors()
        interpreter.set_tensor(taken["index"], IMAGES[:batch])
        interpreter.invoke()
        outputs = interpreter.get_tensor(given["index"])
        np.testing.assert_allclose(outputs, model.predict(IMAGES[:batch], verbose=0), atol=1e-6)  # sums of 384


@pytest.mark.parametrize("recipe", ["float32", "dynamic_wi8_afp32", "static_wi8_ai8", "static_wi8_ai16"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_of_four_gives_what_that_of_one_gives(file, recipe, engine):
    if recipe in ENGINES[engine].unsupported_recipes:
        return
    one = quantize(file, RECIPES[recipe], calibrate(file, IMAGES))
    four = with_batch(one, 4)
    assert (four.input_shape, four.output_shape) == ((4, *SHAPE), (4, 5))
    expected, outputs = (ENGINES[engine].run(content.content, IMAGES) for content in (one, four))
    assert outputs.values.shape == (7, 5)  # the eighth of two batches is left out
    np.testing.assert_allclose(outputs.values, expected.values, atol=1e-6)


def test_a_file_of_one_stays_as_it_is(file):
    assert with_batch(file, 1) == file


def mixed(x):
    channels_first = keras.ops.softmax(keras.ops.transpose(x, (3, 1, 2, 0)), axis=-1)  # over the batch
    return keras.ops.transpose(channels_first, (3, 1, 2, 0))


def of_one(x):
    return keras.ops.reshape(keras.ops.transpose(x, (3, 1, 2, 0)), (1, 8, 24))


@pytest.mark.parametrize(("operation", "reason"), [(mixed, "its images would be mixed$"), (of_one, ".*RESHAPE")])
def test_a_network_that_mixes_images_or_takes_one_is_refused(operation, reason):
    image = keras.Input(SHAPE)
    file = to_tflite(keras.Model(image, layers.Flatten()(operation(image)), name="mixing"))
    with pytest.raises(InputError, match=rf"^the network takes one image at a time, and no batch of 2: {reason}") as no:
        with_batch(file, 2)
    assert "\n" not in str(no.value)


def test_a_loop_is_refused():
    image = keras.Input(SHAPE)
    file = to_tflite(keras.Model(image, layers.LSTM(2)(layers.Reshape((8, 24))(image)), name="loop"))
    with pytest.raises(InputError, match=r"^a network with a loop takes one image at a time; got a batch of 2"):
        with_batch(file, 2)
