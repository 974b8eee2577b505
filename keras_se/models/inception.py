"""SE-BN-Inception.

Sources: Ioffe and Szegedy, arXiv 1502.03167, figure 5 (the modules); Hu et al., arXiv 1709.01507, section 3.2
(SE on each module's output).
"""

from typing import NamedTuple

from keras import layers

from keras_se.models.blocks import CHANNELS_LAST, Tensor, conv_bn
from keras_se.models.head import Head
from keras_se.models.placement import SE

STAGES = (3, 4, 5)
PLACEMENTS = ("standard", "pre", "none")


class Inception(NamedTuple):
    """A line of figure 5. Filters; `(a, b)` is a 1x1 convolution with `a` before the 3x3 ones with `b`."""

    stage: int
    single: int
    """Filters of the 1x1 branch; 0 for no such branch."""
    three: tuple[int, int]
    double: tuple[int, int]
    pool: str
    project: int
    """Filters of the 1x1 convolution after the pool; 0 for the pool alone."""
    stride: int = 1


MODULES = (
    Inception(3, 64, (64, 64), (64, 96), "avg", 32),
    Inception(3, 64, (64, 96), (64, 96), "avg", 64),
    Inception(3, 0, (128, 160), (64, 96), "max", 0, stride=2),
    Inception(4, 224, (64, 96), (96, 128), "avg", 128),
    Inception(4, 192, (96, 128), (96, 128), "avg", 128),
    Inception(4, 160, (128, 160), (128, 160), "avg", 128),
    Inception(4, 96, (128, 192), (160, 192), "avg", 128),
    Inception(4, 0, (128, 192), (192, 256), "max", 0, stride=2),
    Inception(5, 352, (192, 320), (160, 224), "avg", 128),
    Inception(5, 352, (192, 320), (192, 224), "max", 128),
)
ROWS = {"se_bn_inception": MODULES}
_POOLS = {"avg": layers.AveragePooling2D, "max": layers.MaxPooling2D}


def inception(row: tuple[Inception, ...], image: Tensor, *, se: SE, head: Head) -> Tensor:
    """Apply a row's network to an image `(batch, height, width, channels)`."""
    se.check(PLACEMENTS, STAGES)
    x = conv_bn(image, 64, 7, "stem_1", stride=2)
    x = _pool(x, "max", 2, "stem_pool1")
    x = conv_bn(x, 64, 1, "stem_2")
    x = conv_bn(x, 192, 3, "stem_3")
    x = _pool(x, "max", 2, "stem_pool2")
    for number, module in enumerate(row, 1):
        label = f"module{number}"
        x = se.at("pre", x, module.stage, label)
        x = _module(x, module, label)
        x = se.at("standard", x, module.stage, label)
    return head(x)


def _module(x, module, name) -> Tensor:
    stride = module.stride
    branches = []
    if module.single:
        branches.append(conv_bn(x, module.single, 1, f"{name}_single"))
    reduce, filters = module.three
    y = conv_bn(x, reduce, 1, f"{name}_three_1")
    branches.append(conv_bn(y, filters, 3, f"{name}_three_2", stride=stride))
    reduce, filters = module.double
    y = conv_bn(x, reduce, 1, f"{name}_double_1")
    y = conv_bn(y, filters, 3, f"{name}_double_2")
    branches.append(conv_bn(y, filters, 3, f"{name}_double_3", stride=stride))
    y = _pool(x, module.pool, stride, f"{name}_pool")
    branches.append(conv_bn(y, module.project, 1, f"{name}_project") if module.project else y)
    return layers.Concatenate(name=f"{name}_concat")(branches)


def _pool(x, kind, stride, name) -> Tensor:
    return _POOLS[kind](3, stride, padding="same", data_format=CHANNELS_LAST, name=name)(x)
