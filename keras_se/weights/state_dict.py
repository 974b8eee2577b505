"""Translate between a Keras layer's variables and the tensors of a torch state dict."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
from keras import layers

from keras_se.layers.squeeze_excite import SqueezeExcite
from keras_se.weights.timm_mapping import Naming


class Tensor(NamedTuple):
    """A variable of ours and the tensor that it is in a state dict."""

    variable: Any  # keras.Variable
    key: str
    axes: tuple[int, ...]
    """Axes of our variable, in the order of theirs."""
    ones: int = 0
    """Axes of size 1 that theirs has behind these."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Theirs."""
        return (*(self.variable.shape[axis] for axis in self.axes), *[1] * self.ones)

    def to_ours(self, array):
        array = array.reshape(array.shape[: len(self.axes)])
        return array.transpose([self.axes.index(axis) for axis in range(len(self.axes))])

    def to_theirs(self, array):
        return array.transpose(self.axes).reshape(self.shape)


CONV = (3, 2, 0, 1)  # (height, width, in, out) as (out, in, height, width)
DEPTHWISE = (2, 3, 0, 1)  # (height, width, channels, 1) as (channels, 1, height, width)
DENSE = (1, 0)
VECTOR = (0,)


def tensors(model: keras.Model, names: dict[str, str], naming: Naming) -> Iterator[Tensor]:
    """Yield each variable of `model` as a tensor of a state dict.

    Args:
        names: the naming's, of the model's row.
    Raises:
        KeyError: a layer that has variables is not among the names.
    """
    for layer in model.layers:
        if layer.weights:
            yield from _of_layer(layer, names[layer.name], naming)


def _of_layer(layer, module, naming) -> Iterator[Tensor]:
    if isinstance(layer, SqueezeExcite):
        for part, name in zip((layer.reduce, layer.expand), naming.se, strict=True):
            yield from _of_layer(part, f"{module}.{name}", naming)
    elif isinstance(layer, layers.BatchNormalization):
        yield Tensor(layer.gamma, f"{module}.weight", VECTOR)
        yield Tensor(layer.beta, f"{module}.bias", VECTOR)
        yield Tensor(layer.moving_mean, f"{module}.running_mean", VECTOR)
        yield Tensor(layer.moving_variance, f"{module}.running_var", VECTOR)
    elif isinstance(layer, layers.Dense):
        # A hidden dense layer is a 1x1 convolution there, behind the pooling.
        yield Tensor(layer.kernel, f"{module}.weight", DENSE, ones=0 if module == naming.head[-1] else 2)
        yield Tensor(layer.bias, f"{module}.bias", VECTOR)
    else:
        yield Tensor(layer.kernel, f"{module}.weight", DEPTHWISE if isinstance(layer, layers.DepthwiseConv2D) else CONV)
        if layer.use_bias:
            yield Tensor(layer.bias, f"{module}.bias", VECTOR)
