"""SE-ShuffleNet.

Sources: Zhang et al., arXiv 1707.01083, table 1 (the widths), figure 2 (the units); Hu et al., arXiv 1709.01507,
section 5.1 (SE at each unit's end, before it joins the shortcut).
"""

from typing import NamedTuple

from keras import layers

from keras_se.models.blocks import CHANNELS_LAST, Tensor, conv_bn, depthwise_bn, pool_stem
from keras_se.models.head import Head
from keras_se.models.placement import SE

STAGES = (2, 3, 4)
PLACEMENTS = ("standard", "pre", "3x3", "none")  # where units concatenate there is nothing to add to


class ShuffleNet(NamedTuple):
    """One column of table 1, Zhang et al."""

    groups: int
    out: tuple[int, int, int]
    depths: tuple[int, int, int] = (4, 8, 4)


ROWS = {"se_shufflenet": ShuffleNet(groups=3, out=(240, 480, 960))}


def shufflenet(row: ShuffleNet, image: Tensor, *, se: SE, head: Head) -> Tensor:
    """Apply a row's network to an image `(batch, height, width, channels)`.

    Height and width must be known, to shuffle the channels.
    """
    se.check(PLACEMENTS, STAGES)
    if None in image.shape[1:]:
        raise ValueError(f"height and width must be known in this family; got input_shape={image.shape[1:]}")
    x = pool_stem(conv_bn(image, 24, 3, "stem", stride=2))
    for stage, depth, out in zip(STAGES, row.depths, row.out, strict=True):
        for unit in range(1, depth + 1):
            x = _unit(x, row.groups, out, 2 if unit == 1 else 1, se, stage, f"stage{stage}_unit{unit}")
    return head(x)


def _unit(x, groups, out, stride, se, stage, name) -> Tensor:
    # The first pointwise convolution of all sees 24 channels and is dense (section 3.2).
    first = 1 if (stage, stride) == (2, 2) else groups
    y = se.at("pre", x, stage, name)
    y = conv_bn(y, out // 4, 1, f"{name}_1", groups=first)
    y = _shuffle(y, groups, f"{name}_shuffle")
    y = depthwise_bn(y, 3, f"{name}_2", stride=stride, activation=None)
    y = se.at("3x3", y, stage, name)
    y = conv_bn(y, out if stride == 1 else out - x.shape[-1], 1, f"{name}_3", groups=groups, activation=None)
    y = se.at("standard", y, stage, name)
    if stride == 1:
        y = layers.Add(name=f"{name}_add")([x, y])
    else:
        x = layers.AveragePooling2D(3, 2, padding="same", data_format=CHANNELS_LAST, name=f"{name}_shortcut")(x)
        y = layers.Concatenate(name=f"{name}_concat")([x, y])
    return layers.Activation("relu", name=f"{name}_out")(y)


def _shuffle(x, groups, name) -> Tensor:
    """Channel `i` of group `g` becomes channel `g` of group `i`."""
    height, width, channels = x.shape[1:]
    y = layers.Reshape((-1, groups, channels // groups), name=f"{name}_split")(x)  # (batch, h * w, groups, c)
    y = layers.Permute((1, 3, 2), name=name)(y)
    return layers.Reshape((height, width, channels), name=f"{name}_join")(y)
