"""Spatial half of CBAM as a Keras layer."""

from typing import Any

import keras
from keras import ops

from keras_se.layers.checks import odd
from keras_se.layers.gating_layer import GatingLayer

_CONVOLUTIONS: dict[int, Any] = {3: keras.layers.Conv1D, 4: keras.layers.Conv2D, 5: keras.layers.Conv3D}
"""By the rank of the map."""


@keras.saving.register_keras_serializable(package="keras_se")
class SpatialAttention(GatingLayer):
    """Scale each position by a gate computed from the mean and the maximum of its channels.

    `x * sigmoid(conv(concatenate(mean(x), max(x))))`, over the channels, with one filter of `kernel_size` a side.

    Args:
        kernel_size: of the convolution, an odd number; 7 in the paper.
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
        >>> tuple(keras_se.SpatialAttention()(feature_map).shape)
        (2, 7, 7, 64)
    Source: Woo et al., CBAM, arXiv 1807.06521, equation 3.
    """

    def __init__(self, kernel_size: int = 7, *, data_format: str | None = None, **kwargs: Any):
        super().__init__(data_format=data_format, **kwargs)
        self.kernel_size = odd("kernel_size", kernel_size)

    def build(self, input_shape: Any) -> None:
        self.channels_of(input_shape)
        self.look = _CONVOLUTIONS[len(input_shape)](
            1,
            self.kernel_size,
            padding="same",
            activation="sigmoid",
            use_bias=False,
            data_format="channels_last",
            dtype=self.dtype_policy,
            name="look",
        )
        self.look.build((*[None] * (len(input_shape) - 1), 2))

    def excite(self, x: Any) -> Any:
        axis = -1 if self.channels_last else 1
        described: Any = [reduction(x, axis=axis, keepdims=True) for reduction in (ops.mean, ops.max)]
        if self.channels_last:
            return self.look(ops.concatenate(described, axis=-1))
        described = [ops.moveaxis(value, 1, -1) for value in described]  # TensorFlow convolves with channels last
        return ops.moveaxis(self.look(ops.concatenate(described, axis=-1)), -1, 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kernel_size": self.kernel_size}
