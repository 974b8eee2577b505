"""Layers that compute the same in a form that a target has, and the questions that say where they stand.

In: a layer of Keras. Out: another layer of the same function, with its weights, or a fact of the layer.
"""

import math
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_se.export.conversion.copies import fresh
from keras_se.export.conversion.tensor_facts import Tensor


def averaged(layer: Any, x: Tensor) -> Tensor:
    """Apply an average pooling as a convolution; it counts zeros beyond the border, for which a factor makes up."""
    size = math.prod(layer.pool_size)
    mean: Any = keras.initializers.Constant(1 / size)
    new = layers.DepthwiseConv2D(
        layer.pool_size,
        layer.strides,
        layer.padding,
        use_bias=False,
        data_format="channels_last",
        depthwise_initializer=mean,
        trainable=False,
        dtype=layer.dtype_policy,
        name=layer.name,
    )
    output = new(x)
    ones: Any = np.ones((1, *x.shape[1:3], 1))
    within = keras.ops.depthwise_conv(ones, np.ones((*layer.pool_size, 1, 1)), layer.strides, layer.padding)
    share = np.asarray(within) / size
    if share.min() == 1:
        return output
    return layers.Rescaling(1 / share, dtype=layer.dtype_policy, name=f"{layer.name}_border")(output)


def greatest(layer: Any, x: Tensor) -> Tensor:
    """Apply a maximum over height and width as a pooling of the whole map."""
    *_, height, width, channels = x.shape
    shape = (1, 1, channels) if layer.keepdims else (channels,)
    if height * width > 1:  # XNNPACK takes no pooling of one position
        x = layers.MaxPooling2D((height, width), dtype=layer.dtype_policy, name=f"{layer.name}_pool")(x)
    return layers.Reshape(shape, dtype=layer.dtype_policy, name=layer.name)(x)


def only_offset(layer: Any, offset: np.ndarray) -> layers.BatchNormalization:
    """Return a batch normalisation that adds its offset alone: the same beta, and as its mean the constant part."""
    new: Any = layers.BatchNormalization(scale=False, center=layer.center, epsilon=1e-3, trainable=layer.trainable)
    new.build((None, len(offset)))
    beta = np.asarray(layer.beta) if layer.center else 0.0
    new.set_weights([*([beta] if layer.center else []), beta - offset, np.full(len(offset), 1 - 1e-3)])
    return new


def renamed(layer: Any, name: str) -> Any:
    """Return a layer of the same configuration, with another name."""
    return fresh(layer, name=name)


def by_1(layer: Any, x: Tensor) -> layers.DepthwiseConv2D:
    """Return a depthwise convolution of 1x1 that takes the positions that a pooling of 1x1 takes."""
    new = layers.DepthwiseConv2D(
        1, layer.strides, use_bias=False, depthwise_initializer="ones", dtype=layer.dtype_policy, name=layer.name
    )
    new.trainable = False  # quantization-aware training does not move it
    new.build(x.shape)
    return new


def thins(layer: Any) -> bool:
    """Return True for a depthwise convolution with a stride, to which normalisation gives the bias."""
    thins = isinstance(layer, layers.DepthwiseConv2D) and max(layer.strides) > 1 and layer.depth_multiplier == 1
    return thins and not layer.use_bias


def takes_stride(layer: Any) -> bool:
    """Return True for a convolution of a map whose stride may be greater."""
    return isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D) and max(layer.dilation_rate) == 1


def same_padding(layer: Any, sizes: tuple[int, int], strides: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Return the zeros before and behind each side of a map with padding "same", by a convolution of those strides."""

    def zeros(size: int, kernel: int, stride: int) -> tuple[int, int]:
        whole = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return whole // 2, whole - whole // 2

    return tuple(map(zeros, sizes, layer.kernel_size, strides))


def widens(layer: Any) -> bool:
    """Return True for a 1x1 convolution of each position, with more outputs than inputs."""
    if type(layer) is not layers.Conv2D:
        return False
    kernel: Any = layer.kernel
    return (
        layer.groups == 1
        and layer.strides == (1, 1)
        and kernel.shape[:2] == (1, 1)
        and kernel.shape[2] < kernel.shape[3]
    )


def matrix(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel `(inputs, outputs)` and bias of a 1x1 convolution."""
    return np.asarray(layer.kernel)[0, 0], np.asarray(layer.bias) if layer.use_bias else np.zeros(layer.filters)


def pooling_step(size: int) -> int:
    """Return the next pooling step of a side: 2 or 3 if that divides more than eight positions, else all of them."""
    return next((step for step in (2, 3) if size % step == 0 and size > 8), size)


def is_same_padding(layer: Any, sizes: tuple[int, int], padding: tuple) -> bool:
    """Return True if an unpadded convolution of a map padded so is the one with padding "same"."""
    if getattr(layer, "padding", None) != "valid" or max(layer.dilation_rate) > 1:
        return False
    return same_padding(layer, sizes, layer.strides) == padding
