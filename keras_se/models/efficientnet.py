"""EfficientNet B0 to B7, and EfficientNet-Lite.

Sources: Tan and Le, arXiv 1905.11946, table 1 (the stages of B0), section 3.3 (their scaling), section 5.2 (swish, SE,
the dropouts); the authors' code, tensorflow/tpu, models/official/efficientnet: efficientnet_builder.py (the
coefficients, SE's hidden units by the channels that a block is given), lite/ (no SE, ReLU6, ends that are not scaled).
"""

import dataclasses
import math
from typing import NamedTuple

from keras_se.models.blocks import Norm, Tensor, conv_bn, divisible
from keras_se.models.head import Head
from keras_se.models.inverted_residual import Bneck, check_arguments, inverted_residual
from keras_se.models.placement import SE

PUBLISHED_SE = SE(placement="3x3", r=4)


class MBConv(NamedTuple):
    """A line of table 1: inverted residual blocks, of which the first has the stride."""

    expand: int
    """Channels of the depthwise convolution over those that the block is given."""
    kernel: int
    stride: int
    out: int
    depth: int
    se: bool = True


class EfficientNet(NamedTuple):
    """Stages, and what they are scaled by."""

    width: float
    depth: float
    resolution: int
    """Height and width of the images, in pixels."""
    dropout: float
    stages: tuple[MBConv, ...]
    activation: str = "swish"
    drop_connect: float = 0.2
    scales_ends: bool = True
    """False keeps the filters of the stem and of the last convolution, and the depth of the first and last stage."""

    @property
    def depths(self) -> tuple[int, ...]:
        """Blocks of each stage."""
        ends = () if self.scales_ends else (0, len(self.stages) - 1)
        return tuple(
            stage.depth if number in ends else math.ceil(self.depth * stage.depth)
            for number, stage in enumerate(self.stages)
        )


B0 = (
    MBConv(expand=1, kernel=3, stride=1, out=16, depth=1),
    MBConv(expand=6, kernel=3, stride=2, out=24, depth=2),
    MBConv(expand=6, kernel=5, stride=2, out=40, depth=2),
    MBConv(expand=6, kernel=3, stride=2, out=80, depth=3),
    MBConv(expand=6, kernel=5, stride=1, out=112, depth=3),
    MBConv(expand=6, kernel=5, stride=2, out=192, depth=4),
    MBConv(expand=6, kernel=3, stride=1, out=320, depth=1),
)
ROWS = {
    "efficientnet_b0": EfficientNet(1.0, 1.0, 224, 0.2, B0),
    "efficientnet_b1": EfficientNet(1.0, 1.1, 240, 0.2, B0),
    "efficientnet_b2": EfficientNet(1.1, 1.2, 260, 0.3, B0),
    "efficientnet_b3": EfficientNet(1.2, 1.4, 300, 0.3, B0),
    "efficientnet_b4": EfficientNet(1.4, 1.8, 380, 0.4, B0),
    "efficientnet_b5": EfficientNet(1.6, 2.2, 456, 0.4, B0),
    "efficientnet_b6": EfficientNet(1.8, 2.6, 528, 0.5, B0),
    "efficientnet_b7": EfficientNet(2.0, 3.1, 600, 0.5, B0),
}


def _lite(width: float, depth: float, resolution: int, dropout: float) -> EfficientNet:
    return EfficientNet(width, depth, resolution, dropout, B0, activation="relu6", scales_ends=False)


LITE_ROWS = {
    "efficientnet_lite0": _lite(1.0, 1.0, 224, 0.2),
    "efficientnet_lite1": _lite(1.0, 1.1, 240, 0.2),
    "efficientnet_lite2": _lite(1.1, 1.2, 260, 0.3),
    "efficientnet_lite3": _lite(1.2, 1.4, 280, 0.3),
    "efficientnet_lite4": _lite(1.4, 1.8, 300, 0.3),
}


def efficientnet(
    row: EfficientNet,
    image: Tensor,
    *,
    se: SE,
    head: Head,
    alpha: float = 1.0,
    activation: str | None = None,
    padding: str = "same",
    epsilon: float = 1e-3,
    dropout: float | None = None,
    drop_connect: float | None = None,
) -> Tensor:
    """Apply a row's network to an image `(batch, height, width, channels)`.

    Args:
        alpha: width multiplier beside the row's own; filters are rounded to multiples of 8.
        activation: after each convolution, and between SE's dense layers; None takes the row's.
        padding: of the convolutions with a stride: "same", Keras's, or "symmetric", torch's.
        epsilon: of the batch normalisation: 1e-3 is the authors', 1e-5 torch's.
        dropout: before the classifier; None takes the row's.
        drop_connect: share of the images that the last block adds nothing to, in training; blocks before it have it in
            proportion to their place. None takes the row's.
    """
    check_arguments(se, alpha, padding, epsilon)
    drop_connect = row.drop_connect if drop_connect is None else drop_connect
    if not 0 <= drop_connect < 1:
        raise ValueError(f"drop_connect must be in 0..1, and below 1; got drop_connect={drop_connect!r}")
    activation = activation or row.activation
    norm = Norm(momentum=0.99, epsilon=epsilon)
    se = dataclasses.replace(se, activation=activation)
    width = alpha * row.width
    end = width if row.scales_ends else alpha
    x = conv_bn(image, divisible(32 * end), 3, "stem", stride=2, activation=activation, padding=padding, norm=norm)
    number, octave = 0, 1
    for stage, depth in zip(row.stages, row.depths, strict=True):
        octave += stage.stride == 2
        for place in range(depth):
            block = Bneck(
                kernel=stage.kernel,
                expand=stage.expand * x.shape[-1],
                out=divisible(stage.out * width),
                se=stage.se,
                activation=activation,
                stride=stage.stride if place == 0 else 1,
            )
            drop = drop_connect * number / sum(row.depths)
            number += 1
            x = inverted_residual(
                x,
                block,
                f"block{number}",
                padding=padding,
                norm=norm,
                se=se,
                stage=octave,
                excited=x.shape[-1],
                drop=drop,
            )
    x = conv_bn(x, divisible(1280 * end), 1, "last", activation=activation, norm=norm)
    return head(x, dropout=row.dropout if dropout is None else dropout)
