"""Multiply-accumulates of a model: the paper's "GFLOPs"."""

import math

import keras

from keras_se.layers.squeeze_excite import SqueezeExcite


def macs(model: keras.Model) -> int:
    """Count the multiply-accumulates of one image through the convolutions and dense layers of `model`.

    Each weight of a kernel is used once at each position of the output. Additions, normalisations, pooling and the
    rescaling of SE are not counted, as in the paper.

    Args:
        model: a built functional model, channels_last, with a known height and width.
    Returns:
        A number of multiply-accumulates, which papers call FLOPs.
    Raises:
        ValueError: the height or width of a layer's output is unknown.
    Example:
        >>> image = keras.Input((8, 8, 3))
        >>> keras_se.macs(keras.Model(image, keras.layers.Conv2D(16, 3, padding="same")(image)))
        27648
    Source: arXiv 1709.01507, table 2.
    """
    return sum(_layer_macs(layer) for layer in model.layers)


def _layer_macs(layer) -> int:
    if isinstance(layer, keras.Model):
        return macs(layer)
    if isinstance(layer, SqueezeExcite):
        positions = _positions(layer) if layer.squeeze == "none" else 1
        return positions * (_size(layer.reduce.kernel) + _size(layer.expand.kernel))
    kernel = getattr(layer, "kernel", None)
    return 0 if kernel is None else _positions(layer) * _size(kernel)


def _size(kernel) -> int:
    return math.prod(kernel.shape)


def _positions(layer) -> int:
    spatial = layer.output.shape[1:-1]
    if None in spatial:
        raise ValueError(f"counting needs a known height and width; layer {layer.name} has {layer.output.shape}")
    return math.prod(spatial)
