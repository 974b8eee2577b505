"""Choices of operations in which a target wants a network written."""

from dataclasses import dataclass, replace

from keras_se.errors import InputError

_WAYS = {
    "hard_swish": ("fused", "decomposed"),
    "squeeze": ("mean", "conv_before_pool"),
    "rescaling": ("in_place", "after_downsampling"),
    "pooling": ("fused", "convolution"),
    "leaky_relu": ("fused", "decomposed"),
    "maximum": ("reduction", "pooling"),
}


@dataclass(frozen=True)
class LoweringConfig:
    """Choices of operations for one target.

    Attributes:
        hard_swish: "fused", one operation; or "decomposed", `x * relu6(x + 3)`, with the sixth in the weights that
            follow: two operations that XNNPACK has in int8, where it does not have the one.
        squeeze: "mean", one operation; or "conv_before_pool", SE's first layer at every position, and then its mean by
            average pooling in steps of 2 or 3, on wide maps the first of them in the layer's own kernel. Both are the
            same function, because nothing but a sum stands between the layer and the mean; and a mean of few channels
            costs an NPU less. Where SE follows a linear 1x1 convolution of fewer inputs than outputs, the product of
            both kernels is applied to these inputs.
        rescaling: "in_place", by SE's gate where SE stands; or "after_downsampling", after the depthwise convolution
            of a stride that follows: each of its channels is of one input alone. A stride of 2 leaves a quarter to
            multiply. The kernels take the mean of each channel's gate, and the gate is divided by that: otherwise a
            channel that the gate nearly closes would stand open in the range of all.
        pooling: "fused", AVERAGE_POOL_2D; or "convolution", a depthwise one, and where windows reach beyond the map a
            multiplication of each position, which XNNPACK has in int8, where it does not have the pooling.
        leaky_relu: "fused", one operation, which litert-quantizer leaves in float; or "decomposed", `x + relu((slope -
            1) * x)`, by a depthwise convolution of 1x1 and an addition, for slopes up to 1, one a channel.
        maximum: over height and width, "reduction", REDUCE_MAX, which litert-quantizer leaves in float; or "pooling",
            MAX_POOL_2D of the whole map.
    """

    hard_swish: str = "fused"
    squeeze: str = "mean"
    rescaling: str = "in_place"
    pooling: str = "fused"
    leaky_relu: str = "fused"
    maximum: str = "reduction"

    def __post_init__(self):
        for name, ways in _WAYS.items():
            if getattr(self, name) not in ways:
                raise InputError(f"{name} must be one of {', '.join(ways)}; got {getattr(self, name)!r:.80}")


PLAIN = LoweringConfig()
DECOMPOSED = LoweringConfig(hard_swish="decomposed", leaky_relu="decomposed", maximum="pooling")
ONE_PARTITION = replace(DECOMPOSED, pooling="convolution")
CONV_BEFORE_POOL = replace(DECOMPOSED, squeeze="conv_before_pool", rescaling="after_downsampling")

LOWERINGS = (PLAIN, DECOMPOSED, ONE_PARTITION, CONV_BEFORE_POOL)
"""Every configuration that some target wants."""
