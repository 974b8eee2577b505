"""SE-VGG-16 with batch normalisation.

Sources: Simonyan and Zisserman, arXiv 1409.1556, table 1, column D; Hu et al., arXiv 1709.01507, section 3.2
(SE after the non-linearity that follows each convolution).
"""

from typing import NamedTuple

from keras import layers

from keras_se.models.blocks import CHANNELS_LAST, Tensor, conv_bn
from keras_se.models.head import Head
from keras_se.models.placement import SE

STAGES = (1, 2, 3, 4, 5)
PLACEMENTS = ("standard", "none")


class VGG(NamedTuple):
    """One column of table 1: for each stage how many convolutions, and their filters."""

    depths: tuple[int, int, int, int, int]
    filters: tuple[int, int, int, int, int] = (64, 128, 256, 512, 512)
    hidden: tuple[int, ...] = (4096, 4096)


ROWS = {"se_vgg16": VGG(depths=(2, 2, 3, 3, 3))}


def vgg(row: VGG, image: Tensor, *, se: SE, head: Head, dropout: float = 0.5) -> Tensor:
    """Apply a row's network to an image `(batch, height, width, channels)`.

    Args:
        dropout: after each hidden dense layer. These see every position: with the top, height and width must be
            known, and at least 32.
    """
    se.check(PLACEMENTS, STAGES)
    if head.include_top and any(size is None or size < 32 for size in image.shape[1:3]):
        raise ValueError(f"height and width must be at least 32 with include_top; got input_shape={image.shape[1:]}")
    x = image
    for stage, depth, filters in zip(STAGES, row.depths, row.filters, strict=True):
        for number in range(1, depth + 1):
            label = f"stage{stage}_{number}"
            x = conv_bn(x, filters, 3, label, use_bias=True)  # the biases are in the published size
            x = se.at("standard", x, stage, label)
        x = layers.MaxPooling2D(2, 2, data_format=CHANNELS_LAST, name=f"stage{stage}_pool")(x)
    return head(x, dropout=dropout, hidden=row.hidden, flatten=True)
