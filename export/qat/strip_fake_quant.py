"""Fake quantization taken out of a float .tflite file.

In: a float file with pairs of QUANTIZE and DEQUANTIZE. Out: the file without them, and their ranges.
"""

from typing import Any

import numpy as np

from keras_se.export.quantization.calibration import Ranges
from keras_se.export.tflite.graph_edits import drop_untouched
from keras_se.export.tflite.model import TFLiteModel

# Operations whose output has the scale of their input, and those whose scale is fixed.
_SAME_SCALE = frozenset(
    {"MAX_POOL_2D", "AVERAGE_POOL_2D", "RESHAPE", "PAD", "PADV2", "TRANSPOSE", "STRIDED_SLICE", "REDUCE_MAX"}
)
_FIXED = {"SOFTMAX": (0.0, 255 / 256), "LOGISTIC": (0.0, 255 / 256), "TANH": (-1.0, 127 / 128)}


def strip_fake_quant(file: TFLiteModel) -> tuple[TFLiteModel, Ranges]:
    """Remove the fake quantizations of a float file, and return the file with the range of each activation.

    The converter writes a fake quantization as QUANTIZE and DEQUANTIZE. Both go, and what the pair's scale and zero
    point can say becomes the range of the tensor before it, for the quantizer.

    Raises:
        ValueError: a tensor that would be quantized has no range.
    """
    model = file.editable()
    graph = model.subgraphs[0]
    names = file.operation_names
    before: dict[int, int] = {}  # a tensor of a pair: the one that enters the pair
    ends: dict[int, tuple[float, float]] = {}
    kept = []
    for operator, name in zip(graph.operators, names, strict=True):
        if name == "QUANTIZE":
            source, marked = int(operator.inputs[0]), int(operator.outputs[0])
            if source in before:
                raise ValueError(f"a range must belong to one operation; got two in a row at {_name(graph, source)}")
            before[marked] = source
            ends[source] = _ends(graph.tensors[marked].quantization)
        elif name == "DEQUANTIZE" and int(operator.inputs[0]) in before:
            before[int(operator.outputs[0])] = before[int(operator.inputs[0])]
        else:
            operator.inputs = np.array([before.get(int(index), int(index)) for index in operator.inputs], np.int32)
            kept.append((operator, name))
    graph.operators = [operator for operator, _ in kept]
    graph.outputs = np.array([before.get(int(index), int(index)) for index in graph.outputs], np.int32)
    for signature in model.signatureDefs or ():
        for output in signature.outputs:
            output.tensorIndex = before.get(output.tensorIndex, output.tensorIndex)
    # A tensor that is only joined to others has the scale of the whole.
    joins = [operator for operator, name in kept if name == "CONCATENATION"]
    joined = {int(index): int(operator.outputs[0]) for operator in joins for index in operator.inputs}
    for operator, name in kept:
        [output] = (int(index) for index in operator.outputs)
        if output not in ends and joined.get(output) in ends:
            ends[output] = ends[joined[output]]
        if output not in ends:
            ends[output] = _constrained(name, ends.get(int(operator.inputs[0])), graph.tensors[output].name)
    ranges = {_name(graph, index): _range(*pair) for index, pair in ends.items()}
    drop_untouched(model)
    return TFLiteModel.packed(model), ranges


def _ends(quantization: Any) -> tuple[float, float]:
    scale, zero = float(quantization.scale[0]), int(quantization.zeroPoint[0])
    return (0 - zero) * scale, (255 - zero) * scale  # the pair is of type uint8


def _constrained(operation: str, before: tuple[float, float] | None, tensor: bytes) -> tuple[float, float]:
    if operation in _FIXED:
        return _FIXED[operation]
    if operation in _SAME_SCALE and before is not None:
        return before
    raise ValueError(f"every activation must have a range; got none for {tensor.decode()}, of {operation}")


def _name(graph: Any, index: int) -> str:
    return graph.tensors[index].name.decode()


def _range(low: float, high: float) -> dict[str, np.ndarray]:
    return {"min": np.array([[[[low]]]], "float32"), "max": np.array([[[[high]]]], "float32")}
