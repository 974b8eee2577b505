"""LiteRT with XNNPACK and its optimised kernels, and with the reference kernels that others are held to.

In: a file and images. Out: its outputs, and the number of XNNPACK's partitions.
"""

import numpy as np

from keras_se.errors import InputError
from keras_se.export.runtimes.base import STEPS_OF_INT16, Engine, Outputs, run_each
from keras_se.export.sandbox import runner
from keras_se.export.tflite.model import TFLiteModel
from keras_se.optional_packages import import_extra

REFERENCE_KERNELS = "litert_reference"


def _litert(content: bytes, images: np.ndarray, *, resolver: str) -> Outputs:
    litert = import_extra("ai_edge_litert.interpreter", "edge")
    interpreter = litert.Interpreter(
        model_content=content,
        experimental_op_resolver_type=litert.OpResolverType[resolver],
        num_threads=2,
    )
    interpreter.allocate_tensors()
    [input_details], [output_details] = interpreter.get_input_details(), interpreter.get_output_details()

    def infer(image):
        interpreter.set_tensor(input_details["index"], image)
        interpreter.invoke()
        return interpreter.get_tensor(output_details["index"])

    return run_each(
        infer,
        images,
        input_details["dtype"],
        input_details["quantization"],
        output_details["quantization"],
        batch=int(input_details["shape"][0]),
    )


def xnnpack_partitions(file: TFLiteModel) -> int:
    """Return the number of XNNPACK's delegate partitions of the graph, after a run in a child process.

    1 is the whole graph; each further one is a return to slower kernels.

    Raises:
        InputError: XNNPACK refuses the file, or crashes on it.
    """
    return runner.call(f"{__name__}:partitions", by="XNNPACK", file="the file", content=file.content)["partitions"]


def partitions(content: bytes) -> dict[str, int]:
    """Return `xnnpack_partitions` as a dictionary; to be run in a child process."""
    interpreter = import_extra("ai_edge_litert.interpreter", "edge").Interpreter(model_content=content)
    try:
        interpreter.allocate_tensors()
        for taken in interpreter.get_input_details():
            interpreter.set_tensor(taken["index"], np.zeros(taken["shape"], taken["dtype"]))
        interpreter.invoke()
    except RuntimeError as error:
        raise InputError(f"XNNPACK cannot run the file: {error}") from None
    return {"partitions": sum(op["op_name"] == "DELEGATE" for op in interpreter._get_ops_details())}


ENGINES = {
    "litert": Engine(
        lambda content, images: _litert(content, images, resolver="AUTO"),
        max_lsb={"static_wi8_ai16": STEPS_OF_INT16},
        reason="XNNPACK takes no int16; LiteRT's optimised kernels round a step of 65,536 otherwise, which adds up",
    ),
    REFERENCE_KERNELS: Engine(lambda content, images: _litert(content, images, resolver="BUILTIN_REF")),
}
