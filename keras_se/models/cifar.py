"""SE-ResNets and a wide one for 32x32 images.

Sources: He et al., arXiv 1512.03385, section 4.2 (ResNet-20, 56, 110); He et al., arXiv 1603.05027, section 4 and
figure 4 (ResNet-164); Zagoruyko and Komodakis, arXiv 1605.07146, table 1 (WRN-16-8); Hu et al., arXiv 1709.01507,
section 5.1 (SE).
"""

from typing import NamedTuple

from keras import layers, ops

from keras_se.models.blocks import CHANNELS_LAST, NORM, Tensor, conv_bn
from keras_se.models.head import Head
from keras_se.models.placement import PLACEMENTS, SE

STAGES = (1, 2, 3)  # 32x32, 16x16, 8x8


class Cifar(NamedTuple):
    """A network of three stages."""

    depth: int
    """Blocks a stage."""
    width: int = 1
    """Multiplies the widths 16, 32, 64 of the stages."""
    bottleneck: bool = False
    preactivation: bool = False
    """If true, normalisation and ReLU come before each convolution, and shortcuts that change the size are
    projections; else they come after, and these shortcuts skip positions and fill with zero channels."""


ROWS = {
    "se_resnet20_cifar": Cifar(depth=3),
    "se_resnet56_cifar": Cifar(depth=9),
    "se_resnet110_cifar": Cifar(depth=18),
    "se_resnet164_cifar": Cifar(depth=18, bottleneck=True, preactivation=True),
    "se_wrn16_8": Cifar(depth=2, width=8, preactivation=True),
}


def cifar(row: Cifar, image: Tensor, *, se: SE, head: Head) -> Tensor:
    """Apply a row's network to an image `(batch, height, width, channels)`."""
    se.check(PLACEMENTS, STAGES)
    x = _conv(image, 16, 3, 1, "stem") if row.preactivation else conv_bn(image, 16, 3, "stem")
    block = _preactivated if row.preactivation else _residual
    for stage in STAGES:
        width = 16 * 2 ** (stage - 1) * row.width
        for number in range(1, row.depth + 1):
            stride = 2 if number == 1 and stage > 1 else 1
            x = block(x, row, width, stride, se, stage, f"stage{stage}_block{number}")
    if row.preactivation:
        x = _bn_relu(x, "last")
    return head(x)


def _residual(x, row, width, stride, se, stage, name) -> Tensor:
    y = se.at("pre", x, stage, name)
    y = conv_bn(y, width, 3, f"{name}_1", stride=stride)
    y = se.at("3x3", y, stage, name)
    y = conv_bn(y, width, 3, f"{name}_2", activation=None)
    y = se.at("standard", y, stage, name)
    shortcut = se.at("identity", _identity(x, width, stride, name), stage, name)
    y = layers.Add(name=f"{name}_add")([shortcut, y])
    y = layers.Activation("relu", name=f"{name}_out")(y)
    return se.at("post", y, stage, name)


def _identity(x, width, stride, name) -> Tensor:
    """Take `x` at every `stride`-th position, with zero channels up to `width`: option A of section 4.1, He et al."""
    if stride > 1:
        x = layers.MaxPooling2D(1, stride, data_format=CHANNELS_LAST, name=f"{name}_subsample")(x)
    missing = width - x.shape[-1]
    return x if not missing else ops.pad(x, ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)))


def _preactivated(x, row, width, stride, se, stage, name) -> Tensor:
    filters = 4 * width if row.bottleneck else width
    y = _bn_relu(x, f"{name}_1")
    shortcut = x
    if stride > 1 or x.shape[-1] != filters:
        shortcut = _conv(y, filters, 1, stride, f"{name}_projection")  # of what F sees too
    y = se.at("pre", y, stage, name)
    if row.bottleneck:
        y = _conv(y, width, 1, stride, f"{name}_1")
        y = _conv(_bn_relu(y, f"{name}_2"), width, 3, 1, f"{name}_2")
        y = _bn_relu(se.at("3x3", y, stage, name), f"{name}_3")
        y = _conv(y, filters, 1, 1, f"{name}_3")
    else:
        y = _conv(y, width, 3, stride, f"{name}_1")
        y = _bn_relu(se.at("3x3", y, stage, name), f"{name}_2")
        y = _conv(y, filters, 3, 1, f"{name}_2")
    y = se.at("standard", y, stage, name)
    shortcut = se.at("identity", shortcut, stage, name)
    return se.at("post", layers.Add(name=f"{name}_add")([shortcut, y]), stage, name)


def _conv(x, filters, kernel, stride, name) -> Tensor:
    return layers.Conv2D(
        filters,
        kernel,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        data_format=CHANNELS_LAST,
        name=f"{name}_conv",
    )(x)


def _bn_relu(x, name) -> Tensor:
    return layers.Activation("relu", name=f"{name}_act")(NORM(x, name))
