"""Working memory that a network needs at least on TFLite Micro, told before it is converted.

In: a Keras model, a target and recipes. Out: nothing, or an error that names the layer.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import keras
from keras import layers

from keras_se.errors import InputError
from keras_se.export.compatibility.layer_ops import operations_of
from keras_se.export.conversion.decompose import CONVOLUTIONS
from keras_se.export.quantization.recipes import INT16, Recipe
from keras_se.export.targets.base import Target
from keras_se.preprocessing import image_shape

_POOLS = (layers.AveragePooling2D, layers.MaxPooling2D)


def check_arena(model: keras.Model, target: Target, recipes: Sequence[Recipe]) -> None:
    """Refuse a network that TFLite Micro has too little memory for.

    Raises:
        InputError: the input and output of one layer, which are in memory together, take more than the arena, or the
            model's input is not one image of known size.
    """
    if target.arena is None:
        return
    shape = image_shape(model)
    for recipe in recipes:
        size = 2 if recipe.activations == INT16 else 1
        sizes = ((size * _values(operation), path) for path, operation in operations_of(model))
        most, name = max(sizes, default=(0, ""))
        if most > target.arena:
            raise InputError(
                f"{target.name} has an arena of at most {target.arena >> 20} MiB; the input and output of {name} take "
                f"{most / 2**20:.0f} MiB in {recipe.name}; choose a smaller input than {shape}"
            )


def _values(layer: Any) -> int:
    """Count the numbers that a convolution or pooling takes and gives; others may be part of the operation before."""
    if not isinstance(layer, (*CONVOLUTIONS, *_POOLS)):
        return 0
    node = layer._inbound_nodes[0]  # a layer that is called twice has no `input`
    [taken], [output] = node.input_tensors, node.output_tensors
    before = taken._keras_history.operation
    if isinstance(before, layers.ZeroPadding2D):  # which may become the convolution's own
        [taken] = before._inbound_nodes[0].input_tensors
    return sum(prod(extent or 1 for extent in tensor.shape[1:]) for tensor in (taken, output))
