"""Channel half of CBAM as a Keras layer."""

from typing import Any

import keras
from keras import ops

from keras_se.layers.checks import at_least_one, channels_of


@keras.saving.register_keras_serializable(package="keras_se")
class ChannelAttention(keras.layers.Layer):
    """Scale each channel by a gate computed from its mean and its maximum.

    `x * sigmoid(f(mean(x)) + f(max(x)))`, with the same two dense layers, a ReLU between them, for both.

    Args:
        r: reduction ratio, channels / hidden units; an integer of at least 1.
        **kwargs: `name`, `dtype`, `trainable`, as of every Keras layer.
    Input shape: `(batch, height, width, channels)`, floating point; height and width may be unknown.
    Output shape: the input's, in the layer's compute dtype.
    Raises:
        ValueError: `r` is not an integer of at least 1, or the input has another rank or an unknown number of channels.
    Example:
        >>> feature_map = np.ones((2, 7, 7, 64), "float32")
        >>> tuple(keras_se.ChannelAttention(r=8)(feature_map).shape)
        (2, 7, 7, 64)
    Source: Woo et al., CBAM, arXiv 1807.06521, equation 2.
    """

    def __init__(self, r: int = 16, **kwargs: Any):
        super().__init__(**kwargs)
        self.r = at_least_one("r", r)

    def build(self, input_shape: Any) -> None:
        channels = channels_of(self, input_shape)
        hidden = max(1, channels // self.r)
        self.reduce = self._dense(hidden, "relu", "reduce")
        self.expand = self._dense(channels, None, "expand")
        self.reduce.build((None, 1, 1, channels))
        self.expand.build((None, 1, 1, hidden))

    def _dense(self, units: int, activation: str | None, name: str) -> Any:
        return keras.layers.Conv2D(
            units,
            1,
            activation=activation,
            use_bias=False,
            kernel_initializer="he_normal",
            data_format="channels_last",
            dtype=self.dtype_policy,
            name=name,
        )

    def call(self, x: Any) -> Any:
        mean, maximum = (reduction(x, axis=(1, 2), keepdims=True) for reduction in (ops.mean, ops.max))
        return x * ops.sigmoid(self.expand(self.reduce(mean)) + self.expand(self.reduce(maximum)))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "r": self.r}
