"""Functions of the models: keras.applications' order and names, and what is built on a tensor."""

import inspect
import logging
import re

import keras
import numpy as np
import pytest

import keras_se
from keras_se import applications
from keras_se.errors import InputError
from keras_se.preprocessing import Preprocessing, bring_preprocessing, preprocessing_of

IMAGE = (32, 32, 3)
FUNCTIONS = {name: value for name, value in vars(keras_se).items() if getattr(applications, name, None) is value}
FUNCTIONS = {name: value for name, value in FUNCTIONS.items() if inspect.isfunction(value) and name != "create_model"}


def test_every_model_has_one():
    names = [inspect.signature(function).parameters["name"].default for function in FUNCTIONS.values()]
    assert sorted(names) == sorted(keras_se.list_models())
    assert all(function.__name__ == name for name, function in FUNCTIONS.items())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_signature_begins_as_keras_applications_do(name):
    ours = list(inspect.signature(FUNCTIONS[name]).parameters.values())
    theirs = list(inspect.signature(keras.applications.ResNet50).parameters.values())
    assert [parameter.name for parameter in ours[: len(theirs)]] == [parameter.name for parameter in theirs]
    assert all(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in ours[: len(theirs)])
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in ours[len(theirs) :])
    assert {parameter.name for parameter in ours} < {*inspect.signature(keras_se.create_model).parameters, "name"}


@pytest.mark.parametrize(
    # The signature of every function is held above; that its defaults are used, for the quickly built ones.
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (not re.search("Net(18|20)|Mobile", name))) for name in FUNCTIONS],
)
def test_the_defaults_are_what_is_published(name):
    """Given explicitly they build the very model that is built without them."""
    parameters = inspect.signature(FUNCTIONS[name]).parameters.values()
    defaults = {parameter.name: parameter.default for parameter in parameters if parameter.name != "input_shape"}
    with keras.StatelessScope(initialize_variables=False):
        explicit, usual = FUNCTIONS[name](**defaults), FUNCTIONS[name]()
    # Operations that are no layers are numbered through.
    configs = [re.sub(r"'pad(_\d+)?'", "'pad'", str(model.get_config())) for model in (explicit, usual)]
    assert configs[0] == configs[1]


def test_arguments_may_be_positional():
    model = keras_se.SEMobileNet(False, None, None, IMAGE, "max", 3, None, "left", alpha=0.1)
    assert (model.name, model.output_shape) == ("left", (None, 102))


@pytest.mark.parametrize(
    ("values", "arguments", "message"),
    [
        ((), {"alhpa": 0.5}, r"SEMobileNet\(\) got an unexpected keyword argument 'alhpa'"),
        ((True, None, None, None, None, 10, None, "left", 16), {}, r"SEMobileNet\(\) too many positional arguments"),
        ((True,), {"include_top": False}, r"SEMobileNet\(\) multiple values for argument 'include_top'"),
    ],
)
def test_a_wrong_call_names_the_function(values, arguments, message):
    with pytest.raises(TypeError, match=message):
        keras_se.SEMobileNet(*values, **arguments)


def test_two_backbones_in_one_model(tmp_path):
    arguments = {"input_shape": IMAGE, "pooling": "avg", "alpha": 0.1}
    left, right = (keras_se.SEMobileNet(False, name=name, **arguments) for name in ("left", "right"))
    images = [keras.Input(IMAGE) for _ in range(2)]
    both = keras.Model(images, keras.layers.Concatenate()([left(images[0]), right(images[1])]))
    both.save(tmp_path / "both.keras")
    pixels = [np.random.default_rng(seed).random((1, *IMAGE), "float32") for seed in (0, 1)]
    expected = np.concatenate([left(pixels[0]), right(pixels[1])], axis=1)
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "both.keras")(pixels), expected)


# On a tensor


def test_a_model_on_a_tensor_begins_where_the_tensor_does():
    image = keras.Input((None, None, 3))
    model = keras_se.SEMobileNet(input_tensor=keras.layers.Rescaling(1 / 255)(image), classes=3, alpha=0.1)
    assert model.inputs[0] is image
    assert [type(layer).__name__ for layer in model.layers[:2]] == ["InputLayer", "Rescaling"]
    assert model.get_layer("stem_conv") is model.layers[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_tensor": np.zeros((1, 32, 32, 3))}, "input_tensor must be a Keras tensor"),
        ({"input_tensor": keras.Input((32, 32))}, "input_tensor must be a Keras tensor"),
        (
            {"input_tensor": keras.Input(IMAGE), "input_shape": (64, 64, 3)},
            r"input_shape must be that of input_tensor, \(32, 32, 3\); got \(64, 64, 3\)",
        ),
    ],
)
def test_what_is_no_image_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        keras_se.SEMobileNet(**arguments)


def on(image, tensor):
    """A model on a tensor whose weights bring the preprocessing to -1..1."""
    model = keras.Model(image, keras.layers.Conv2D(2, 3)(tensor))
    return bring_preprocessing(model, Preprocessing.for_range(32, 32, -1, 1), image=tensor)


def test_what_the_weights_take_is_found_before_layers_that_scale(tmp_path):
    image = keras.Input(IMAGE)
    assert preprocessing_of(on(image, image)).input_range == (-1, 1)
    image = keras.Input(IMAGE)
    model = on(image, keras.layers.Rescaling(1 / 127.5, offset=-1)(keras.layers.RandomFlip()(image)))
    model.save(tmp_path / "model.keras")
    for network in (model, keras.models.load_model(tmp_path / "model.keras")):
        assert preprocessing_of(network) == Preprocessing.for_range(32, 32, 0, 255)


def test_what_the_weights_take_is_not_known_before_other_layers(caplog):
    image = keras.Input(IMAGE)
    with caplog.at_level(logging.WARNING, "keras_se"):
        model = on(image, keras.layers.Conv2D(3, 1)(image))
    assert type(model.layers[0]) is keras.layers.InputLayer
    assert "save_record(model, path, preprocessing=...)" in caplog.text


def test_two_networks_on_one_input_must_take_the_same():
    image = keras.Input(IMAGE)
    on(image, image)
    on(image, image)
    other = keras.Model(image, keras.layers.Conv2D(2, 3)(image))
    with pytest.raises(InputError, match="by the weights of another network on it"):
        bring_preprocessing(other, Preprocessing(32, 32), image=image)
