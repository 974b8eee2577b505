"""Comparison of a file's constants and operations with those of the float file that it was made from.

In: two files. Out: the worst constant in steps of its own scale, and the first operation that differs.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from keras_se.export.tflite.flatbuffer import CASTS, WEIGHTED, schema
from keras_se.export.tflite.model import TFLiteModel

_DTYPES = {
    schema.TensorType.FLOAT32: "float32",
    schema.TensorType.FLOAT16: "float16",
    schema.TensorType.INT8: "int8",
    schema.TensorType.INT32: "int32",
    schema.TensorType.INT64: "int64",
}
_FLOAT16_STEP = 2.0**-10  # spacing of its numbers, over their magnitude


class WeightError(NamedTuple):
    """Distance of the worst constant from its original, in steps of its own scale; half a step is rounding."""

    steps: float
    tensor: str
    compared: int
    """Constants that have an original."""


def weight_error(float_file: TFLiteModel, candidate: TFLiteModel) -> WeightError:
    """Return the greatest difference between a quantized constant and the float constant of the same name."""
    originals = {name: values for name, values, _ in constants(float_file) if values.dtype == np.float32}
    worst, where, compared = 0.0, "", 0
    for name, values, quantization in constants(candidate):
        original = originals.get(original_name(name))
        if original is None or original.shape != values.shape:
            continue
        compared += 1
        error = _steps(values, original, quantization)
        if not error <= worst:  # a NaN is worst of all
            worst, where = error, name
    return WeightError(worst, where, compared)


def original_name(name: str) -> str:
    """Return a tensor's name in the float file: the quantizer numbers copies, and a change of type takes the name."""
    return re.sub(r"(_duplicated_\d+|_inside)+$", "", name)


class Operation(NamedTuple):
    """An operation without its constants."""

    kind: str
    activation: int
    """Fused into it: a number of the schema."""
    biased: bool


def operations_by_output(file: TFLiteModel) -> dict[str, Operation]:
    """Return each operation that computes, by the name of its first output."""
    graph = file.graph
    return {
        original_name(graph.tensors[op.outputs[0]].name.decode()): Operation(
            kind,
            getattr(op.builtinOptions, "fusedActivationFunction", 0) or 0,
            kind in WEIGHTED and len(op.inputs) > 2 and int(op.inputs[2]) >= 0,
        )
        for op, kind in zip(graph.operators, file.operation_names, strict=False)  # those of loops come behind
        if kind not in CASTS
    }


def other_operation(float_file: TFLiteModel, candidate: TFLiteModel) -> str:
    """Name the first operation that the candidate lacks or has otherwise than the float file; empty if there is none.

    A constant that is right proves little where its convolution has lost its ReLU or its bias.
    """
    wanted, got = operations_by_output(float_file), operations_by_output(candidate)
    for name, operation in wanted.items():
        if name not in got:
            return f"the candidate has no {operation.kind} that gives {name}"
        if got[name] != operation:
            return f"{_described(got[name])} gives {name}, where the model has {_described(operation)}"
    return ""


def _described(operation: Operation) -> str:
    fused = {value: name for name, value in vars(schema.ActivationFunctionType).items() if not name.startswith("_")}
    kind = operation.kind if operation.activation == 0 else f"{operation.kind} with {fused[operation.activation]}"
    return kind if operation.biased or operation.kind not in WEIGHTED else f"{kind} without a bias"


def dequantized(values: np.ndarray, quantization: Any) -> np.ndarray:
    """Return the float values of a constant; one without a scale is returned as it is."""
    if quantization is None or quantization.scale is None or len(quantization.scale) == 0:
        return values
    return (values - along_channels(quantization.zeroPoint, values, quantization)) * along_channels(
        quantization.scale, values, quantization
    ).astype("float64")


def along_channels(numbers: Any, values: np.ndarray, quantization: Any) -> np.ndarray:
    """Return scales or zero points, one or one a channel, in a shape that broadcasts with the values."""
    shape = [1] * values.ndim
    if len(numbers) > 1:
        shape[quantization.quantizedDimension] = -1
    return np.reshape(numbers, shape)


def _steps(values, original, quantization) -> float:
    if values.dtype.kind == "f":
        return float(np.max(np.abs(values - original) / (_FLOAT16_STEP * np.abs(original) + 2.0**-24)))
    scale = along_channels(quantization.scale, values, quantization).astype("float64")
    wanted = original / scale
    got = values - along_channels(quantization.zeroPoint, values, quantization)
    # Scales are float32, and a batch normalisation folded on another processor gives other last bits, of the size of
    # the layer's greatest bias: one of millions of steps, as beside 16-bit activations, is not known to half a step.
    unknown = 2.0**-21 * np.max(np.abs(original), initial=0) / scale
    return float(np.max(np.abs(got - wanted) / (1 + unknown)))


def constants(file: TFLiteModel) -> Iterator[tuple[str, np.ndarray, Any]]:
    """Yield name, values and quantization of each constant tensor."""
    model = file.unpacked
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            data = model.buffers[tensor.buffer].data
            if data is None or len(data) == 0 or tensor.type not in _DTYPES:
                continue
            values = np.frombuffer(data.tobytes(), _DTYPES[tensor.type]).reshape(tensor.shape)
            yield tensor.name.decode(), values, tensor.quantization
