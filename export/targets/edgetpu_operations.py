"""Operations of a file as the Edge TPU's rules ask about them.

In: a file. Out: each operation with the shapes, types and constants of its tensors.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from keras_se.export.tflite import flatbuffer
from keras_se.export.tflite.model import TFLiteModel


class Tensor(NamedTuple):
    """Facts of a tensor that the rules ask for."""

    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    """Shape, with -1 for what is known only when it runs."""
    type: str
    zero_point: int
    value: np.ndarray | None
    """Value of a constant; None for an activation."""


class Operation(NamedTuple):
    """One operation of a file."""

    name: str
    options: Any
    """Options object of the schema, with the operation's own fields."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def operations_of(file: TFLiteModel) -> Iterator[Operation]:
    """Yield the operations of a file's main graph in the order in which they run."""
    file = file.inlined
    graph, moving, buffers = file.graph, file.activations, file.unpacked.buffers
    types = flatbuffer.tensor_types()

    def tensor(index: int) -> Tensor:
        entry = graph.tensors[index]
        shape = () if entry.shape is None else tuple(map(int, entry.shape))
        signature = shape if entry.shapeSignature is None else tuple(map(int, entry.shapeSignature))
        zeros = None if entry.quantization is None else entry.quantization.zeroPoint
        data = None if index in moving else buffers[entry.buffer].data
        kind = types[entry.type]
        value = None if data is None else np.asarray(data, np.uint8)
        if value is not None and kind.lower() in np.sctypeDict:
            value = value.view(kind.lower())
        return Tensor(entry.name.decode(), shape, signature, kind, 0 if zeros is None else int(zeros[0]), value)

    for op, name in zip(graph.operators, file.operation_names, strict=False):  # those of one subgraph
        inputs = tuple(tensor(int(index)) for index in op.inputs if index >= 0)
        yield Operation(name, op.builtinOptions, inputs, tuple(tensor(int(index)) for index in op.outputs))
