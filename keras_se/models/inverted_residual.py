"""Build an inverted residual block: an expansion, a depthwise convolution, a projection and, where it can, an addition.

Source: Sandler et al., arXiv 1801.04381, figure 3; Tan et al., arXiv 1807.11626, figure 7 (SE after the depthwise
convolution); Huang et al., arXiv 1603.09382, section 3 (stochastic depth).
"""

from typing import NamedTuple

from keras import layers

from keras_se.models.blocks import Norm, Tensor, check_padding, conv_bn, depthwise_bn
from keras_se.models.placement import SE

STAGES = (1, 2, 3, 4, 5)  # output strides 2, 4, 8, 16, 32
PLACEMENTS = ("3x3", "standard", "pre", "none")  # a block without an addition has no shortcut and no "after it"


class Bneck(NamedTuple):
    """An inverted residual block; `expand` and `out` are numbers of channels."""

    kernel: int
    expand: int
    out: int
    se: bool
    activation: str
    stride: int


def check_arguments(se: SE, alpha: float, padding: str, epsilon: float) -> None:
    """Raise ValueError for an argument that no network of these blocks takes."""
    se.check(PLACEMENTS, STAGES)
    check_padding(padding)
    if not isinstance(alpha, (int, float)) or alpha <= 0:
        raise ValueError(f"alpha must be a number above 0; got alpha={alpha!r}")
    if epsilon <= 0:
        raise ValueError(f"epsilon must be above 0; got epsilon={epsilon!r}")


def inverted_residual(
    x: Tensor,
    block: Bneck,
    name: str,
    *,
    padding: str,
    norm: Norm,
    se: SE,
    stage: int,
    excited: int | None = None,
    drop: float = 0.0,
) -> Tensor:
    """Apply a block; what expands to the channels that it has is left out.

    Args:
        excited: channels that SE's hidden units are the r-th part of; None takes those that it scales.
        drop: share of the images that the block adds nothing to, in training.
    """

    def at(placement, y):
        return se.at(placement, y, stage, name, channels=excited) if block.se else y

    y = at("pre", x)
    if block.expand != x.shape[-1]:
        y = conv_bn(y, block.expand, 1, f"{name}_expand", activation=block.activation, norm=norm)
    y = depthwise_bn(
        y,
        block.kernel,
        f"{name}_depthwise",
        stride=block.stride,
        activation=block.activation,
        padding=padding,
        norm=norm,
    )
    y = at("3x3", y)
    y = conv_bn(y, block.out, 1, f"{name}_project", activation=None, norm=norm)
    y = at("standard", y)
    if block.stride > 1 or x.shape[-1] != block.out:
        return y
    if drop:
        y = layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(y)
    return layers.Add(name=f"{name}_add")([x, y])
