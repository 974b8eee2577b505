"""Gates of a model's SE on images.

In: a model with SE, and images as it sees them. Out: each block's gate for each image.
"""

import keras
import numpy as np

from keras_se.errors import InputError
from keras_se.surgery.graphs import check_graph, check_images
from keras_se.surgery.probe import GateProbe
from keras_se.surgery.se_blocks import Block, blocks_of


def excitations(model: keras.Model, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return each SE block's gate for each image, in one pass.

    SE is this package's layer or one beside it, inserted or built, or what a model has in layers of Keras, as
    MobileNetV3 and EfficientNet of `keras.applications`: a map times a gate that layers with weights compute from
    it alone.

    Args:
        model: a built functional or sequential model of one input.
        images: `(n, height, width, channels)`, as the network sees them.
    Returns:
        float32 `(n, channels)` by the block's name, in the order in which they run: of the layer, or of the
        multiplication by the gate; within another model, after that model's name and a slash. With squeeze="none" the
        mean over positions; of a block that is called again, the first call's.
    Raises:
        InputError: the model has no SE, cannot be looked into, or takes images of another shape.
    Example:
        >>> model = keras.applications.MobileNetV3Small((32, 32, 3), weights=None, classes=10)
        >>> gates = keras_se.excitations(model, images)
        >>> name, gate = next(iter(gates.items()))
        >>> name, gate.shape
        ('expanded_conv_squeeze_excite_mul', (20, 16))
    Source: arXiv 1709.01507, section 7.2 and figure 6.
    """
    blocks = find_blocks(model, "excitations")
    return GateProbe(model, blocks).gates(check_images(model, images, "excitations"))


def find_blocks(model: keras.Model, verb: str) -> list[Block]:
    """Return the SE blocks of a model.

    Raises:
        InputError: it has none, or its layers are not known.
    """
    check_graph(model, verb)
    blocks = blocks_of(model)
    if not blocks:
        raise InputError(f"{verb} takes a network with SE; {model.name} has none: keras_se.insert puts it in")
    return blocks
