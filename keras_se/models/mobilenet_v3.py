"""MobileNetV3.

Source: Howard et al., arXiv 1905.02244, tables 1 and 2, section 5 (SE after the depthwise convolution, a quarter of
its channels as hidden units, the hard gate).
"""

from typing import NamedTuple

from keras_se.models.blocks import Norm, Tensor, conv_bn, divisible
from keras_se.models.head import Head
from keras_se.models.inverted_residual import Bneck, check_arguments, inverted_residual
from keras_se.models.placement import SE

PUBLISHED_SE = SE(placement="3x3", r=4, gate="hard_sigmoid", divisor=8)


class MobileNetV3(NamedTuple):
    """Table 1 or 2: a block a line, the last convolution and the dense layer behind the pooling."""

    blocks: tuple[Bneck, ...]
    last: int
    hidden: int


LARGE = (
    Bneck(3, 16, 16, False, "relu", 1),
    Bneck(3, 64, 24, False, "relu", 2),
    Bneck(3, 72, 24, False, "relu", 1),
    Bneck(5, 72, 40, True, "relu", 2),
    Bneck(5, 120, 40, True, "relu", 1),
    Bneck(5, 120, 40, True, "relu", 1),
    Bneck(3, 240, 80, False, "hard_swish", 2),
    Bneck(3, 200, 80, False, "hard_swish", 1),
    Bneck(3, 184, 80, False, "hard_swish", 1),
    Bneck(3, 184, 80, False, "hard_swish", 1),
    Bneck(3, 480, 112, True, "hard_swish", 1),
    Bneck(3, 672, 112, True, "hard_swish", 1),
    Bneck(5, 672, 160, True, "hard_swish", 2),
    Bneck(5, 960, 160, True, "hard_swish", 1),
    Bneck(5, 960, 160, True, "hard_swish", 1),
)
SMALL = (
    Bneck(3, 16, 16, True, "relu", 2),
    Bneck(3, 72, 24, False, "relu", 2),
    Bneck(3, 88, 24, False, "relu", 1),
    Bneck(5, 96, 40, True, "hard_swish", 2),
    Bneck(5, 240, 40, True, "hard_swish", 1),
    Bneck(5, 240, 40, True, "hard_swish", 1),
    Bneck(5, 120, 48, True, "hard_swish", 1),
    Bneck(5, 144, 48, True, "hard_swish", 1),
    Bneck(5, 288, 96, True, "hard_swish", 2),
    Bneck(5, 576, 96, True, "hard_swish", 1),
    Bneck(5, 576, 96, True, "hard_swish", 1),
)
# Table 2 has a tick for SE on the last convolution too; neither the authors' code nor the published sizes have it.
ROWS = {
    "mobilenet_v3_small": MobileNetV3(SMALL, last=576, hidden=1024),
    "mobilenet_v3_large": MobileNetV3(LARGE, last=960, hidden=1280),
}


def mobilenet_v3(
    row: MobileNetV3,
    image: Tensor,
    *,
    se: SE,
    head: Head,
    alpha: float = 1.0,
    padding: str = "same",
    epsilon: float = 1e-3,
    dropout: float = 0.2,
) -> Tensor:
    """Apply a row's network to an image `(batch, height, width, channels)`.

    Args:
        alpha: width multiplier of all layers but the dense ones; filters are rounded to multiples of 8.
        padding: of the convolutions with a stride: "same", Keras's, or "symmetric", torch's.
        epsilon: of the batch normalisation: 1e-3 is the authors', 1e-5 torch's.
        dropout: before the classifier.
    """
    check_arguments(se, alpha, padding, epsilon)
    norm = Norm(momentum=0.99, epsilon=epsilon)
    x = conv_bn(image, divisible(16 * alpha), 3, "stem", stride=2, activation="hard_swish", padding=padding, norm=norm)
    stage = 1
    for number, block in enumerate(row.blocks, 1):
        stage += block.stride == 2
        widened = block._replace(expand=divisible(block.expand * alpha), out=divisible(block.out * alpha))
        x = inverted_residual(x, widened, f"block{number}", padding=padding, norm=norm, se=se, stage=stage)
    x = conv_bn(x, divisible(row.last * alpha), 1, "last", activation="hard_swish", norm=norm)
    return head(x, dropout=dropout, hidden=(row.hidden,), activation="hard_swish")
