"""Prediction of a quantized file's noise: the float network with that file's roundings.

In: the float file, the quantized one, and ranges. Out: a file that rounds alike and computes in float.
"""

from typing import Any

import numpy as np

from keras_se.export.quantization.calibration import Ranges
from keras_se.export.tflite.constants import constants, dequantized, original_name
from keras_se.export.tflite.flatbuffer import WEIGHTED, schema
from keras_se.export.tflite.graph_edits import new_operation
from keras_se.export.tflite.model import TFLiteModel

_Code = schema.BuiltinOperator
_INT8 = schema.TensorType.INT8
_FIXED = {"LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0), "SOFTMAX": (1 / 256, -128)}
"""Scale and zero point that int8 kernels give what they compute, whatever its range."""


def with_roundings(float_file: TFLiteModel, candidate: TFLiteModel, ranges: Ranges) -> TFLiteModel:
    """Return the float file with the candidate's constants and with its 8-bit activations rounded to 8 bits.

    It computes in float: no integer kernel, and none of the candidate's scales of activations, is trusted.

    Args:
        ranges: of the float file's activations, on the images that the two are compared on.
    """
    model = float_file.editable()
    [graph] = model.subgraphs
    meant = {original_name(name): dequantized(values, known) for name, values, known in constants(candidate)}
    for tensor in graph.tensors:
        values, buffer = meant.get(tensor.name.decode()), model.buffers[tensor.buffer]
        if values is not None and tensor.type == schema.TensorType.FLOAT32 and buffer.data is not None:
            buffer.data = np.frombuffer(values.astype("float32").tobytes(), np.uint8)
    kinds = dict(zip(graph.operators, float_file.operation_names, strict=False))
    rounded = _rounded(candidate)
    moving = float_file.activations
    written = [(None, int(index)) for index in graph.inputs]
    written += [(op, int(index)) for op in graph.operators for index in op.outputs if int(index) in moving]
    after: dict[Any, list[Any]] = {}  # by an operation; by None, what follows the inputs
    for op, index in written:
        name = graph.tensors[index].name.decode()
        if name not in rounded or name not in ranges:
            continue
        scale, zero = _FIXED.get(kinds.get(op, "")) or _scale(**ranges[name])
        integer = _add(graph, index, f"{name}_integer", _INT8, scale, zero)
        back = _add(graph, index, f"{name}_rounded", schema.TensorType.FLOAT32)
        for reader in graph.operators:
            reader.inputs = np.where(np.asarray(reader.inputs) == index, back, reader.inputs).astype(np.int32)
        graph.outputs = np.where(np.asarray(graph.outputs) == index, back, graph.outputs).astype(np.int32)
        after.setdefault(op, []).append(new_operation(model, _Code.QUANTIZE, [index], integer))
        after[op].append(new_operation(model, _Code.DEQUANTIZE, [integer], back))
    graph.operators = after.get(None, []) + [each for op in graph.operators for each in (op, *after.get(op, ()))]
    for signature in model.signatureDefs or ():
        signature.outputs[0].tensorIndex = int(graph.outputs[0])
    return TFLiteModel.packed(model)


def _rounded(candidate: TFLiteModel) -> set[str]:
    """Return the activations that the candidate holds in 8 bits, or rounds to 8 bits where an operation reads them."""
    graph, moving = candidate.graph, candidate.activations
    rounded = {index for index in moving if graph.tensors[index].type == _INT8}
    for op, kind in zip(graph.operators, candidate.operation_names, strict=False):
        if kind in WEIGHTED and graph.tensors[op.inputs[1]].type == _INT8:
            rounded.add(int(op.inputs[0]))  # dynamic, where that is a float
    return {original_name(graph.tensors[index].name.decode()) for index in rounded}


def _scale(min: Any, max: Any) -> tuple[float, int]:
    low, high = np.minimum(min, 0).item(), np.maximum(max, 0).item()
    scale = (high - low) / 255
    return scale, round(-128 - low / scale)


def _add(graph: Any, like: int, name: str, kind: int, scale: float | None = None, zero: int = 0) -> int:
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.shape, tensor.hasRank = name.encode(), kind, graph.tensors[like].shape, True
    tensor.buffer = 0
    if scale is not None:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.array([scale], "float32")
        tensor.quantization.zeroPoint = np.array([zero], "int64")
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1
