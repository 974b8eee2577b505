"""Rules of the quantizer for a float file: a format for every operation, and another for some.

In: a float file. Out: litert-quantizer's recipe for its operations.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from keras_se.export.tflite.model import TFLiteModel
from keras_se.optional_packages import import_extra

Rules = Callable[[TFLiteModel], Any]
"""Function of a float file that returns the rules for its operations, of which a later one wins."""


def float16_weights(float_file: TFLiteModel) -> Any:
    """Return rules for weights in float16 that are cast back before they are used."""
    manager = import_extra("litert_quantizer.recipe_manager", "edge").RecipeManager()
    qtyping = import_extra("litert_quantizer.qtyping", "edge")
    casting = import_extra("litert_quantizer.algorithm_manager", "edge").AlgorithmName.FLOAT_CASTING
    manager.add_weight_only_config(".*", qtyping.TFLOperationName.ALL_SUPPORTED, num_bits=16, algorithm_key=casting)
    return manager.get_quantization_recipe()


def with_higher_precision(
    plain: str, parts: Sequence[tuple[str, Callable[[TFLiteModel], Iterable[str]]]] = ()
) -> Rules:
    """Return rules of the quantizer's own recipe of a name, with some operations in more bits.

    Args:
        plain: the quantizer's name of the format of every other operation.
        parts: "ai16" for int16 activations or "fp32" for float, with the operations of a float file, as scopes (see
            `keras_se.export.quantization.op_scopes`).
    """

    def rules(float_file: TFLiteModel) -> Any:
        everywhere = getattr(import_extra("litert_quantizer.recipe", "edge"), plain)()
        if not parts:
            return everywhere
        manager = import_extra("litert_quantizer.recipe_manager", "edge").RecipeManager()
        manager.load_quantization_recipe(everywhere)
        for precision, operations in parts:
            scopes = sorted(operations(float_file))
            if scopes:
                PRECISIONS[precision](manager, f"^(?:{'|'.join(map(re.escape, scopes))})$")
        return manager.get_quantization_recipe()

    return rules


def _in_int16(manager: Any, pattern: str) -> None:
    every = import_extra("litert_quantizer.qtyping", "edge").TFLOperationName.ALL_SUPPORTED
    manager.add_static_config(pattern, every, activation_num_bits=16, weight_num_bits=8)


def _in_float(manager: Any, pattern: str) -> None:
    every = import_extra("litert_quantizer.qtyping", "edge").TFLOperationName.ALL_SUPPORTED
    untouched = import_extra("litert_quantizer.algorithm_manager", "edge").AlgorithmName.NO_QUANTIZE
    manager.add_quantization_config(pattern, every, algorithm_key=untouched)


PRECISIONS: dict[str, Callable[[Any, str], None]] = {"fp32": _in_float, "ai16": _in_int16}
