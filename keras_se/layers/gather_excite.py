"""Gather-excite as a Keras layer."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_se.layers.checks import at_least_one
from keras_se.layers.gating_layer import GatingLayer

_LEARNED_EXTENTS = (None, 2, 4, 8)


@keras.saving.register_keras_serializable(package="keras_se")
class GatherExcite(GatingLayer):
    """Scale each position of a channel by the sigmoid of what the channel is around it.

    The gather operator averages windows of `2 * extent - 1` positions a side, one for each `extent` positions; each
    mean is repeated over the positions that it stands for. It has no weights: the paper's GE-θ⁻. With `learned` it is
    the paper's GE-θ: for each halving a depthwise 3x3 convolution of stride 2 and a batch normalisation, with a ReLU
    between one and the next; for the whole map one depthwise convolution of its size.

    Args:
        extent: positions a side that one value stands for; None for the whole map.
        learned: gather with weights; takes an extent of 2, 4, 8 or None.
        data_format: "channels_last" or "channels_first"; Keras's own setting when None.
        **kwargs: `name`, `dtype`, `trainable`, as of every Keras layer.
    Input shape: `(batch, height, width, channels)`, or `(batch, channels, height, width)` with "channels_first",
        floating point; height and width may be unknown, but of a learned gathering from the whole map. Without an
        extent or weights so too with one position axis, as of signals, or three, as of volumes.
    Output shape: the input's, in the layer's compute dtype.
    Raises:
        ValueError: `extent` is not an integer of at least 1 or none of those that `learned` takes, or the input has
            another rank, an unknown number of channels, or an unknown size where it must be known.
    Example:
        >>> feature_map = np.ones((2, 8, 8, 64), "float32")
        >>> tuple(keras_se.GatherExcite(extent=4)(feature_map).shape)
        (2, 8, 8, 64)
    Source: Hu et al., arXiv 1810.12348, section 3; the kernels and normalisations as in the authors' code.
    """

    def __init__(
        self, extent: int | None = None, *, learned: bool = False, data_format: str | None = None, **kwargs: Any
    ):
        super().__init__(data_format=data_format, **kwargs)
        self.extent = None if extent is None else at_least_one("extent", extent)
        self.learned = learned
        if learned and extent not in _LEARNED_EXTENTS:
            raise ValueError(f"extent must be 2, 4, 8 or None with learned=True; got extent={extent}")

    def build(self, input_shape: Any) -> None:
        channels = self.channels_of(input_shape)
        shape = tuple(input_shape)
        if (self.learned or self.extent is not None) and len(shape) != 4:
            raise ValueError(f"GatherExcite takes images, of rank 4, with an extent or learned=True; got {shape}")
        self.steps: list[tuple[Any, Any]] = []
        if not self.learned:
            return
        kernel_size: Any = 3
        if self.extent is None:
            kernel_size = shape[1:3] if self.channels_last else shape[2:]
            if None in kernel_size:
                raise ValueError(f"GatherExcite must know the size of the map with learned=True; got {shape}")
        for number in range(1 if self.extent is None else self.extent.bit_length() - 1):
            convolution = keras.layers.DepthwiseConv2D(
                kernel_size,
                1 if self.extent is None else 2,
                use_bias=False,
                depthwise_initializer="he_normal",
                data_format="channels_last",
                dtype=self.dtype_policy,
                name=f"gather_{number}",
            )
            normalisation = keras.layers.BatchNormalization(dtype=self.dtype_policy, name=f"normalise_{number}")
            convolution.build((None, None, None, channels))
            normalisation.build((None, None, None, channels))
            self.steps.append((convolution, normalisation))

    def call(self, x: Any, training: bool | None = None) -> Any:
        return x * self.excite(x, training=training)

    def excite(self, x: Any, training: bool | None = None) -> Any:
        if self.extent is None and not self.learned:
            return ops.sigmoid(self.reduce_positions(x))
        x = x if self.channels_last else ops.moveaxis(x, 1, -1)
        gathered = self._gather(x, training) if self.learned else _means(x, self.extent)
        gate = ops.sigmoid(gathered if self.extent is None else _repeat(gathered, self.extent, x))
        return gate if self.channels_last else ops.moveaxis(gate, -1, 1)

    def _gather(self, x: Any, training: bool | None) -> Any:
        for number, (convolution, normalisation) in enumerate(self.steps):
            if number:
                x = ops.relu(x)
            if self.extent is not None:
                x = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))  # so that each window's middle is where a step begins
            x = normalisation(convolution(x), training=training)
        return x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "extent": self.extent, "learned": self.learned}


def _means(x: Any, extent: Any) -> Any:
    """Return the mean of each window: `(batch, ceil(height / extent), ceil(width / extent), channels)`."""
    border = extent - 1
    padded = ops.pad(x, ((0, 0), (border, border), (border, border), (0, 0)))
    means: Any = ops.average_pool(padded, 2 * extent - 1, extent, "valid", data_format="channels_last")
    sizes: Any = ops.shape(x)
    rows, columns = (_inside(size, extent) for size in sizes[1:3])
    # A window takes no zeros from beyond the border.
    return means * ops.cast(1 / (rows[:, None] * columns)[None, :, :, None], means.dtype)


def _inside(size: Any, extent: int) -> Any:
    """Return the share of each window that lies within a map of this size."""
    library: Any = np if isinstance(size, int) else ops  # a known share is a constant of the graph
    centres = library.arange(0, size, extent)
    inside = library.minimum(centres + extent, size) - library.maximum(centres - extent + 1, 0)
    return inside / (2 * extent - 1)


def _repeat(gathered: Any, extent: int, x: Any) -> Any:
    """Repeat each value over the positions that it stands for, to the size of `x`."""
    shape: Any = ops.shape(x)
    _, height, width, _ = shape
    if not (isinstance(height, int) and isinstance(width, int)):  # Keras resizes to known sizes alone
        spread: Any = ops.repeat(ops.repeat(gathered, extent, axis=1), extent, axis=2)
        return spread[:, :height, :width]
    sizes = (gathered.shape[1] * extent, gathered.shape[2] * extent)
    repeated: Any = ops.image.resize(gathered, sizes, interpolation="nearest", data_format="channels_last")
    return repeated if sizes == (height, width) else repeated[:, :height, :width]
