"""Gather-excite without parameters as a Keras layer."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_se.layers.checks import at_least_one, channels_of


@keras.saving.register_keras_serializable(package="keras_se")
class GatherExcite(keras.layers.Layer):
    """Scale each position of a channel by the sigmoid of the channel's mean around it.

    The gather operator averages windows of `2 * extent - 1` positions a side, one for each `extent` positions; each
    mean is repeated over the positions that it stands for. It has no weights: the paper's GE-θ⁻.

    Args:
        extent: positions a side that one mean stands for; None for the mean of the whole map.
        **kwargs: `name`, `dtype`, `trainable`, as of every Keras layer.
    Input shape: `(batch, height, width, channels)`, floating point; height and width may be unknown with `extent=None`.
    Output shape: the input's, in the layer's compute dtype.
    Raises:
        ValueError: `extent` is not an integer of at least 1, or the input has another rank, an unknown number of
            channels, or with an extent an unknown size.
    Example:
        >>> feature_map = np.ones((2, 8, 8, 64), "float32")
        >>> tuple(keras_se.GatherExcite(extent=4)(feature_map).shape)
        (2, 8, 8, 64)
    Source: Hu et al., arXiv 1810.12348, section 3.1.
    """

    def __init__(self, extent: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.extent = None if extent is None else at_least_one("extent", extent)

    def build(self, input_shape: Any) -> None:
        channels_of(self, input_shape)
        if self.extent is not None and None in input_shape[1:3]:
            raise ValueError(
                f"GatherExcite must know the height and width with an extent; got the shape {tuple(input_shape)}"
            )

    def call(self, x: Any) -> Any:
        if self.extent is None:
            return x * ops.sigmoid(ops.mean(x, axis=(1, 2), keepdims=True))
        return x * ops.sigmoid(_gather(x, self.extent))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "extent": self.extent}


def _gather(x: Any, extent: int) -> Any:
    """Return the mean of each position's window, at the map's size."""
    height, width = x.shape[1:3]
    border = extent - 1
    padded = ops.pad(x, ((0, 0), (border, border), (border, border), (0, 0)))
    means: Any = ops.average_pool(padded, 2 * extent - 1, extent, "valid", data_format="channels_last")
    inside = np.multiply.outer(_inside(height, extent), _inside(width, extent))[None, :, :, None]
    means = means * ops.cast(1 / inside, means.dtype)  # a window takes no zeros from beyond the border
    sizes = (means.shape[1] * extent, means.shape[2] * extent)
    repeated: Any = ops.image.resize(means, sizes, interpolation="nearest", data_format="channels_last")
    return repeated if sizes == (height, width) else repeated[:, :height, :width]


def _inside(size: int, extent: int) -> np.ndarray:
    """Return the share of each window that lies within a map of this size."""
    centres = np.arange(0, size, extent)
    return (np.minimum(centres + extent, size) - np.maximum(centres - extent + 1, 0)) / (2 * extent - 1)
