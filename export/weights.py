"""The constants of a quantized file, one by one against the float file that it was made from."""

import re
from typing import NamedTuple

import numpy as np

from keras_se.export.flatbuffer import schema, unpack

_DTYPES = {
    schema.TensorType.FLOAT32: "float32",
    schema.TensorType.FLOAT16: "float16",
    schema.TensorType.INT8: "int8",
    schema.TensorType.INT32: "int32",
    schema.TensorType.INT64: "int64",
}
_FLOAT16_STEP = 2.0**-10  # spacing of its numbers, over their magnitude


class WeightError(NamedTuple):
    """How far the worst constant is from its original, in steps of its own scale; half a step is rounding."""

    steps: float
    tensor: str
    compared: int
    """How many constants have an original."""


def weight_error(float_file: bytes, candidate: bytes) -> WeightError:
    """The greatest difference between a quantized constant and the float constant of the same name."""
    originals = {name: values for name, values, _ in constants(float_file) if values.dtype == np.float32}
    worst, where, compared = 0.0, "", 0
    for name, values, quantization in constants(candidate):
        original = originals.get(re.sub(r"_duplicated_\d+$", "", name))
        if original is None or original.shape != values.shape:
            continue
        compared += 1
        error = _steps(values, original, quantization)
        if not error <= worst:  # a NaN is worst of all
            worst, where = error, name
    return WeightError(worst, where, compared)


def _steps(values, original, quantization) -> float:
    if values.dtype.kind == "f":
        return float(np.max(np.abs(values - original) / (_FLOAT16_STEP * np.abs(original) + 2.0**-24)))
    shape = [1] * values.ndim
    if len(quantization.scale) > 1:
        shape[quantization.quantizedDimension] = -1
    scale = np.reshape(quantization.scale, shape).astype("float64")
    wanted = original / scale
    got = values - np.reshape(quantization.zeroPoint, shape)
    # The scale is a float32: a bias of millions of steps is not known to half a step.
    return float(np.max(np.abs(got - wanted) / (1 + 2.0**-22 * np.abs(wanted))))


def constants(content: bytes):
    """Name, values and quantization of each constant tensor."""
    model = unpack(content)
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            data = model.buffers[tensor.buffer].data
            if data is None or len(data) == 0 or tensor.type not in _DTYPES:
                continue
            values = np.frombuffer(data.tobytes(), _DTYPES[tensor.type]).reshape(tensor.shape)
            yield tensor.name.decode(), values, tensor.quantization
