"""What each kind of target does not do, as a table."""

from collections.abc import Callable, Container
from typing import NamedTuple

from keras_se.export.compatibility.layer_ops import (
    DILATIONS,
    DIMENSIONS,
    INNER_SOFTMAX,
    LAST_MEAN,
    NO_OPERATION,
    RESIZED,
    SOFTMAXES,
    USES,
    VECTORS,
    WIDE_POOL,
)
from keras_se.export.quantization.recipes import Recipe
from keras_se.export.targets.edgetpu_rules import SUPPORTED
from keras_se.export.targets.phone_gpu import OPERATIONS
from keras_se.export.targets.registry import Target


class Limit(NamedTuple):
    """Operations, or uses of one, that a kind of target does not do."""

    holds: Callable[[Target, Recipe], bool]
    """Of which targets, and in which number formats."""
    operations: Container[str]
    verdict: str
    """ "refused" or "slow"."""
    reason: str
    """Around the operations' names."""


class _Beyond(frozenset):
    """All operations but these."""

    def __contains__(self, name: object) -> bool:
        return name not in USES and not super().__contains__(name)


_IN_FLOAT = frozenset(
    {
        *("ABS", "ELU", "EXP", "GREATER", "LEAKY_RELU", "LOG", "LOG_SOFTMAX", "MINIMUM", "NEG", "PRELU", "REDUCE_MAX"),
        *("REVERSE_V2", "SELECT", "SELECT_V2", "SQUARE", "TILE", "TOPK_V2"),
    }
)
"""What litert-quantizer 0.11 leaves in float in a static recipe."""
_CUTS = frozenset(
    {"LOG_SOFTMAX", "WHILE", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "SELECT", "SELECT_V2", "TILE", "TOPK_V2"}
)
"""What XNNPACK of LiteRT 2.3 leaves to LiteRT's own kernels."""
_CUTS_QUANTIZED = _CUTS | {
    *("AVERAGE_POOL_2D", "BATCH_MATMUL", "DIV", "GELU", "HARD_SWISH", "MAXIMUM", "RELU", "RSQRT"),
    *(INNER_SOFTMAX, SOFTMAXES),
}


_NO_INT16_NPU = frozenset({"GELU", "HARD_SWISH", "SQUARED_DIFFERENCE"})
_NO_INT16_MICRO = frozenset({"HARD_SWISH", "RESIZE_BILINEAR", "SQUARED_DIFFERENCE"})


def tool(target: Target) -> str:
    """The module that finishes its files, by its last name."""
    return "" if target.finish is None else target.finish.partition(":")[0].rpartition(".")[2]


def _made_by(*tools: str) -> Callable[[Target, Recipe], bool]:
    return lambda target, recipe: tool(target) in tools


def _of_integers(target: Target, recipe: Recipe) -> bool:
    return "float32" in target.refuses


def _on_xnnpack(target: Target, recipe: Recipe) -> bool:
    # It takes no int16, whatever the network.
    return target.xnnpack and not _in_int16(recipe)


def _quantized_on_xnnpack(target: Target, recipe: Recipe) -> bool:
    return recipe.calibrated and _on_xnnpack(target, recipe)


def _in_int16(recipe: Recipe) -> bool:
    return recipe.name.endswith("_ai16") and "ai8" not in recipe.name


def _int16_on(*tools: str) -> Callable[[Target, Recipe], bool]:
    return lambda target, recipe: tool(target) in tools and _in_int16(recipe)


def _int16_on_u55_or_u65(target: Target, recipe: Recipe) -> bool:
    return _int16_on("vela")(target, recipe) and "u85" not in target.name


LIMITS = (
    Limit(lambda target, recipe: True, {NO_OPERATION}, "refused", "it becomes {}"),
    Limit(lambda target, recipe: recipe.calibrated, {"WHILE"}, "refused", "a static recipe takes no loop"),
    Limit(_of_integers, _IN_FLOAT, "refused", "{} has no integer form, and the target has no floats"),
    Limit(_made_by("gpu_delegate"), _Beyond(OPERATIONS), "refused", "LiteRT's GPU delegate does not list {}"),
    Limit(_made_by("gpu_delegate"), {DIMENSIONS}, "refused", "LiteRT's GPU delegate takes no {}"),
    Limit(_made_by("edgetpu"), _Beyond(SUPPORTED), "refused", "Coral does not list {}"),
    Limit(_made_by("edgetpu"), {DILATIONS, DIMENSIONS, SOFTMAXES, VECTORS}, "refused", "Coral's rules allow no {}"),
    Limit(_made_by("vela"), {LAST_MEAN, RESIZED, WIDE_POOL}, "refused", "Vela leaves {} to the CPU"),
    Limit(_int16_on_u55_or_u65, {"BATCH_MATMUL"}, "refused", "the NPU has no int16 form of {}"),
    Limit(_int16_on("vela"), _NO_INT16_NPU, "refused", "the NPU has no int16 form of {}"),
    Limit(_made_by("micro"), {"GELU"}, "refused", "TFLite Micro has no kernel of {}"),
    Limit(_int16_on("micro"), _NO_INT16_MICRO, "refused", "TFLite Micro has no int16 kernel of {}"),
    Limit(_on_xnnpack, _CUTS, "slow", "XNNPACK does not take {}, which cuts the graph"),
    Limit(_quantized_on_xnnpack, _CUTS_QUANTIZED, "slow", "XNNPACK does not take {} quantized, which cuts the graph"),
)
"""Each was seen: in the tool's own refusal, or as more than one of XNNPACK's pieces."""
