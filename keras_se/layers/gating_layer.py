"""What SE and the layers beside it share: a feature map times a gate, in either layout, of any number of positions."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops


class GatingLayer(keras.layers.Layer):
    """Layer that multiplies a feature map by a gate which it computes from it.

    A subclass gives the gate in `excite`.

    Args:
        data_format: "channels_last" or "channels_first"; Keras's own setting when None.
        **kwargs: `name`, `dtype`, `trainable`, as of every Keras layer.
    Input shape: `(batch, height, width, channels)`, or `(batch, channels, height, width)` with "channels_first"; so
        too with one position axis, as of signals, or three, as of volumes; all but the channels may be unknown.
    Output shape: the input's, in the layer's compute dtype.
    Raises:
        ValueError: `data_format` is another, or the input has no rank of 3 to 5 or an unknown number of channels.
    """

    def __init__(self, *, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = keras.config.image_data_format() if data_format is None else data_format
        if self.data_format not in ("channels_last", "channels_first"):
            raise ValueError(f"data_format must be channels_last or channels_first; got data_format={data_format!r}")

    def channels_of(self, shape: Any) -> int:
        """Return the number of channels of a feature map.

        Raises:
            ValueError: it is not known, or the rank is not 3 to 5.
        """
        name = type(self).__name__
        if len(shape) not in (3, 4, 5):
            raise ValueError(f"{name} takes an input of rank 3 to 5; got the shape {tuple(shape)}")
        channels = shape[-1 if self.channels_last else 1]
        if channels is None:
            raise ValueError(
                f"{name} must know its number of channels ({self.data_format}); got the shape {tuple(shape)}"
            )
        return channels

    @property
    def channels_last(self) -> bool:
        return self.data_format == "channels_last"

    def reduce_positions(self, x: Any, reduction: Callable[..., Any] = ops.mean) -> Any:
        """Return `(batch, 1, 1, channels)`, or its like in the input's layout and rank."""
        axes = range(1, len(x.shape) - 1) if self.channels_last else range(2, len(x.shape))
        return reduction(x, axis=tuple(axes), keepdims=True)

    def on_vectors(self, function: Callable[[Any], Any], z: Any) -> Any:
        """Apply a function of `(batch, 1, 1, channels)` to a map of one position in the input's layout and rank."""
        if self.channels_last and len(z.shape) == 4:
            return function(z)
        channels = z.shape[-1 if self.channels_last else 1]
        return ops.reshape(function(ops.reshape(z, (-1, 1, 1, channels))), (-1, *z.shape[1:]))

    def excite(self, x: Any) -> Any:
        """Return the gate of a feature map, in its layout and rank, of one position or one channel or all of both."""
        raise NotImplementedError

    def call(self, x: Any) -> Any:
        return x * self.excite(x)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}
