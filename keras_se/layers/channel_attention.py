"""Channel half of CBAM as a Keras layer."""

from typing import Any

import keras
from keras import ops

from keras_se.layers.checks import at_least_one
from keras_se.layers.gating_layer import GatingLayer


@keras.saving.register_keras_serializable(package="keras_se")
class ChannelAttention(GatingLayer):
    """Scale each channel by a gate computed from its mean and its maximum.

    `x * sigmoid(f(mean(x)) + f(max(x)))`, with the same two dense layers, a ReLU between them, for both.

    Args:
        r: reduction ratio, channels / hidden units; an integer of at least 1.
        data_format: "channels_last" or "channels_first"; Keras's own setting when None.
        **kwargs: `name`, `dtype`, `trainable`, as of every Keras layer.
    Input shape: `(batch, height, width, channels)`, or `(batch, channels, height, width)` with "channels_first"; so
        too with one position axis, as of signals, or three, as of volumes; floating point; all but the channels may be
        unknown.
    Output shape: the input's, in the layer's compute dtype.
    Raises:
        ValueError: `r` is not an integer of at least 1, or the input has no rank of 3 to 5 or an unknown number of
            channels.
    Example:
        >>> feature_map = np.ones((2, 7, 7, 64), "float32")
        >>> tuple(keras_se.ChannelAttention(r=8)(feature_map).shape)
        (2, 7, 7, 64)
    Source: Woo et al., CBAM, arXiv 1807.06521, equation 2.
    """

    def __init__(self, r: int = 16, *, data_format: str | None = None, **kwargs: Any):
        super().__init__(data_format=data_format, **kwargs)
        self.r = at_least_one("r", r)

    def build(self, input_shape: Any) -> None:
        channels = self.channels_of(input_shape)
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

    def excite(self, x: Any) -> Any:
        mean, maximum = (self.reduce_positions(x, reduction) for reduction in (ops.mean, ops.max))
        return ops.sigmoid(self.on_vectors(self._dense_layers, mean) + self.on_vectors(self._dense_layers, maximum))

    def _dense_layers(self, z: Any) -> Any:
        return self.expand(self.reduce(z))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "r": self.r}
