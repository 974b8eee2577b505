"""Published parameters of the paper's networks, and how the tests of models build, measure and randomise one."""

import contextlib
import functools
import math
import re
from typing import NamedTuple

import keras
import numpy as np

import keras_se
from keras_se import SqueezeExcite
from keras_se.models.head import Head
from keras_se.models.placement import SE
from keras_se.models.resnet import resnet

IMAGE = (32, 32, 3)


def rounding_of(name: str) -> float:
    """Return how far two ways of computing a network in float64 may be apart, over the greatest output.

    Inception-ResNet's normalisations have no scale that could be small: its blocks magnify roundings to 8e-9.
    """
    return 1e-5 if name == "se_inception_resnet_v2" else 1e-9


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


NETWORKS = [name for name in keras_se.list_models() if not re.search("efficientnet_(b[1-7]|lite[1-4])", name)]
"""Networks of the registry but those that are another one's table with other widths and depths."""
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
    """Draw every bias, scale and moving statistic at random; fresh ones are zeros and ones."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def images(count=2, seed=0):
    return np.random.default_rng(seed).random((count, *IMAGE), "float32")


def expression(tensor):
    """Return how `tensor` is computed, as text: `relu(x + SE(bn(conv3x3(x))))` with `/2` after a stride of 2."""
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
    """Return the expression of a ResNet of that row, up to its classifier."""
    with without_values():
        head = Head(include_top=False)
        return expression(resnet(row, keras.Input(IMAGE, name="image"), se=SE(placement), head=head, **arguments))


def same(x):
    return x


def assert_close(outputs, expected, of):
    """Compare to `of` times the greatest: float32 rounding, in another order of summation, through a whole network."""
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=of * np.abs(expected).max())
