"""The recipe of a .tflite file, read off its tensors' types.

In: the bytes of a file. Out: its recipe.
"""

from typing import Any

from keras_se.errors import InputError
from keras_se.export.quantization.op_scopes import first_and_last, op_scope, se_branch_ops
from keras_se.export.quantization.recipes import MIXED_PRECISION, RECIPES, Recipe
from keras_se.export.tflite.flatbuffer import activations, operation_names, tensor_types, unpack

_PARTS = {
    "static_wi8_ai8_se_ai16": ("INT16", se_branch_ops),
    "static_wi8_ai8_se_fp32": ("FLOAT32", se_branch_ops),
    "static_wi8_ai8_first_last_fp32": ("FLOAT32", first_and_last),
}


def recipe_of(content: bytes) -> Recipe:
    """Tell the recipe of a .tflite file by what its operations give and, where types are mixed, by its graph."""
    graph = unpack(content).subgraphs[0]
    types = _computed_types(content, graph)
    kinds = set(types.values())
    if "INT8" in kinds:
        return RECIPES["static_wi8_ai8"] if kinds == {"INT8"} else _mixed(content, types)
    if "INT16" in kinds:
        return RECIPES["static_wi8_ai16"]  # with float where there is no kernel for it
    return RECIPES[_by_constants(content, graph)]


def _computed_types(content: bytes, graph: Any) -> dict[str, str]:
    """Return the output type of each operation that depends on the input and computes, by scope."""
    moving, names = activations(graph), tensor_types()
    return {
        op_scope(graph, op): names[graph.tensors[op.outputs[0]].type]
        for op, name in zip(graph.operators, operation_names(content), strict=False)  # behind them, those of loops
        if name not in ("QUANTIZE", "DEQUANTIZE") and int(op.outputs[0]) in moving
    }


def _mixed(content: bytes, types: dict[str, str]) -> Recipe:
    lifted = {scope for scope, kind in types.items() if kind in ("INT16", "FLOAT32")}
    for name, (kind, role) in _PARTS.items():
        if {types[scope] for scope in lifted} == {kind} and lifted == _of_role(role, content) & types.keys():
            return RECIPES[name]
    return MIXED_PRECISION


def _of_role(role, content: bytes) -> set[str]:
    try:
        return set(role(content))
    except InputError:
        return set()


def _by_constants(content: bytes, graph: Any) -> str:
    """Tell the recipe of a network that computes in float by the types of its constants."""
    moving, names = activations(graph), tensor_types()
    constants = {names[tensor.type] for index, tensor in enumerate(graph.tensors) if index not in moving}
    if "INT8" in constants:
        return "weight_only_wi8_afp32" if "DEQUANTIZE" in operation_names(content) else "dynamic_wi8_afp32"
    return "float16" if "FLOAT16" in constants else "float32"
