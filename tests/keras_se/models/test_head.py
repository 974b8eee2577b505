"""A network's input and its end: resolutions, pooling, classifier and the shapes of outputs."""

import contextlib
import functools
import math
from typing import NamedTuple

import keras
import numpy as np
import pytest

import keras_se
from keras_se import SqueezeExcite
from keras_se.models.head import Head
from keras_se.models.placement import SE
from keras_se.models.resnet import resnet

IMAGE = (32, 32, 3)


class Published(NamedTuple):
    """Trainable parameters for 1000 classes, with SE and without, and channels of the last feature map.

    With SE: osmr/imgclsmob, tensorflow2/README.md; (d) by arithmetic, from the plain network and `2C²/r` a block (and
    `C + C/r` for biases). Plain: torchvision's documentation; MobileNet's is that of keras.applications.
    """

    with_se: int
    plain: int
    features: int


PUBLISHED = {
    "se_resnet18": Published(11_778_592, 11_689_512, 512),
    "se_resnet34": Published(21_958_868, 21_797_672, 512),  # (d)
    "se_resnet50": Published(28_088_024, 25_557_032, 2048),
    "se_resnet101": Published(49_326_872, 44_549_160, 2048),
    "se_resnet152": Published(66_821_848, 60_192_808, 2048),
    "se_mobilenet": Published(4_711_720, 4_231_976, 1024),  # (d), without biases
}


SMALL = {"se_resnet18": {}, "se_mobilenet": {"alpha": 0.25}}  # one of each family


@contextlib.contextmanager
def without_values():
    """Variables have a shape and no content: a network is built in a third of a second, to be looked at."""
    with keras.StatelessScope(initialize_variables=False):
        yield


class Size(NamedTuple):
    parameters: int
    macs: int


@functools.cache
def size(name, **arguments):
    """Trainable parameters and multiply-accumulates of a model for 224x224 images and 1000 classes."""
    with without_values():
        model = keras_se.create_model(name, **arguments)
        return Size(sum(math.prod(weight.shape) for weight in model.trainable_variables), keras_se.macs(model))


