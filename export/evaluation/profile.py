"""Operations of a file as files of their own, each with the Keras layer that it comes from.

XNNPACK makes one operation of a whole graph, and LiteRT's Python interpreter has no profiler: so each operation runs
as a file of its own, on the same engine. Its weights lie in the cache then as they may not in the whole, and each call
costs a few microseconds: the sum is not the whole's latency, and stands beside it.
"""

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from keras_se.export.tflite.flatbuffer import pack
from keras_se.export.tflite.graph_edits import drop_untouched
from keras_se.export.tflite.layer_names import layer_of
from keras_se.export.tflite.model import TFLiteModel


class Operation(NamedTuple):
    """One operation, as a file of its own."""

    name: str
    """Name of the operation in the schema."""
    layer: str
    """Name of the Keras layer, for a layer within another with the outer one's before a slash; "" if no name says."""
    tensor: str
    """Name of the tensor that it writes."""
    content: bytes


def operations(content: bytes) -> Iterator[Operation]:
    """Yield each operation that depends on the input, with those that prepare its constants, in their order."""
    file = TFLiteModel(content).inlined
    graph, active = file.graph, file.activations
    preparing = [op for op in graph.operators if active.isdisjoint(map(int, op.outputs))]
    for op, name in zip(graph.operators, file.operation_names, strict=False):  # those of loops come behind
        if op not in preparing:
            tensor = graph.tensors[op.outputs[0]].name.decode()
            yield Operation(name, layer_of(graph, op), tensor, _alone(file.unpacked, op, preparing, active))


def _alone(model: Any, op: Any, preparing: list[Any], active: frozenset[int]) -> bytes:
    """Return a file of the operation alone, whose inputs are what it reads from others."""
    alone = copy.copy(model)
    graph = copy.copy(model.subgraphs[0])
    graph.operators = [copy.copy(part) for part in (*_needed(op, preparing), op)]
    graph.inputs = np.array([index for index in dict.fromkeys(map(int, op.inputs)) if index in active], np.int32)
    graph.outputs = np.array(op.outputs, np.int32)
    alone.subgraphs, alone.signatureDefs, alone.metadata = [graph], None, None
    alone.buffers = [copy.copy(buffer) for buffer in model.buffers]
    drop_untouched(alone)
    return pack(alone)


def _needed(op: Any, preparing: list[Any]) -> list[Any]:
    """Return the preparing operations that the operation's constants come from, in the order of the graph."""
    read, needed = set(map(int, op.inputs)), []
    for earlier in reversed(preparing):
        if not read.isdisjoint(map(int, earlier.outputs)):
            read.update(map(int, earlier.inputs))
            needed.append(earlier)
    return needed[::-1]
