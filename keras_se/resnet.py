"""SE-ResNet.

Sources: He et al., arXiv 1512.03385, table 1 (the depths); Hu et al., arXiv 1709.01507, table 1 (SE, r = 16).
"""

from typing import NamedTuple

import keras
from keras import layers

from keras_se.blocks import CHANNELS_LAST, PLACEMENTS, SE, Head, Tensor, conv_bn

STAGES = (2, 3, 4, 5)  # the papers' conv2_x to conv5_x


class ResNet(NamedTuple):
    """One column of table 1, He et al."""

    bottleneck: bool
    depths: tuple[int, int, int, int]


ROWS = {
    "se_resnet18": ResNet(bottleneck=False, depths=(2, 2, 2, 2)),
    "se_resnet34": ResNet(bottleneck=False, depths=(3, 4, 6, 3)),
    "se_resnet50": ResNet(bottleneck=True, depths=(3, 4, 6, 3)),
    "se_resnet101": ResNet(bottleneck=True, depths=(3, 4, 23, 3)),
    "se_resnet152": ResNet(bottleneck=True, depths=(3, 8, 36, 3)),
}


def resnet(
    row: ResNet,
    *,
    name: str,
    input_shape: tuple,
    se: SE,
    head: Head,
    stride_in: str = "1x1",
    activation: str = "relu",
) -> keras.Model:
    """A row as a model.

    Args:
        stride_in: where a bottleneck that halves the resolution does so: "1x1", its first convolution, as in the
            paper (v1), or "3x3" (v1.5, as in timm and torchvision). Basic blocks have their stride in the first 3x3.
        activation: after each convolution but a block's last, and after each addition.
    """
    se.check(PLACEMENTS, STAGES)
    if stride_in not in ("1x1", "3x3"):
        raise ValueError(f"stride_in must be 1x1 or 3x3; got stride_in={stride_in!r}")
    inputs = layers.Input(input_shape, name="image")
    x = conv_bn(inputs, 64, 7, "stem", stride=2, activation=activation)
    x = layers.MaxPooling2D(3, 2, padding="same", data_format=CHANNELS_LAST, name="stem_pool")(x)
    for stage, depth in zip(STAGES, row.depths, strict=True):
        width = 64 * 2 ** (stage - 2)
        for block in range(1, depth + 1):
            stride = 2 if block == 1 and stage > 2 else 1
            x = _residual(x, row, width, stride, stride_in, activation, se, stage, f"stage{stage}_block{block}")
    return keras.Model(inputs, head(x), name=name)


def _residual(x, row, width, stride, stride_in, activation, se, stage, name) -> Tensor:
    filters = 4 * width if row.bottleneck else width
    shortcut = x
    if stride > 1 or x.shape[-1] != filters:
        shortcut = conv_bn(x, filters, 1, f"{name}_projection", stride=stride, activation=None)
    y = se.at("pre", x, stage, name)
    if row.bottleneck:
        first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
        y = conv_bn(y, width, 1, f"{name}_1", stride=first, activation=activation)
        y = conv_bn(y, width, 3, f"{name}_2", stride=second, activation=activation)
        y = se.at("3x3", y, stage, name)
        y = conv_bn(y, filters, 1, f"{name}_3", activation=None)
    else:
        y = conv_bn(y, width, 3, f"{name}_1", stride=stride, activation=activation)
        y = se.at("3x3", y, stage, name)  # of the two 3x3 the inner one: after the outer one is "standard"
        y = conv_bn(y, filters, 3, f"{name}_2", activation=None)
    y = se.at("standard", y, stage, name)
    shortcut = se.at("identity", shortcut, stage, name)
    y = layers.Add(name=f"{name}_add")([shortcut, y])
    y = layers.Activation(activation, name=f"{name}_out")(y)
    return se.at("post", y, stage, name)
