"""SE-MobileNet.

Sources: Howard et al., arXiv 1704.04861, table 1 (the blocks), section 3.3 (the width multiplier);
Hu et al., arXiv 1709.01507, section 5.1 (SE on each block's output).
"""

from typing import NamedTuple

from keras_se.models.blocks import Tensor, conv_bn, depthwise_bn
from keras_se.models.head import Head
from keras_se.models.placement import SE

STAGES = (1, 2, 3, 4, 5)  # output strides 2, 4, 8, 16, 32
PLACEMENTS = ("standard", "pre", "3x3", "none")  # without an addition there is no shortcut and no "after it"


class Separable(NamedTuple):
    """A depthwise and a pointwise convolution: two lines of table 1, Howard et al."""

    stage: int
    out: int
    stride: int


BLOCKS = (
    Separable(stage=1, out=64, stride=1),
    Separable(stage=2, out=128, stride=2),
    Separable(stage=2, out=128, stride=1),
    Separable(stage=3, out=256, stride=2),
    Separable(stage=3, out=256, stride=1),
    Separable(stage=4, out=512, stride=2),
    Separable(stage=4, out=512, stride=1),
    Separable(stage=4, out=512, stride=1),
    Separable(stage=4, out=512, stride=1),
    Separable(stage=4, out=512, stride=1),
    Separable(stage=4, out=512, stride=1),
    Separable(stage=5, out=1024, stride=2),
    Separable(stage=5, out=1024, stride=1),
)
ROWS = {"se_mobilenet": BLOCKS}


def mobilenet(
    row: tuple[Separable, ...],
    image: Tensor,
    *,
    se: SE,
    head: Head,
    alpha: float = 1.0,
    activation: str = "relu",
) -> Tensor:
    """Apply a row's network to an image `(batch, height, width, channels)`.

    Args:
        alpha: width multiplier; each layer has `int(alpha * filters)` filters, at least 1.
        activation: after each convolution.
    """
    se.check(PLACEMENTS, STAGES)
    if not isinstance(alpha, (int, float)) or alpha <= 0:
        raise ValueError(f"alpha must be a number above 0; got alpha={alpha!r}")
    x = conv_bn(image, _width(32, alpha), 3, "stem", stride=2, activation=activation)
    for number, block in enumerate(row, 1):
        label = f"block{number}"
        x = se.at("pre", x, block.stage, label)
        x = depthwise_bn(x, 3, f"{label}_depthwise", stride=block.stride, activation=activation)
        x = se.at("3x3", x, block.stage, label)
        x = conv_bn(x, _width(block.out, alpha), 1, f"{label}_pointwise", activation=activation)
        x = se.at("standard", x, block.stage, label)
    return head(x)


def _width(filters, alpha):
    return max(1, int(alpha * filters))
