"""SE taken out of a model.

In: a model with SE. Out: the plain network, or one in whose weights the mean of each gate is.
"""

from typing import overload

import keras
import numpy as np

from keras_se.errors import InputError
from keras_se.surgery.accuracy import accuracy, check_labels
from keras_se.surgery.constant_gates import Replacer, hold_gates
from keras_se.surgery.excitation import find_blocks
from keras_se.surgery.graphs import check_images
from keras_se.surgery.probe import GateProbe


@overload
def remove(model: keras.Model, *, keep_mean: np.ndarray | None = None) -> keras.Model: ...
@overload
def remove(model: keras.Model, *, keep_mean: np.ndarray, labels: np.ndarray) -> tuple[keras.Model, float]: ...
def remove(
    model: keras.Model, *, keep_mean: np.ndarray | None = None, labels: np.ndarray | None = None
) -> keras.Model | tuple[keras.Model, float]:
    """Take SE out of a model.

    The layers that stay keep their names, weights and training flags. The model computes what it did if the gates are
    1, as `insert(identity=True)` begins; trained gates leave their means behind with `keep_mean`.

    Args:
        model: a built functional or sequential model with SE: this package's layers, or as `excitations` finds it.
        keep_mean: images `(n, height, width, channels)`, as the network sees them. The mean of each gate over them is
            multiplied into the convolution, dense layer or batch normalisation before the block, else into the
            convolutions behind it; where neither is, a `Rescaling` of the block's name stays.
        labels: int `(n,)`, of these images, to say what that costs.
    Returns:
        A new model, not compiled; with labels, also the accuracy that it loses on these images, which is below 0 where
        it gains.
    Raises:
        InputError: the model has no SE, or the images or labels do not fit.
    Example:
        >>> plain = keras.applications.MobileNetV2((32, 32, 3), weights=None, classes=10)
        >>> model = keras_se.insert(plain, after="residual", identity=True)
        >>> same = keras_se.remove(model)
        >>> [layer.name for layer in same.layers] == [layer.name for layer in plain.layers]
        True
        >>> folded, lost = keras_se.remove(model, keep_mean=images, labels=labels)
        >>> round(lost, 3)
        0.0
    """
    blocks = find_blocks(model, "remove")
    if keep_mean is None:
        if labels is not None:
            raise InputError("labels say what keep_mean costs; give keep_mean=images too")
        return Replacer(blocks).rewrite(model)
    images = check_images(model, keep_mean, "remove")
    if labels is not None:
        check_labels(labels, images)
    gates = GateProbe(model, blocks).gates(images)
    new = hold_gates(model, blocks, {path: gate.mean(0) for path, gate in gates.items()})
    return new if labels is None else (new, accuracy(model, images, labels) - accuracy(new, images, labels))
