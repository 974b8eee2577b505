"""Parts that the operations of a .tflite file play, told by the graph alone.

In: the bytes of a file. Out: the operations of a part, as scopes.

An operation is given as its scope, by which the quantizer knows it too: the names of its outputs, each followed by a
semicolon. The scope of the file's input is its own name.
"""

from typing import Any

from keras_se.errors import InputError
from keras_se.export.tflite.flatbuffer import WEIGHTED
from keras_se.export.tflite.model import TFLiteModel


def se_branch_ops(file: TFLiteModel) -> list[str]:
    """Find the operations of every SE branch, in the graph's order: the squeeze, the two layers, and the gate.

    The branch is what computes one factor of a MUL from the other with a convolution on the way, which sets it apart
    from swish, `x * sigmoid(x)`; or from what the convolution before the other reads, as `lowering` may write it. The
    MUL itself is not of it.

    Raises:
        InputError: there is none.
    """
    graph, names, moving = _read(file)
    writer = {int(output): number for number, op in enumerate(graph.operators) for output in op.outputs}
    branch_ops: set[int] = set()
    for op, name in zip(graph.operators, names, strict=True):
        factors = [int(index) for index in op.inputs if index in moving]
        if name != "MUL" or len(factors) != 2:
            continue
        for scaled, gate in (factors, factors[::-1]):
            before = writer.get(scaled)
            starts = [scaled]
            if before is not None and names[before] in WEIGHTED:
                starts.append(int(graph.operators[before].inputs[0]))
            for chain in (_between(graph, writer, moving, start, gate) for start in starts):
                if before not in chain and any(names[number] in WEIGHTED for number in chain):
                    branch_ops |= chain
    if not branch_ops:
        raise InputError("the network has no SE: nothing in it is scaled by what a convolution makes of it")
    return [op_scope(graph, graph.operators[number]) for number in sorted(branch_ops)]


def first_and_last(file: TFLiteModel) -> list[str]:
    """Find the input with all up to the first convolution, and the last layer with weights and what follows.

    Raises:
        InputError: the network has fewer than two layers with weights.
    """
    graph, names, _ = _read(file)
    layers = [number for number, name in enumerate(names) if name in WEIGHTED]
    if len(layers) < 2:
        raise InputError(f"there must be a first and a last layer with weights; the network has {len(layers)} of them")
    outer = [*graph.operators[: layers[0] + 1], *graph.operators[layers[-1] :]]
    return [f"{graph.tensors[graph.inputs[0]].name.decode()};", *(op_scope(graph, op) for op in outer)]


def adjacent_ops(file: TFLiteModel) -> dict[str, list[str]]:
    """Return each operation, those it reads from and those that read it, by the name of the tensor that it writes."""
    graph = file.graph
    writer = {int(index): op for op in graph.operators for index in op.outputs}
    scopes_by_tensor = {index: [op_scope(graph, op)] for index, op in writer.items()}
    for op in graph.operators:
        for index in map(int, op.inputs):
            if index in writer:
                scopes_by_tensor[index].append(op_scope(graph, op))
                for output in map(int, op.outputs):
                    scopes_by_tensor[output].append(op_scope(graph, writer[index]))
    return {graph.tensors[index].name.decode(): scopes for index, scopes in scopes_by_tensor.items()}


def _read(file: TFLiteModel) -> tuple[Any, list[str], frozenset[int]]:
    return file.graph, file.operation_names, file.activations


def _between(graph, writer: dict[int, int], moving: frozenset[int], start: int, end: int) -> set[int]:
    """Return the operations that compute `end` from `start` alone; none where something else flows in."""
    chain: set[int] = set()
    open_ends = [end]
    while open_ends:
        index = open_ends.pop()
        if index == start or writer.get(index) in chain:
            continue
        if index not in writer:
            return set()  # the file's input
        chain.add(writer[index])
        open_ends += [int(source) for source in graph.operators[writer[index]].inputs if source in moving]
    return chain


def op_scope(graph: Any, op: Any) -> str:
    """Return the name by which the quantizer knows an operation of a subgraph."""
    return "".join(f"{graph.tensors[index].name.decode()};" for index in op.outputs)
