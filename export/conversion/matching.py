"""Questions about a model and a lowering: the layers that it changes, and the operations that it removes.

In: a model or a layer, and a `LoweringConfig`. Out: answers; nothing is rewritten here.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_se.cloning import is_graph
from keras_se.export.conversion.copies import taken
from keras_se.export.conversion.decompose import CONVOLUTIONS
from keras_se.export.conversion.lowering_config import PLAIN, LoweringConfig
from keras_se.layers.squeeze_excite import SqueezeExcite

LEAKY_RELU = 0.2
"""Slope of the activation "leaky_relu"."""
_POOLINGS = (layers.AveragePooling2D, layers.Concatenate, layers.Dropout, layers.MaxPooling2D)
_ABOVE_ZERO = (keras.activations.relu, keras.activations.relu6, keras.activations.sigmoid)
_HOMOGENEOUS = (
    layers.AveragePooling2D,
    layers.Cropping2D,
    layers.Dropout,
    layers.Flatten,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
    layers.MaxPooling2D,
    layers.Multiply,
    layers.Reshape,
    layers.ZeroPadding2D,
)


def is_rewritten(model: keras.Model, lowering: LoweringConfig) -> bool:
    """Return True if the lowering changes a layer of the model, and may."""
    return _writable(model) and any(_rewritten(layer, lowering) for layer in _layers(model))


def effective_config(model: keras.Model, lowering: LoweringConfig) -> LoweringConfig:
    """Return the lowering without the choices that make no difference to this model: equal ones give one file."""
    if not _writable(model):
        return PLAIN
    if not any(keras.activations.hard_swish in _activations(layer) for layer in _layers(model)):
        lowering = dataclasses.replace(lowering, hard_swish="fused")
    if not any(is_squeezed(layer) for layer in _layers(model)):
        lowering = dataclasses.replace(lowering, squeeze="mean")
    if not any(isinstance(layer, SqueezeExcite) for layer in _layers(model)):
        lowering = dataclasses.replace(lowering, rescaling="in_place")
    if not any(averages(layer) for layer in _layers(model)):
        lowering = dataclasses.replace(lowering, pooling="fused")
    if not any(leaks(layer) for layer in _layers(model)):
        lowering = dataclasses.replace(lowering, leaky_relu="fused")
    if not any(takes_the_maximum(layer) for layer in _layers(model)):
        lowering = dataclasses.replace(lowering, maximum="reduction")
    return lowering


def ops_removed_by(layer: Any, lowering: LoweringConfig) -> set[str]:
    """Return the operations that the converter would make of a layer and that the lowering removes."""
    removed = set()
    if keras.activations.hard_swish in _activations(layer) and lowering.hard_swish == "decomposed":
        removed.add("HARD_SWISH")
    if averages(layer) and lowering.pooling == "convolution":
        removed.add("AVERAGE_POOL_2D")
    if lowering.leaky_relu == "decomposed" and leaks(layer):
        removed |= {"LEAKY_RELU", "PRELU"}
    if lowering.maximum == "pooling" and takes_the_maximum(layer):
        removed.add("REDUCE_MAX")
    return removed


def _layers(model: keras.Model) -> Iterator[layers.Layer]:
    """Yield the model's layers, and those of models in it; a model of a class of its own is one layer."""
    for layer in model.layers:
        if isinstance(layer, keras.Model) and is_graph(layer):
            yield from _layers(layer)
        else:
            yield layer


def _writable(model: keras.Model) -> bool:
    """Return True for a graph, also of models within, with channels last, each layer with one name and one call."""
    every = [layer for layer in _layers(model) if not isinstance(layer, layers.InputLayer)]
    if not is_graph(model) or any(isinstance(layer, keras.Model) for layer in every):
        return False
    # A Sequential calls its layers anew whenever it grows, also while it is loaded.
    once = isinstance(model, keras.Sequential) or all(len(layer._inbound_nodes) <= 1 for layer in model.layers)
    channels_last = all(getattr(layer, "data_format", "channels_last") == "channels_last" for layer in every)
    return once and channels_last and len({layer.name for layer in every}) == len(every)


def _rewritten(layer: layers.Layer, lowering: LoweringConfig) -> bool:
    used = _activations(layer)
    return (
        keras.activations.hard_sigmoid in used
        or (keras.activations.hard_swish in used and lowering.hard_swish == "decomposed")
        or (is_squeezed(layer) and lowering.squeeze == "conv_before_pool")
        or (isinstance(layer, SqueezeExcite) and lowering.rescaling == "after_downsampling")
        or isinstance(layer, layers.ZeroPadding2D)
        or leaves_out(layer)
        or (averages(layer) and lowering.pooling == "convolution")
        or (takes_the_maximum(layer) and lowering.maximum == "pooling")
        or (leaks(layer) and lowering.leaky_relu == "decomposed")
        or _normalises_alone(layer)
        or cuts_off_a_concatenation(layer)
    )


