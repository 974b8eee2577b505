"""Constant gates in place of SE, folded into the layers beside it.

In: a model, and a gate for each block. Out: a model that multiplies by the same numbers, in its weights.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import activations, layers

from keras_se.cloning import is_graph
from keras_se.errors import InputError
from keras_se.layers.grouped_conv2d import GroupedConv2D
from keras_se.surgery.graphs import Call, Rewriter, Tensor, calls_of, functional
from keras_se.surgery.se_blocks import Block

_DENSE_CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.Dense)
_CONVOLUTIONS = (*_DENSE_CONVOLUTIONS, GroupedConv2D)
_LINEAR = (
    layers.AveragePooling2D,
    layers.Dropout,
    layers.GlobalAveragePooling2D,
    layers.Identity,
    layers.SpatialDropout2D,
    layers.ZeroPadding2D,
)
"""Layers that give each channel `s` times as much where it is `s` times as large."""
_HOMOGENEOUS = (layers.GlobalMaxPooling2D, layers.MaxPooling2D)
"""Layers that do so for an `s` of 0 or more only."""


def hold_gates(model: keras.Model, blocks: list[Block], gates: Mapping[str, np.ndarray]) -> keras.Model:
    """Replace blocks by constant gates.

    Args:
        gates: `(channels,)` by the block's path.
    Returns:
        A model in whose weights the gates are, as far as a layer beside a block takes them: a convolution, dense layer
        or batch normalisation before it, else the convolutions behind it. Else a Rescaling stands in its place.
    Raises:
        InputError: a block has its channels first.
    """
    for block in blocks:
        if not block.channels_last:
            raise InputError(f"a gate can be folded with channels last; the block {block.path} has them first")
    held = Replacer(blocks, gates).rewrite(model)
    folded = fold_scales(held, [block.operation.name for block in blocks])
    return Dropper(folded).rewrite(held)


class Replacer(Rewriter):
    """Rewriter that puts constants in the place of blocks, or nothing where no gates are given."""

    def __init__(self, blocks: list[Block], gates: Mapping[str, np.ndarray] | None = None):
        super().__init__()
        self._blocks = {id(block.operation): block for block in blocks}
        self._gates = gates

    def call(self, operation: Any, args: Any, kwargs: Any) -> Tensor:
        block = self._blocks.get(id(operation))
        if block is None:
            return super().call(operation, args, kwargs)
        source = keras.tree.flatten(args)[1 if block.gate_index == 0 else 0]
        return source if self._gates is None else self._constant(block, self._gates)(source)

    def in_line(self, layer: Any) -> list[Any]:
        block = self._blocks.get(id(layer))
        if block is None:
            return super().in_line(layer)
        return [] if self._gates is None else [self._constant(block, self._gates)]

    def _constant(self, block: Block, gates: Mapping[str, np.ndarray]) -> Any:
        layer = block.operation
        scale = np.asarray(gates[block.path], "float64").tolist()
        policy = getattr(layer, "dtype_policy", None)
        return layers.Rescaling(scale, dtype=policy, name=layer.name)


class Dropper(Rewriter):
    """Rewriter that leaves out layers."""

    def __init__(self, dropped: set[int]):
        super().__init__()
        self._dropped = dropped

    def call(self, operation: Any, args: Any, kwargs: Any) -> Tensor:
        return args[0] if id(operation) in self._dropped else super().call(operation, args, kwargs)

    def in_line(self, layer: Any) -> list[Any]:
        return [] if id(layer) in self._dropped else super().in_line(layer)


def fold_scales(model: keras.Model, names: list[str]) -> set[int]:
    """Multiply the scales of Rescaling layers of these names into weights; return the ids of those that could be."""
    neighbours = _Neighbours(model)
    folded = set()
    for call in neighbours.calls:
        if isinstance(call.operation, layers.Rescaling) and call.operation.name in names:
            scale = np.asarray(call.operation.scale, "float64")
            if neighbours.fold_back(call.inputs[0], scale) or neighbours.fold_forward(call.outputs[0], scale):
                folded.add(id(call.operation))
    return folded


class _Neighbours:
    """Layers that write and read the tensors of a graph."""

    def __init__(self, model: keras.Model):
        self.calls = list(calls_of(model))
        self._writers = {id(output): call for call in self.calls for output in call.outputs}
        self._readers: dict[int, list[Call]] = defaultdict(list)
        for call in self.calls:
            for tensor in call.inputs:
                self._readers[id(tensor)].append(call)
        graphs = [model, *(call.operation for call in self.calls if is_graph(call.operation))]
        self._ends = {id(tensor) for graph in graphs for tensor in functional(graph).outputs}
        self._times = Counter(id(call.operation) for call in self.calls)

    def fold_back(self, tensor: Tensor, scale: np.ndarray) -> bool:
        """Fold a scale into the layer that a tensor comes from; False where none takes it."""
        while len(self._readers[id(tensor)]) == 1 and id(tensor) not in self._ends:
            call = self._writers.get(id(tensor))
            if call is None:
                return False
            layer = call.operation
            if isinstance(layer, layers.Layer) and layer.weights:
                return self._times[id(layer)] == 1 and _scale_outputs(layer, scale)
            if not _passes(layer, scale):
                return False
            tensor = call.inputs[0]
        return False

    def fold_forward(self, tensor: Tensor, scale: np.ndarray) -> bool:
        """Fold a scale into all layers that read a tensor; False where one of them does not take it."""
        readers = self._takers(tensor, scale)
        for layer in readers or ():
            _scale_inputs(layer, scale)
        return bool(readers)

    def _takers(self, tensor: Tensor, scale: np.ndarray) -> list[Any] | None:
        takers: list[Any] = []
        if id(tensor) in self._ends:
            return None
        for call in self._readers[id(tensor)]:
            layer = call.operation
            if type(layer) in (*_DENSE_CONVOLUTIONS, layers.DepthwiseConv2D) and self._times[id(layer)] == 1:
                if getattr(layer, "groups", 1) != 1:
                    return None
                takers.append(layer)
            elif _passes(layer, scale):
                further = self._takers(call.outputs[0], scale)
                if further is None:
                    return None
                takers += further
            else:
                return None
        return takers


def _passes(layer: Any, scale: np.ndarray) -> bool:
    """Return True for a layer without weights that a positive scale of channels can be taken through."""
    if isinstance(layer, _LINEAR) or getattr(layer, "activation", None) is activations.linear:
        return True
    relu = isinstance(layer, layers.ReLU) and layer.max_value is None and not layer.threshold
    relu |= isinstance(layer, layers.Activation) and layer.activation is activations.relu
    return bool((relu or isinstance(layer, _HOMOGENEOUS)) and (scale >= 0).all())


def _scale_outputs(layer: Any, scale: np.ndarray) -> bool:
    if type(layer) is layers.BatchNormalization:
        if not layer.scale or layer.axis not in (-1, len(layer._inbound_nodes[0].outputs[0].shape) - 1):
            return False
        _multiply(layer.gamma, scale)
        if layer.center:
            _multiply(layer.beta, scale)
        return True
    linear = layer.__dict__.get("activation") in (activations.linear, None)
    relu = layer.__dict__.get("activation") is activations.relu and (scale >= 0).all()
    if type(layer) not in (*_CONVOLUTIONS, layers.DepthwiseConv2D) or not (linear or relu):
        return False
    shape = tuple(layer.kernel.shape)
    filters = shape[-2:] if isinstance(layer, layers.DepthwiseConv2D) else shape[-1:]
    _multiply(layer.kernel, scale.reshape(filters))
    if layer.use_bias:
        _multiply(layer.bias, scale)
    return True


def _scale_inputs(layer: Any, scale: np.ndarray) -> None:
    _multiply(layer.kernel, scale[:, None])  # (…, channels, filters or multiplier)


def _multiply(variable: Any, scale: np.ndarray) -> None:
    variable.assign(np.asarray(variable) * scale)
