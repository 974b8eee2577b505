"""TFLite Micro on this machine: its reference kernels, in an arena that is large enough.

In: a file and images. Out: its outputs.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_se.export.runtimes.base import STEPS_OF_INT16, Engine, Outputs, run_each
from keras_se.optional_packages import import_extra

MOST_ARENA = 64 << 20
"""Bytes of activations that TFLite Micro is tried with: more than a microcontroller's board has."""


MICRO_STEPS: dict[tuple[str, str], int] = {
    ("FULLY_CONNECTED", "INT8"): 1,
    ("FULLY_CONNECTED", "INT16"): 1,
    ("MUL", "INT8"): 1,
    ("MUL", "INT16"): 1,
}
"""Operations that TFLite Micro rounds otherwise than LiteRT's reference kernels do, with the type of what they give:
the greatest difference on the same inputs, in steps. All others of the networks here are equal to the bit."""


def _tflm(content: bytes, images: np.ndarray) -> Outputs:
    interpreter = micro_interpreter(content)
    input_details, output_details = interpreter.get_input_details(0), interpreter.get_output_details(0)

    def infer(image):
        interpreter.set_input(image, 0)
        interpreter.invoke()
        return interpreter.get_output(0)

    return run_each(
        infer,
        images,
        input_details["dtype"],
        _micro_quantization(input_details),
        _micro_quantization(output_details),
        batch=int(input_details["shape"][0]),
    )


def micro_interpreter(content: bytes) -> Any:
    """Return TFLite Micro's interpreter of the file."""
    runtime = import_extra("tflite_micro.python.tflite_micro.runtime", "edge")
    return runtime.Interpreter.from_bytes(content, arena_size=ample_arena(content))


def ample_arena(content: bytes) -> int:
    """Return the working memory for TFLite Micro, which takes all of it at the start.

    In bytes; it has been enough for every network here at 224 pixels. From 2 GiB on it would crash the process.
    """
    return min(10 * len(content) + MOST_ARENA, 1 << 30)


def _micro_quantization(details: Any) -> tuple[float, int]:
    parameters = details["quantization_parameters"]
    if len(parameters["scales"]) == 0:
        return 0.0, 0
    return float(parameters["scales"][0]), int(parameters["zero_points"][0])


def _named(operations: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{operation} in {kind.lower()}" for operation, kind in operations)


ENGINES = {
    "tflm": Engine(
        _tflm,
        max_lsb={"static_wi8_ai8": 1, "static_wi8_ai16": STEPS_OF_INT16},
        reason=f"{_named(MICRO_STEPS)} round a step otherwise; of 65,536 steps, many, which add up",
        unsupported_recipes=frozenset({"float16", "dynamic_wi8_afp32", "weight_only_wi8_afp32"}),
    ),
}
