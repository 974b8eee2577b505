"""Biases that their integer type can hold.

In: a quantized file and the float file that it was made of. Out: the file with coarser steps where a bias needs them.
"""

from typing import Any

import numpy as np

from keras_se.export.tflite import flatbuffer
from keras_se.export.tflite.constants import constants, original_name
from keras_se.export.tflite.model import TFLiteModel

_BIAS_OF = {**dict.fromkeys(flatbuffer.WEIGHTED, 2), "TRANSPOSE_CONV": 3}
"""Index of the bias among an operation's inputs; the kernel is the second."""
_INPUT_OF = {**dict.fromkeys(flatbuffer.WEIGHTED, 0), "TRANSPOSE_CONV": 2}
_MOST = {"INT32": 2**30, "INT64": 2**38}
"""Steps that a bias may have: the sum of products is added in 32 bits, or in the 40 that an Ethos-U has."""


def with_biases_in_range(quantized: TFLiteModel, float_file: TFLiteModel) -> TFLiteModel:
    """Return the quantized file with coarser steps for kernels that are too small beside their bias.

    A bias has the step of its input times that of its kernel. Where a channel's kernel is next to nothing, as after a
    batch normalization of a huge variance or of a gamma that training took to 0, so is this step; and the bias, which
    is all that the channel gives, would be cut off at the end of its type.

    Args:
        quantized: of the quantizer, made of `float_file`.
    """
    originals = {name: values for name, values, _ in constants(float_file) if values.dtype == np.float32}
    model = quantized.editable()
    changed = False
    for graph in model.subgraphs:
        for kernel, users in _users_of_kernels(model, graph).items():
            changed |= _coarsen(model, graph, kernel, users, originals)
    return TFLiteModel.packed(model) if changed else quantized


def _users_of_kernels(model: Any, graph: Any) -> dict[int, list[tuple[int, int]]]:
    """Return the input and the bias of each operation with an integer bias, by the index of its kernel."""
    names, types = flatbuffer.builtin_names(), flatbuffer.tensor_types()
    users: dict[int, list[tuple[int, int]]] = {}
    for op in graph.operators:
        kind = names[flatbuffer.builtin_code(model.operatorCodes[op.opcodeIndex])]
        place = _BIAS_OF.get(kind)
        if place is not None and len(op.inputs) > place and op.inputs[place] >= 0:
            taken, kernel, bias = (int(op.inputs[position]) for position in (_INPUT_OF[kind], 1, place))
            if types[graph.tensors[kernel].type] == "INT8" and types[graph.tensors[bias].type] in _MOST:
                users.setdefault(kernel, []).append((taken, bias))
    return users


def _coarsen(model: Any, graph: Any, kernel: int, users: list[tuple[int, int]], originals: dict) -> bool:
    tensor = graph.tensors[kernel]
    weights = originals.get(original_name(tensor.name.decode()))
    if weights is None:
        return False
    scale = np.asarray(tensor.quantization.scale, "float64")
    steps = [float(graph.tensors[taken].quantization.scale[0]) for taken, _ in users]
    values = [_bias(model, graph.tensors[bias], originals) for _, bias in users]
    least = scale
    types = flatbuffer.tensor_types()
    for step, (_, bias), value in zip(steps, users, values, strict=True):
        needed = np.abs(value) / (step * _MOST[types[graph.tensors[bias].type]])
        least = np.maximum(least, needed if len(scale) == len(needed) else needed.max())
    # The quantizer cuts off at 32 bits even where the type has 64.
    cut = any((np.abs(value) >= step * scale * 2**31).any() for step, value in zip(steps, values, strict=True))
    if (least <= scale).all() and not cut:
        return False
    least = least.astype("float32").astype("float64")
    tensor.quantization.scale = least.astype("float32")
    shape = [1] * weights.ndim
    if len(least) > 1:
        shape[tensor.quantization.quantizedDimension] = -1
    rounded = np.clip(np.round(weights / least.reshape(shape)), -127, 127)
    _set(model, tensor, rounded.astype("int8"))
    for step, (_, bias), value in zip(steps, users, values, strict=True):
        of_bias = graph.tensors[bias]
        of_bias.quantization.scale = (step * least).astype("float32")
        wanted = np.round(value / of_bias.quantization.scale.astype("float64"))
        _set(model, of_bias, wanted.astype(types[of_bias.type].lower()))
    return True


def _bias(model: Any, tensor: Any, originals: dict[str, np.ndarray]) -> np.ndarray:
    original = originals.get(original_name(tensor.name.decode()))
    if original is not None:
        return original.astype("float64")
    dtype = flatbuffer.tensor_types()[tensor.type].lower()
    stored = np.frombuffer(model.buffers[tensor.buffer].data.tobytes(), dtype)
    return stored * np.asarray(tensor.quantization.scale, "float64")


def _set(model: Any, tensor: Any, values: np.ndarray) -> None:
    """Give a tensor a buffer of its own, as another may share the old one."""
    buffer = flatbuffer.schema.BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    tensor.buffer = len(model.buffers)
    model.buffers.append(buffer)
