"""Spatial half of CBAM as a Keras layer."""

from typing import Any

import keras
from keras import ops

from keras_se.layers.checks import channels_of, odd


@keras.saving.register_keras_serializable(package="keras_se")
class SpatialAttention(keras.layers.Layer):
    """Scale each position by a gate computed from the mean and the maximum of its channels.

    `x * sigmoid(conv(concatenate(mean(x), max(x))))`, over the channels, with one filter of `kernel_size` a side.

    Args:
        kernel_size: of the convolution, an odd number; 7 in the paper.
        **kwargs: `name`, `dtype`, `trainable`, as of every Keras layer.
    Input shape: `(batch, height, width, channels)`, floating point; height and width may be unknown.
    Output shape: the input's, in the layer's compute dtype.
    Raises:
        ValueError: `kernel_size` is not odd, or the input has another rank or an unknown number of channels.
    Example:
        >>> feature_map = np.ones((2, 7, 7, 64), "float32")
        >>> tuple(keras_se.SpatialAttention()(feature_map).shape)
        (2, 7, 7, 64)
    Source: Woo et al., CBAM, arXiv 1807.06521, equation 3.
    """

    def __init__(self, kernel_size: int = 7, **kwargs: Any):
        super().__init__(**kwargs)
        self.kernel_size = odd("kernel_size", kernel_size)

    def build(self, input_shape: Any) -> None:
        channels_of(self, input_shape)
        self.look = keras.layers.Conv2D(
            1,
            self.kernel_size,
            padding="same",
            activation="sigmoid",
            use_bias=False,
            data_format="channels_last",
            dtype=self.dtype_policy,
            name="look",
        )
        self.look.build((None, None, None, 2))

    def call(self, x: Any) -> Any:
        described = [reduction(x, axis=-1, keepdims=True) for reduction in (ops.mean, ops.max)]
        return x * self.look(ops.concatenate(described, axis=-1))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kernel_size": self.kernel_size}
