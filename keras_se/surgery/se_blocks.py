"""SE that a model has already: this package's layers, and what others write in layers of Keras.

In: a built functional or sequential model. Out: its blocks, in the order in which they run.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras

from keras_se.layers.gating_layer import GatingLayer
from keras_se.layers.squeeze_excite import SqueezeExcite
from keras_se.surgery.graphs import Call, Tensor, calls_of


class Block(NamedTuple):
    """An SE block of a model, or one of the layers beside SE."""

    path: str
    """Name of the layer, or of the multiplication by the gate; within another model, after that model's name and a
    slash."""
    operation: Any
    """The layer, or the multiplication."""
    map: Tensor
    """Feature map that it scales."""
    scaled: Tensor
    """What it gives."""
    channels: int
    channels_last: bool
    gate_index: int | None = None
    """Place of the gate among the multiplication's inputs; None of a layer."""
    inside: frozenset[int] = frozenset()
    """Ids of the tensors from the map to the gate, where they are the model's."""

    @property
    def is_layer(self) -> bool:
        return isinstance(self.operation, GatingLayer)

    @property
    def kind(self) -> type:
        """Class of the layer; of a block of Keras's layers `SqueezeExcite`."""
        return type(self.operation) if self.is_layer else SqueezeExcite


def blocks_of(model: keras.Model) -> list[Block]:
    """Return the SE blocks of a model and the layers beside SE, each once.

    A block of Keras's layers is a multiplication of a map by a gate of one position that layers with weights compute
    from that map and from nothing else, as in `keras.applications.MobileNetV3Small` and `EfficientNetB0`.
    """
    calls = list(calls_of(model))
    writers = {id(output): call for call in calls for output in call.outputs}
    blocks = {block.path: block for call in calls for block in _block(call, writers)}
    return list(blocks.values())


def layers_of(model: keras.Model, blocks: Sequence[Block]) -> Iterator[tuple[Block, list[str]]]:
    """Yield each block with the names of the layers and operations that it is made of."""
    calls = list(calls_of(model))
    for block in blocks:
        inside = [call.operation.name for call in calls if any(id(output) in block.inside for output in call.outputs)]
        yield block, [block.operation.name, *inside]


def _block(call: Call, writers: Mapping[int, Call]) -> Iterator[Block]:
    if isinstance(call.operation, GatingLayer):
        [source], [scaled] = call.inputs, call.outputs
        last = call.operation.channels_last
        yield Block(call.path, call.operation, source, scaled, source.shape[-1 if last else 1], last)
    elif type(call.operation).__name__ == "Multiply" and len(call.inputs) == 2:
        for place, (source, gate) in ((1, call.inputs), (0, call.inputs[::-1])):
            axis = _gate_axis(gate.shape)
            inside = None if axis is None else _between(source, gate, writers)
            if axis is not None and inside is not None:
                last = axis == len(gate.shape) - 1
                yield Block(call.path, call.operation, source, call.outputs[0], gate.shape[axis], last, place, inside)


def _gate_axis(shape: tuple[int | None, ...]) -> int | None:
    """Return the axis of the channels of a gate of one position; None for any other tensor."""
    if len(shape) >= 3 and set(shape[1:-1]) == {1}:
        return len(shape) - 1
    return 1 if len(shape) >= 3 and set(shape[2:]) == {1} else None


def _between(source: Tensor, gate: Tensor, writers: Mapping[int, Call]) -> frozenset[int] | None:
    """Return the ids of the tensors that lead to a gate; None where it needs more than the source, or no weights."""
    open_ends, inside, weighted = [gate], set(), False
    while open_ends:
        tensor = open_ends.pop()
        if tensor is source or id(tensor) in inside:
            continue
        if id(tensor) not in writers:
            return None  # the model's input
        inside.add(id(tensor))
        call = writers[id(tensor)]
        weighted |= bool(getattr(call.operation, "weights", []))
        open_ends += call.inputs
    return frozenset(inside) if weighted else None
