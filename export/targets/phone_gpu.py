"""A phone's graphics processor, by LiteRT's GPU delegate.

In and out: a float file, which is refused where the delegate does not run the whole of it.

The analyzer that comes with TensorFlow and LiteRT cannot tell: since version 2.19 it calls every file compatible
(github.com/tensorflow/tensorflow/issues/77042). So what is published stands here as rows.
"""

from collections.abc import Mapping

from keras_se.errors import InputError
from keras_se.export.quantization.recipes import RECIPES
from keras_se.export.targets.base import DIMENSIONS, AllBut, Deliverable, Limit, QuantizedModel, Target
from keras_se.export.tflite import flatbuffer

_PAGE = "developers.google.com/edge/litert/performance/gpu, the operations supported in 16-bit and 32-bit floats"
_CHECK = "tensorflow/lite/tools/versioning/gpu_compatibility.cc, the delegate's own check, newer than the page"

OPERATIONS: Mapping[str, str] = {
    "ADD": _PAGE,
    "AVERAGE_POOL_2D": _PAGE,
    "CONCATENATION": _PAGE,
    "CONV_2D": _PAGE,
    "DEPTHWISE_CONV_2D": _PAGE,
    "DEQUANTIZE": _CHECK,  # of float16 weights
    "EXP": _PAGE,
    "FULLY_CONNECTED": _PAGE,
    "HARD_SWISH": _CHECK,
    "LOGISTIC": _PAGE,
    "MAXIMUM": _PAGE,
    "MAX_POOL_2D": _PAGE,
    "MEAN": _CHECK,
    "MINIMUM": _PAGE,
    "MUL": _PAGE,
    "PAD": _PAGE,
    "PRELU": _PAGE,
    "REDUCE_MAX": _CHECK,
    "RELU": _PAGE,
    "RELU6": _PAGE,
    "RESHAPE": _PAGE,
    "RESIZE_BILINEAR": _PAGE,
    "SOFTMAX": _PAGE,
    "SPLIT": _CHECK,
    "STRIDED_SLICE": _PAGE,
    "SUB": _PAGE,
    "TANH": _CHECK,
    "TRANSPOSE": _CHECK,
    "TRANSPOSE_CONV": _PAGE,
}
"""Each operation that the delegate takes and a convolutional network may have, and where that stands."""

_FLOATS = {"FLOAT32", "FLOAT16"}
_DIMENSIONS = 4  # batch, height, width, channels: tensorflow/lite/delegates/gpu/common/model_builder_helper.cc


def package(quantized: QuantizedModel, target: Target) -> Deliverable:
    """Return the file as it is, when the delegate runs the whole of it.

    Raises:
        InputError: it has an operation, or an operation on a tensor, that the delegate leaves to the processor.
    """
    graph, types = quantized.file.graph, flatbuffer.tensor_types()
    names = quantized.file.operation_names
    if refused := sorted(set(names) - OPERATIONS.keys()):
        raise InputError(
            f"{target.name} runs the operations that LiteRT's GPU delegate takes; {quantized.name} has "
            f"{', '.join(refused)}; replace the layers that make them, or choose phone_cpu"
        )
    for name, op in zip(names, graph.operators, strict=True):
        tensor = graph.tensors[op.outputs[0]]
        if types[tensor.type] not in _FLOATS:
            raise InputError(
                f"{target.name} computes in floats; in {quantized.name} {name} gives {types[tensor.type]}; "
                "choose the recipe float16"
            )
        if len(tensor.shape) > _DIMENSIONS:
            raise InputError(
                f"{target.name} takes tensors of at most {_DIMENSIONS} dimensions; in {quantized.name} {name} gives "
                f"{len(tensor.shape)}; replace the layer that makes it, or choose phone_cpu"
            )
    return Deliverable(quantized.file)


TARGETS = (
    Target(
        "phone_gpu",
        "LiteRT with its GPU delegate on a phone's graphics processor",
        unsupported_recipes=dict.fromkeys(RECIPES.keys() - {"float32", "float16"}, "a GPU computes in floats"),
        limits=(
            Limit(AllBut(OPERATIONS), "LiteRT's GPU delegate does not list {}"),
            Limit({DIMENSIONS}, "LiteRT's GPU delegate takes no {}"),
        ),
        computes_in_float16=True,
        package=package,
    ),
)
