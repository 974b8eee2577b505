"""Edits of an unpacked .tflite file that no converter offers.

In: the schema's object, from `TFLiteModel.editable`, which each edit changes in place. `TFLiteModel.packed` makes the
file of it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_se.export.tflite.flatbuffer import builtin_code, schema

_Types = schema.TensorType


def add_constant(model: Any, name: str, values: np.ndarray) -> int:
    """Add a tensor of these values, int32 where they are that and else float32, and return its index."""
    [graph] = model.subgraphs
    buffer, tensor = schema.BufferT(), schema.TensorT()
    dtype, kind = ("int32", _Types.INT32) if values.dtype == np.int32 else ("float32", _Types.FLOAT32)
    buffer.data = np.frombuffer(values.astype(dtype).tobytes(), np.uint8)
    tensor.name, tensor.type, tensor.shape = name.encode(), kind, np.array(values.shape, np.int32)
    tensor.hasRank = True
    tensor.buffer = len(model.buffers)
    model.buffers.append(buffer)
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def new_operation(model: Any, builtin: int, reads: Sequence[int], writes: int) -> Any:
    """Make an operation for the model's graph, which does not hold it yet, and see that its code is among the model's.

    Args:
        reads: indices of its input tensors.
        writes: index of its output tensor.
    """
    op = schema.OperatorT()
    op.opcodeIndex = _place_of_code(model, builtin)
    op.inputs, op.outputs = np.array(reads, np.int32), np.array([writes], np.int32)
    return op


def _place_of_code(model: Any, builtin: int) -> int:
    for number, code in enumerate(model.operatorCodes):
        if builtin_code(code) == builtin:
            return number
    new = schema.OperatorCodeT()
    new.builtinCode, new.version = builtin, 1  # `pack` fills the older field
    model.operatorCodes.append(new)
    return len(model.operatorCodes) - 1


def drop_untouched(model: Any) -> None:
    """Remove the tensors that no operation reads or writes, and the values of constants that no tensor has."""
    [graph] = model.subgraphs
    touched = {int(index) for op in graph.operators for index in (*op.inputs, *op.outputs)}
    kept = sorted((touched | {int(index) for index in (*graph.inputs, *graph.outputs)}) - {-1})
    places = {old: new for new, old in enumerate(kept)} | {-1: -1}  # -1 is an input that is left out

    def moved(indices: Any) -> np.ndarray:
        return np.array([places[int(index)] for index in indices], np.int32)

    graph.tensors = [graph.tensors[old] for old in kept]
    graph.inputs, graph.outputs = moved(graph.inputs), moved(graph.outputs)
    for op in graph.operators:
        op.inputs, op.outputs = moved(op.inputs), moved(op.outputs)
    for signature in model.signatureDefs or ():
        for tensor in (*signature.inputs, *signature.outputs):
            tensor.tensorIndex = places[tensor.tensorIndex]
    read = {tensor.buffer for tensor in graph.tensors} | {entry.buffer for entry in model.metadata or ()}
    for number, buffer in enumerate(model.buffers):
        if number not in read:
            buffer.data = None
