"""Microcontrollers, by TFLite Micro.

In: a file of integers. Out: the same file, with the size of its arena, as a C++ array and in a program that runs it.
A device whose firmware has other kernels than TFLite Micro's own starts from this one, as `esp32_s3` does.
"""

from keras_se.errors import InputError
from keras_se.export.runtimes.tflite_micro import MOST_ARENA
from keras_se.export.targets.base import FLOAT_RECIPES, NO_FLOATS, Deliverable, Limit, QuantizedModel, Target, is_int16
from keras_se.export.targets.tflite_micro_arena import arena_bytes
from keras_se.export.targets.tflite_micro_sources import cpp_sources
from keras_se.optional_packages import import_extra

_HYBRID = "it has no kernels for int8 weights with float activations"

UNSUPPORTED_RECIPES = {
    **dict.fromkeys(FLOAT_RECIPES, "it is to run where there are no fast floats"),
    "float16": "it has no kernel that reads float16 weights",
    "dynamic_wi8_afp32": _HYBRID,
    "weight_only_wi8_afp32": _HYBRID,
}
"""Recipes that no device of TFLite Micro's takes, each with the reason."""

LIMITS = (
    NO_FLOATS,
    Limit({"GELU"}, "TFLite Micro has no kernel of {}"),
    Limit(
        {"HARD_SWISH", "RESIZE_BILINEAR", "SQUARED_DIFFERENCE"},
        "TFLite Micro has no int16 kernel of {}",
        is_int16,
    ),
)
"""Operations that no device of TFLite Micro's runs."""


def package(quantized: QuantizedModel, target: Target) -> Deliverable:
    """Return the file with its arena's size, as a C++ array and in a program that runs it once.

    Raises:
        InputError: an operation computes in float, or TFLite Micro is not installed or does not run the file.
    """
    floating = quantized.file.float_operations
    if floating:
        raise InputError(f"{target.name} takes integers alone; replace what computes in float: {', '.join(floating)}")
    arena = arena_bytes(quantized.file.content)
    # Pointers are part of what an arena holds; the optimised kernels of some processors ask for more.
    manifest = {"arena_bytes": arena, "pointer_bits": 64, "kernels": "reference"}
    sources = {suffix: source.encode() for suffix, source in cpp_sources(quantized, arena).items()}
    return Deliverable(quantized.file, {"tflite_micro": manifest}, sources)


def check_tool(target: Target) -> None:
    """Refuse to go on without TFLite Micro.

    Raises:
        InputError: it is not installed.
    """
    import_extra("tflite_micro", "edge")


TARGETS = (
    Target(
        "tflite_micro",
        "TFLite Micro on a microcontroller",
        higher_precision="ai16",
        unsupported_recipes=UNSUPPORTED_RECIPES,
        limits=LIMITS,
        arena=MOST_ARENA,
        package=package,
        check_tool=check_tool,
    ),
)
