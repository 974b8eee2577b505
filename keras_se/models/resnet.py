"""SE-ResNet, SE-ResNeXt and SENet-154.

Sources: He et al., arXiv 1512.03385, table 1 (the depths); Xie et al., arXiv 1611.05431, table 1 (the groups);
Hu et al., arXiv 1709.01507, table 1 (SE, r = 16) and appendix (SENet-154).
"""

from typing import NamedTuple

from keras import layers

from keras_se.models.blocks import Tensor, check_padding, conv_bn, pool_stem
from keras_se.models.head import Head
from keras_se.models.placement import PLACEMENTS, SE

STAGES = (2, 3, 4, 5)  # the papers' conv2_x to conv5_x


class Conv(NamedTuple):
    """A convolution of the stem."""

    kernel: int
    filters: int
    stride: int


STEM = (Conv(7, 64, 2),)


class ResNet(NamedTuple):
    """One column of table 1, He et al. or Xie et al."""

    bottleneck: bool
    depths: tuple[int, int, int, int]
    groups: int = 1
    group_width: int = 64
    """Channels of each group of the 3x3 convolutions of stage 2; each stage doubles them."""
    filters: int = 256
    """Filters of the bottlenecks' last convolutions in stage 2; each stage doubles them."""
    stride_in: str = "1x1"
    """Convolution of a bottleneck that halves the resolution."""
    stem: tuple[Conv, ...] = STEM
    reduce: int = 1
    """Filters of a bottleneck's 3x3 convolution over those of its first 1x1."""
    projection: int = 1
    """Kernel of the projections that halve the resolution."""
    dropout: float = 0.0


ROWS = {
    "se_resnet18": ResNet(bottleneck=False, depths=(2, 2, 2, 2)),
    "se_resnet34": ResNet(bottleneck=False, depths=(3, 4, 6, 3)),
    "se_resnet50": ResNet(bottleneck=True, depths=(3, 4, 6, 3)),
    "se_resnet101": ResNet(bottleneck=True, depths=(3, 4, 23, 3)),
    "se_resnet152": ResNet(bottleneck=True, depths=(3, 8, 36, 3)),
    "se_resnext50_32x4d": ResNet(bottleneck=True, depths=(3, 4, 6, 3), groups=32, group_width=4, stride_in="3x3"),
    "se_resnext101_32x4d": ResNet(bottleneck=True, depths=(3, 4, 23, 3), groups=32, group_width=4, stride_in="3x3"),
    "se_resnext101_64x4d": ResNet(bottleneck=True, depths=(3, 4, 23, 3), groups=64, group_width=4, stride_in="3x3"),
    "senet154": ResNet(
        bottleneck=True,
        depths=(3, 8, 36, 3),
        groups=64,
        group_width=4,
        stride_in="3x3",
        stem=(Conv(3, 64, 2), Conv(3, 64, 1), Conv(3, 128, 1)),
        reduce=2,
        projection=3,
        dropout=0.2,
    ),
}


def resnet(
    row: ResNet,
    image: Tensor,
    *,
    se: SE,
    head: Head,
    stride_in: str | None = None,
    padding: str = "same",
    stem_pool: str = "ceil",
    activation: str = "relu",
    last_activation: str | None = None,
) -> Tensor:
    """Apply a row's network to an image `(batch, height, width, channels)`.

    Args:
        stride_in: where a bottleneck that halves the resolution does so: "1x1", its first convolution, as in the
            papers' ResNets (v1), or "3x3", as in their ResNeXts (and v1.5: timm's and torchvision's ResNets); None
            takes the row's. Basic blocks have their stride in the first 3x3.
        padding: of the convolutions with a stride: "same", Keras's, or "symmetric", torch's and Caffe's.
        stem_pool: 3x3 with stride 2: "ceil", the paper's and timm's `legacy_` models', or "padded", timm's others.
        activation: after each convolution but a block's last, and after each addition.
        last_activation: after a block's last convolution, before SE: None but in timm's `legacy_seresnet18` and 34.
    """
    se.check(PLACEMENTS, STAGES)
    check_padding(padding)
    stride_in = row.stride_in if stride_in is None else stride_in
    if stride_in not in ("1x1", "3x3"):
        raise ValueError(f"stride_in must be 1x1 or 3x3; got stride_in={stride_in!r}")
    row = row._replace(stride_in=stride_in)
    x = image
    for number, (kernel, filters, stride) in enumerate(row.stem, 1):
        label = "stem" if len(row.stem) == 1 else f"stem_{number}"
        x = conv_bn(x, filters, kernel, label, stride=stride, activation=activation, padding=padding)
    x = pool_stem(x, stem_pool)
    for stage, depth in zip(STAGES, row.depths, strict=True):
        for block in range(1, depth + 1):
            stride = 2 if block == 1 and stage > 2 else 1
            label = f"stage{stage}_block{block}"
            x = _residual(x, row, stride, padding, activation, last_activation, se, stage, label)
    return head(x, dropout=row.dropout)


def _residual(x, row, stride, padding, activation, last_activation, se, stage, name) -> Tensor:
    double = 2 ** (stage - 2)
    width, groups = row.groups * row.group_width * double, row.groups
    filters = row.filters * double if row.bottleneck else width
    shortcut = x
    if stride > 1 or x.shape[-1] != filters:
        kernel = row.projection if stride > 1 else 1
        shortcut = conv_bn(x, filters, kernel, f"{name}_projection", stride=stride, activation=None, padding=padding)
    y = se.at("pre", x, stage, name)
    if row.bottleneck:
        first, second = (stride, 1) if row.stride_in == "1x1" else (1, stride)
        y = conv_bn(y, width // row.reduce, 1, f"{name}_1", stride=first, activation=activation)
        y = conv_bn(y, width, 3, f"{name}_2", stride=second, groups=groups, activation=activation, padding=padding)
        y = se.at("3x3", y, stage, name)
        y = conv_bn(y, filters, 1, f"{name}_3", activation=last_activation)
    else:
        y = conv_bn(y, width, 3, f"{name}_1", stride=stride, activation=activation, padding=padding)
        y = se.at("3x3", y, stage, name)  # of the two 3x3 the inner one: after the outer one is "standard"
        y = conv_bn(y, filters, 3, f"{name}_2", activation=last_activation)
    y = se.at("standard", y, stage, name)
    shortcut = se.at("identity", shortcut, stage, name)
    y = layers.Add(name=f"{name}_add")([shortcut, y])
    y = layers.Activation(activation, name=f"{name}_out")(y)
    return se.at("post", y, stage, name)
