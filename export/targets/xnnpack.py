"""Limits that the targets with XNNPACK share: what it leaves to LiteRT's slower kernels.

Seen with LiteRT 2.3, as more than one partition of a converted layer.
"""

from keras_se.export.quantization.recipes import Recipe
from keras_se.export.targets.base import INNER_SOFTMAX, SOFTMAXES, Limit, is_int16

_CUTS = frozenset(
    {
        *("LOG_SOFTMAX", "WHILE", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "SELECT", "SELECT_V2", "TILE", "TOPK_V2"),
        "UNPACK",
    }
)
_CUTS_QUANTIZED = _CUTS | {
    *("AVERAGE_POOL_2D", "BATCH_MATMUL", "DIV", "GELU", "HARD_SWISH", "MAXIMUM", "RELU", "RSQRT"),
    *(INNER_SOFTMAX, SOFTMAXES),
}


def _takes(recipe: Recipe) -> bool:
    return not is_int16(recipe)  # it takes no int16, whatever the network


XNNPACK_LIMITS = (
    Limit(_CUTS, "XNNPACK does not take {}, which cuts the graph", _takes, "slow"),
    Limit(
        _CUTS_QUANTIZED,
        "XNNPACK does not take {} quantized, which cuts the graph",
        lambda recipe: recipe.calibrated and _takes(recipe),
        "slow",
    ),
)
