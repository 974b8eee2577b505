"""Efficient channel attention as a Keras layer."""

import math
from typing import Any

import keras
from keras import ops

from keras_se.layers.checks import odd
from keras_se.layers.gating_layer import GatingLayer


@keras.saving.register_keras_serializable(package="keras_se")
class EfficientChannelAttention(GatingLayer):
    """Scale each channel by a gate computed from the means of the channels next to it.

    `x * sigmoid(conv1d(mean(x)))`: one kernel of few numbers slides over the channels.

    Args:
        kernel_size: channels that a gate is computed from, an odd number; by default the paper's, which grows with
            the logarithm of the number of channels.
        data_format: "channels_last" or "channels_first"; Keras's own setting when None.
        **kwargs: `name`, `dtype`, `trainable`, as of every Keras layer.
    Input shape: `(batch, height, width, channels)`, or `(batch, channels, height, width)` with "channels_first"; so
        too with one position axis, as of signals, or three, as of volumes; floating point; all but the channels may be
        unknown.
    Output shape: the input's, in the layer's compute dtype.
    Raises:
        ValueError: `kernel_size` is not odd, or the input has no rank of 3 to 5 or an unknown number of channels.
    Example:
        >>> feature_map = np.ones((2, 7, 7, 64), "float32")
        >>> tuple(keras_se.EfficientChannelAttention()(feature_map).shape)
        (2, 7, 7, 64)
    Source: Wang et al., arXiv 1910.03151, section 3 and equation 12.
    """

    def __init__(self, kernel_size: int | None = None, *, data_format: str | None = None, **kwargs: Any):
        super().__init__(data_format=data_format, **kwargs)
        self.kernel_size = None if kernel_size is None else odd("kernel_size", kernel_size)

    def build(self, input_shape: Any) -> None:
        channels = self.channels_of(input_shape)
        self.over_channels = keras.layers.Conv2D(
            1,
            (1, self.kernel_size or kernel_size_of(channels)),
            padding="same",
            use_bias=False,
            data_format="channels_last",
            dtype=self.dtype_policy,
            name="over_channels",
        )
        self.over_channels.build((None, 1, channels, 1))

    def excite(self, x: Any) -> Any:
        return ops.sigmoid(self.on_vectors(self._slide, self.reduce_positions(x)))

    def _slide(self, z: Any) -> Any:
        channels = z.shape[-1]
        return ops.reshape(self.over_channels(ops.reshape(z, (-1, 1, channels, 1))), (-1, 1, 1, channels))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kernel_size": self.kernel_size}


def kernel_size_of(channels: int) -> int:
    """Return the odd number next to `(log2(channels) + 1) / 2`, as the authors' code rounds it."""
    size = int(abs((math.log2(channels) + 1) / 2))
    return size if size % 2 else size + 1