def with_random_statistics(model, seed=0):
    """The model with every bias, scale and moving statistic drawn at random; fresh ones are zeros and ones."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def images(count=2, seed=0):
    return np.random.default_rng(seed).random((count, *IMAGE), "float32")


def expression(tensor):
    """How `tensor` is computed, as text: `relu(x + SE(bn(conv3x3(x))))` with `/2` after a stride of 2."""
    operation, _, _ = tensor._keras_history
    arguments = [expression(argument) for argument in operation._inbound_nodes[0].input_tensors]
    if isinstance(operation, keras.layers.InputLayer):
        return "image"
    if isinstance(operation, keras.layers.Add):
        return " + ".join(arguments)
    return f"{_name(operation)}({', '.join(arguments)})"


def _name(layer):
    match layer:
        case SqueezeExcite():
            return "SE"
        case keras.layers.BatchNormalization():
            return "bn"
        case keras.layers.Activation():
            return layer.activation.__name__
        case keras.layers.DepthwiseConv2D():
            return f"depthwise{_window(layer.kernel_size, layer.strides)}"
        case keras.layers.Conv2D():
            return f"conv{_window(layer.kernel_size, layer.strides)}"
        case keras.layers.MaxPooling2D():
            return f"maxpool{_window(layer.pool_size, layer.strides)}"
    raise AssertionError(f"no name for {layer}")


def _window(size, strides):
    assert strides[0] == strides[1]
    return f"{size[0]}x{size[1]}" + ("" if strides[0] == 1 else f"/{strides[0]}")


def feature_map(row, placement, **arguments):
    """The expression of a ResNet of that row, up to its classifier."""
    with without_values():
        head = Head(include_top=False)
        return expression(resnet(row, keras.Input(IMAGE, name="image"), se=SE(placement), head=head, **arguments))


@pytest.mark.parametrize("name", PUBLISHED)
def test_feature_map_has_a_32nd_of_the_resolution(name):
    with without_values():
        model = keras_se.create_model(name, input_shape=(64, 96, 3), include_top=False)
    assert model.output_shape == (None, 2, 3, PUBLISHED[name].features)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({"classes": 7}, (None, 7)),
        ({"classes": 7, "pooling": "max"}, (None, 7)),  # the top has its own pooling
        ({"classes": 7, "classifier_activation": None}, (None, 7)),
        ({"include_top": False, "pooling": "avg"}, (None, "features")),
        ({"include_top": False, "pooling": "max"}, (None, "features")),
        ({"include_top": False, "input_shape": (None, None, 1)}, (None, None, None, "features")),
    ],
)
def test_output_shapes(name, arguments, shape):
    features = PUBLISHED[name].features
    with without_values():
        model = keras_se.create_model(name, **{"input_shape": IMAGE, **arguments})
    assert model.output_shape == tuple(features if axis == "features" else axis for axis in shape)


def test_default_model_takes_224_and_gives_1000_probabilities():
    with without_values():
        model = keras_se.create_model("se_mobilenet")
    assert (model.input_shape, model.output_shape) == ((None, 224, 224, 3), (None, 1000))


@pytest.mark.parametrize(("pooling", "reduction"), [("avg", np.mean), ("max", np.max)])
def test_pooling_is_over_the_feature_map(pooling, reduction):
    shape = (64, 64, 3)
    model = keras_se.create_model("se_mobilenet", input_shape=shape, include_top=False, pooling=pooling, alpha=0.25)
    both = keras.Model(model.input, [model.layers[-1].input, model.output])
    feature_map, pooled = both(np.random.default_rng(0).random((2, *shape), "float32"))
    assert feature_map.shape == (2, 2, 2, 256)
    # A mean of four float32 values; a maximum is exact.
    np.testing.assert_allclose(pooled, reduction(feature_map, axis=(1, 2)), rtol=1e-6)


@pytest.mark.parametrize(
    ("activation", "formula"),
    [
        ({}, lambda v: np.exp(v) / np.exp(v).sum(-1, keepdims=True)),  # a softmax unless told otherwise
        ({"classifier_activation": "sigmoid"}, lambda v: 1 / (1 + np.exp(-v))),
    ],
)
def test_classifier_activation_is_applied_to_the_logits(activation, formula):
    model = keras_se.create_model("se_mobilenet", input_shape=IMAGE, classes=5, alpha=0.25, **activation)
    with_random_statistics(model)
    both = keras.Model(model.input, [model.get_layer("logits").output, model.output])
    logits, outputs = both(images())
    assert np.ptp(logits) > 0.1  # else a wrong formula could agree
    # One exponential and one division in float32.
    np.testing.assert_allclose(outputs, formula(np.asarray(logits, "float64")), rtol=1e-5)


def test_classifier_activation_none_ends_in_the_logits():
    with without_values():
        model = keras_se.create_model("se_mobilenet", input_shape=IMAGE, classifier_activation=None)
    assert model.layers[-1] is model.get_layer("logits")
    assert model.layers[-1].activation is keras.activations.linear


def test_unknown_size_takes_images_of_any():
    model = keras_se.create_model("se_mobilenet", input_shape=(None, None, 3), classes=5, alpha=0.25)
    for height, width in ((32, 32), (48, 33)):
        assert model(np.zeros((1, height, width, 3), "float32")).shape == (1, 5)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 28, 28)])
def test_channels_first_are_refused_with_the_shape_to_pass(shape):
    with pytest.raises(ValueError, match=rf"channels last.*pass \({shape[1]}, {shape[2]}, {shape[0]}\)"):
        keras_se.create_model("se_mobilenet", input_shape=shape, classes=10)


def test_one_class_is_binary_with_a_sigmoid():
    """A softmax of one output would be 1 for every image."""
    model = keras_se.create_model("se_mobilenet", input_shape=(32, 32, 3), classes=1, alpha=0.1)
    assert model.output_shape == (None, 1)
    assert model.layers[-1].activation is keras.activations.sigmoid
