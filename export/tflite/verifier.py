"""Verification of a .tflite file from elsewhere: all that this package's own reading of it relies on.

In: bytes, in a child process. Out: the first problem, or none.
"""

import math
from collections.abc import Iterator
from typing import Any

from keras_se.export.tflite import flatbuffer
from keras_se.optional_packages import import_extra


def find_problem(content: bytes) -> dict[str, str | None]:
    """Return the file's first problem, or None, under "problem"; to be run in a child process.

    LiteRT verifies the flatbuffer itself; whatever points to nothing is looked for here. What an operation makes of
    its inputs is only known when it runs.
    """
    try:
        import_extra("ai_edge_litert.interpreter", "edge").Interpreter(model_content=content)
        return {"problem": next(_problems(flatbuffer.unpack(content), len(content)), None)}
    except (ValueError, RuntimeError) as error:
        return {"problem": " ".join(str(error).split())[:200]}


def _problems(model: Any, size: int) -> Iterator[str]:
    operations = flatbuffer.builtin_names()
    for number, code in enumerate(_list(model.operatorCodes)):
        if flatbuffer.builtin_code(code) not in operations:
            yield f"operation code {number} is {flatbuffer.builtin_code(code)}, which no operation has"
    buffers = _list(model.buffers)
    if any(buffer.offset + buffer.size > size for buffer in buffers):
        yield "a buffer ends behind the file"
    if any(entry.buffer >= len(buffers) for entry in _list(model.metadata)):
        yield "metadata in a buffer that is not there"
    for graph in _list(model.subgraphs):
        yield from _problems_of(graph, len(_list(model.operatorCodes)), len(buffers))
        yield from _constants_of_another_size(graph, buffers)
    if not _list(model.subgraphs):
        yield "it has no graph"
        return
    tensors = len(_list(model.subgraphs[0].tensors))
    for signature in _list(model.signatureDefs):
        places = [tensor.tensorIndex for tensor in (*_list(signature.inputs), *_list(signature.outputs))]
        if not _list(signature.outputs) or any(place >= tensors for place in places):
            yield "a signature of tensors that are not there"


def _problems_of(graph: Any, codes: int, buffers: int) -> Iterator[str]:
    tensors, operators = _list(graph.tensors), _list(graph.operators)
    types = flatbuffer.tensor_types()
    for number, tensor in enumerate(tensors):
        if not tensor.name:
            yield f"tensor {number} has no name"
        elif not _is_text(tensor.name):
            yield f"the name of tensor {number} is no text"
        if tensor.buffer >= buffers:
            yield f"tensor {number} is in a buffer that is not there"
        if tensor.type not in types:
            yield f"tensor {number} is of type {tensor.type}, which there is not"
    if not operators:
        yield "it has no operations"
    read, written = [graph.inputs, graph.outputs], []
    for number, op in enumerate(operators):
        read.append(op.inputs)
        written.append(op.outputs)
        if op.outputs is not None and len(op.outputs) == 0:
            yield f"operation {number} gives nothing"
        if op.opcodeIndex >= codes:
            yield f"operation {number} has a code that is not there"
    if any(vector is None for vector in (*read, *written)) or not (len(graph.inputs) and len(graph.outputs)):
        yield "inputs or outputs are missing"
    elif not (_within(read[:2] + written, 0, len(tensors)) and _within(read[2:], -1, len(tensors))):  # -1: left out
        yield "an operation reads or writes a tensor that is not there"


_WIDTHS = {
    **dict.fromkeys(("INT8", "UINT8", "BOOL"), 1),
    **dict.fromkeys(("INT16", "UINT16", "FLOAT16"), 2),
    **dict.fromkeys(("INT32", "UINT32", "FLOAT32"), 4),
    **dict.fromkeys(("INT64", "UINT64", "FLOAT64"), 8),
}
"""Bytes of a number, of the types that have whole ones and always as many."""


def _constants_of_another_size(graph: Any, buffers: Any) -> Iterator[str]:
    types = flatbuffer.tensor_types()
    for number, tensor in enumerate(_list(graph.tensors)):
        buffer = buffers[tensor.buffer]
        held = buffer.size if buffer.offset > 1 else len(_list(buffer.data))
        width = _WIDTHS.get(types[tensor.type])
        if held and width and tensor.sparsity is None and held != width * math.prod(map(int, _list(tensor.shape))):
            yield f"tensor {number} has {held} bytes, which its shape and type do not"


def _is_text(name: bytes) -> bool:
    try:
        return name.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _within(vectors: list[Any], least: int, count: int) -> bool:
    return all(least <= index < count for vector in vectors for index in vector)


def _list(vector: Any) -> Any:
    return [] if vector is None else vector
