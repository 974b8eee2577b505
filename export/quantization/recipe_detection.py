"""Recipe of a .tflite file, read off its tensors' types.

In: the bytes of a file. Out: its recipe.
"""

from keras_se.errors import InputError
from keras_se.export.quantization.op_scopes import op_scope
from keras_se.export.quantization.recipes import FLOAT32, INT16, MIXED_PRECISION, RECIPES, Override, Recipe
from keras_se.export.tflite.flatbuffer import tensor_types
from keras_se.export.tflite.model import TFLiteModel

_TYPES = {INT16: "INT16", FLOAT32: "FLOAT32"}
"""Type in the schema of an override's activations."""


def recipe_of(file: TFLiteModel) -> Recipe:
    """Tell the recipe of a .tflite file by what its operations give and, where types are mixed, by its graph."""
    types = _computed_types(file)
    kinds = set(types.values())
    if "INT8" in kinds:
        return RECIPES["static_wi8_ai8"] if kinds == {"INT8"} else _mixed(file, types)
    if "INT16" in kinds:
        return RECIPES["static_wi8_ai16"]  # with float where there is no kernel for it
    return RECIPES[_by_constants(file)]


def _computed_types(file: TFLiteModel) -> dict[str, str]:
    """Return the output type of each operation that depends on the input and computes, by scope."""
    graph, moving, names = file.graph, file.activations, tensor_types()
    return {
        op_scope(graph, op): names[graph.tensors[op.outputs[0]].type]
        for op, name in zip(graph.operators, file.operation_names, strict=False)  # behind them, those of loops
        if name not in ("QUANTIZE", "DEQUANTIZE") and int(op.outputs[0]) in moving
    }


def _mixed(file: TFLiteModel, types: dict[str, str]) -> Recipe:
    not_int8 = {scope for scope, kind in types.items() if kind in ("INT16", "FLOAT32")}
    for recipe in RECIPES.values():
        for override in recipe.overrides:
            same_type = {types[scope] for scope in not_int8} == {_TYPES[override.activations]}
            if same_type and not_int8 == _scopes(override, file) & types.keys():
                return recipe
    return MIXED_PRECISION


def _scopes(override: Override, file: TFLiteModel) -> set[str]:
    try:
        return set(override.operations(file))
    except InputError:
        return set()


def _by_constants(file: TFLiteModel) -> str:
    """Tell the recipe of a network that computes in float by the types of its constants."""
    graph, moving, names = file.graph, file.activations, tensor_types()
    constants = {names[tensor.type] for index, tensor in enumerate(graph.tensors) if index not in moving}
    if "INT8" in constants:
        return "weight_only_wi8_afp32" if "DEQUANTIZE" in file.operation_names else "dynamic_wi8_afp32"
    return "float16" if "FLOAT16" in constants else "float32"
