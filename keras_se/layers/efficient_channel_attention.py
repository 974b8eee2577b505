"""Efficient channel attention as a Keras layer."""

import math
from typing import Any

import keras
from keras import ops

from keras_se.layers.checks import channels_of, odd


@keras.saving.register_keras_serializable(package="keras_se")
class EfficientChannelAttention(keras.layers.Layer):
    """Scale each channel by a gate computed from the means of the channels next to it.

    `x * sigmoid(conv1d(mean(x)))`: one kernel of few numbers slides over the channels.

    Args:
        kernel_size: channels that a gate is computed from, an odd number; by default the paper's, which grows with
            the logarithm of the number of channels.
        **kwargs: `name`, `dtype`, `trainable`, as of every Keras layer.
    Input shape: `(batch, height, width, channels)`, floating point; height and width may be unknown.
    Output shape: the input's, in the layer's compute dtype.
    Raises:
        ValueError: `kernel_size` is not odd, or the input has another rank or an unknown number of channels.
    Example:
        >>> feature_map = np.ones((2, 7, 7, 64), "float32")
        >>> tuple(keras_se.EfficientChannelAttention()(feature_map).shape)
        (2, 7, 7, 64)
    Source: Wang et al., arXiv 1910.03151, section 3 and equation 12.
    """

    def __init__(self, kernel_size: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.kernel_size = None if kernel_size is None else odd("kernel_size", kernel_size)

    def build(self, input_shape: Any) -> None:
        size = self.kernel_size or kernel_size_of(channels_of(self, input_shape))
        self.over_channels = keras.layers.Conv2D(
            1,
            (1, size),
            padding="same",
            use_bias=False,
            data_format="channels_last",
            dtype=self.dtype_policy,
            name="over_channels",
        )
        self.over_channels.build((None, 1, input_shape[-1], 1))

    def call(self, x: Any) -> Any:
        channels = x.shape[-1]
        means = ops.reshape(ops.mean(x, axis=(1, 2), keepdims=True), (-1, 1, channels, 1))
        gate = ops.sigmoid(ops.reshape(self.over_channels(means), (-1, 1, 1, channels)))
        return x * gate

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kernel_size": self.kernel_size}


def kernel_size_of(channels: int) -> int:
    """Return the odd number next to `(log2(channels) + 1) / 2`, as the authors' code rounds it."""
    size = int(abs((math.log2(channels) + 1) / 2))
    return size if size % 2 else size + 1