def _activations(layer: Any) -> list[Any]:
    """Return the activations of a layer that are written as layers of their own; other layers keep theirs."""
    if not isinstance(layer, (*CONVOLUTIONS, layers.Activation, SqueezeExcite)):
        return []
    return [getattr(layer, name, None) for name in ("activation", "gate")]


def is_squeezed(layer: layers.Layer) -> bool:
    """Return True for SE with a mean, which commutes with a layer."""
    return isinstance(layer, SqueezeExcite) and layer.squeeze == "avg"


def averages(layer: Any) -> bool:
    """Return True for an average pooling that a depthwise convolution, of one stride for both sides, can replace."""
    return isinstance(layer, layers.AveragePooling2D) and layer.pool_size != (1, 1) and len(set(layer.strides)) == 1


def takes_the_maximum(layer: Any) -> bool:
    """Return True for a maximum over height and width, alone or as SE's squeeze."""
    if isinstance(layer, SqueezeExcite):
        return layer.squeeze == "max"
    return isinstance(layer, layers.GlobalMaxPooling2D)


def leaks(layer: Any) -> bool:
    """Return True for a ReLU with a slope below zero that can be decomposed, or a layer with one as its activation."""
    return keras.activations.leaky_relu in _activations(layer) or negative_slope(layer) is not None


def negative_slope(layer: Any) -> np.ndarray | None:
    """Return the slope below zero of a layer that is a ReLU with one, up to 1, for all or for each channel."""
    if isinstance(layer, layers.PReLU):
        slope = np.asarray(layer.alpha) if layer.built else np.zeros((0, 1))
        return slope.ravel() if slope.size == slope.shape[-1] and slope.max() <= 1 else None
    bounded = isinstance(layer, layers.ReLU) and is_bounded(layer)
    slope = layer.negative_slope if isinstance(layer, layers.LeakyReLU | layers.ReLU) and not bounded else 0
    return np.array(slope) if 0 < slope <= 1 else None


def leaves_out(layer: Any) -> bool:
    """Return True for a pooling that takes one position in each stride, as a depthwise convolution by 1 can.

    That has one stride for both sides: TensorFlow has no other without oneDNN.
    """
    pools = isinstance(layer, layers.MaxPooling2D | layers.AveragePooling2D)
    return pools and layer.pool_size == (1, 1) and len(set(layer.strides)) == 1


def is_read_again(layer: Any) -> bool:
    """Return True where another layer too reads what this one takes."""
    return len(taken(layer)._keras_history.operation._outbound_nodes) > 1


def _normalises_alone(layer: Any) -> bool:
    """Return True for a batch normalisation of maps behind no weights, which the converter writes as MUL and ADD."""
    if not isinstance(layer, layers.BatchNormalization) or not layer._inbound_nodes:
        return False
    x = taken(layer)
    before = x._keras_history.operation
    linear = getattr(before, "activation", keras.activations.linear) is keras.activations.linear
    return len(x.shape) == 4 and not (linear and getattr(before, "weights", []))


def is_never_negative(x: Any) -> bool:
    """Return True where the layers behind a tensor show that it is 0 or more: a ReLU or a sigmoid, then poolings."""
    before = x._keras_history.operation
    if isinstance(before, _POOLINGS):
        return all(map(is_never_negative, before._inbound_nodes[0].input_tensors))
    return isinstance(before, layers.ReLU) or getattr(before, "activation", None) in _ABOVE_ZERO


def cuts_off_a_concatenation(layer: Any) -> bool:
    """Return True for a ReLU that alone reads a concatenation."""
    relu = isinstance(layer, layers.ReLU) or (
        isinstance(layer, layers.Activation) and layer.activation in (keras.activations.relu, keras.activations.relu6)
    )
    if not relu or not layer._inbound_nodes:
        return False
    before: Any = taken(layer)._keras_history.operation
    return isinstance(before, layers.Concatenate) and len(before._outbound_nodes) == 1


def is_bounded(relu: Any) -> bool:
    """Return True for a ReLU that changes positive numbers too: with a bound, a threshold or a slope."""
    if isinstance(relu, layers.ReLU):
        return relu.max_value is not None or bool(relu.threshold)
    return relu.activation is not keras.activations.relu


def is_homogeneous(layer: Any) -> bool:
    """Return True for a layer that gives `s` times as much where an input is `s` times as large, for `s` above 0."""
    return isinstance(layer, _HOMOGENEOUS)
