"""Types of a file's input and output, changed around the network inside.

In: a file. Out: the same network with float or uint8 inputs and outputs, or with its normalisation inside.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_se.export.tflite.flatbuffer import schema
from keras_se.export.tflite.graph_edits import add_constant, new_operation
from keras_se.export.tflite.model import TFLiteModel

_Types = schema.TensorType


def with_float_io(file: TFLiteModel) -> TFLiteModel:
    """Return the file with a float32 input and output; a QUANTIZE and a DEQUANTIZE of its own are inside.

    A file that has them already stays as it is.
    """
    return with_float_output(with_float_input(file))


def with_float_input(file: TFLiteModel) -> TFLiteModel:
    """Return the file with a float32 input, and a QUANTIZE inside where that was an integer."""
    model = file.editable()
    graph = model.subgraphs[0]
    for number, inner, outer in _integers(graph, graph.inputs):
        graph.operators.insert(0, new_operation(model, schema.BuiltinOperator.QUANTIZE, [outer], inner))
        _replace_input(model, number, outer)
    return TFLiteModel.packed(model)


def with_float_output(file: TFLiteModel) -> TFLiteModel:
    """Return the file with a float32 output, and a DEQUANTIZE inside where that was an integer."""
    model = file.editable()
    graph = model.subgraphs[0]
    for number, inner, outer in _integers(graph, graph.outputs):
        graph.operators.append(new_operation(model, schema.BuiltinOperator.DEQUANTIZE, [inner], outer))
        _replace_output(model, number, outer)
    return TFLiteModel.packed(model)


def _integers(graph: Any, io: Any) -> Iterator[tuple[int, int, int]]:
    """Yield place and tensor of each input or output that is not float32, with a new float32 tensor of its shape."""
    for number, index in enumerate(map(int, io)):
        if graph.tensors[index].type != _Types.FLOAT32:
            yield number, index, _added(graph, index, _Types.FLOAT32, None)


def with_uint8_io(file: TFLiteModel) -> TFLiteModel:
    """Return the file of one int8 input and output with uint8 ones: 128 more, which QUANTIZE inside takes and gives."""
    model = with_uint8_input(file).editable()
    graph = model.subgraphs[0]
    [index] = map(int, graph.outputs)
    outer = _added_uint8(graph, index)
    graph.operators.append(new_operation(model, schema.BuiltinOperator.QUANTIZE, [index], outer))
    _replace_output(model, 0, outer)
    return TFLiteModel.packed(model)


def with_uint8_input(file: TFLiteModel) -> TFLiteModel:
    """Return the file of one int8 input with a uint8 one: 128 more, and a QUANTIZE inside takes it away."""
    model = file.editable()
    graph = model.subgraphs[0]
    [index] = map(int, graph.inputs)
    outer = _added_uint8(graph, index)
    graph.operators.insert(0, new_operation(model, schema.BuiltinOperator.QUANTIZE, [outer], index))
    _replace_input(model, 0, outer)
    return TFLiteModel.packed(model)


def _added_uint8(graph: Any, index: int) -> int:
    """Add the uint8 tensor of the same numbers as an int8 one, and return its index."""
    quantization = copy.deepcopy(graph.tensors[index].quantization)
    quantization.zeroPoint = np.asarray(quantization.zeroPoint) + 128
    return _added(graph, index, _Types.UINT8, quantization)


def with_normalisation(file: TFLiteModel, mean: Sequence[float], std: Sequence[float]) -> TFLiteModel:
    """Return the file of one float input with one of pixels in 0..1, which a MUL and an ADD inside normalise.

    They stand before the network and so before its padding, which is of zeros after them.

    Args:
        mean: and `std`: by channel, of `(pixel - mean) / std`.
    """
    model = file.editable()
    graph = model.subgraphs[0]
    [index] = map(int, graph.inputs)
    outer = _added(graph, index, _Types.FLOAT32, None)
    scaled = _added(graph, index, _Types.FLOAT32, None)
    factors = add_constant(model, "factors", 1 / np.asarray(std))
    terms = add_constant(model, "terms", -np.asarray(mean) / np.asarray(std))
    multiply = new_operation(model, schema.BuiltinOperator.MUL, [outer, factors], scaled)
    multiply.builtinOptionsType, multiply.builtinOptions = schema.BuiltinOptions.MulOptions, schema.MulOptionsT()
    add = new_operation(model, schema.BuiltinOperator.ADD, [scaled, terms], index)
    add.builtinOptionsType, add.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
    graph.operators[:0] = [multiply, add]
    _replace_input(model, 0, outer)
    return TFLiteModel.packed(model)


def _added(graph: Any, like: int, kind: int, quantization: Any) -> int:
    """Add a tensor that takes name and shape of another, and return its index."""
    inner = graph.tensors[like]
    outer = copy.copy(inner)
    outer.type, outer.quantization, outer.buffer = kind, quantization, 0
    inner.name = inner.name + b"_inside"
    graph.tensors.append(outer)
    return len(graph.tensors) - 1


def _replace_input(model: Any, number: int, index: int) -> None:
    model.subgraphs[0].inputs[number] = index
    for signature in model.signatureDefs or ():
        signature.inputs[number].tensorIndex = index


def _replace_output(model: Any, number: int, index: int) -> None:
    model.subgraphs[0].outputs[number] = index
    for signature in model.signatureDefs or ():
        signature.outputs[number].tensorIndex = index
