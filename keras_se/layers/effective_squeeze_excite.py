"""Effective squeeze-and-excitation as a Keras layer."""

from typing import Any

import keras
from keras import ops

from keras_se.layers.checks import channels_of


@keras.saving.register_keras_serializable(package="keras_se")
class EffectiveSqueezeExcite(keras.layers.Layer):
    """Scale each channel by a gate that one dense layer computes from the means of all channels.

    `x * gate(W · mean(x))`: SE without the narrow layer between, which loses what tells channels apart.

    Args:
        gate: what turns the excitation into a scale; any Keras activation. The paper's is the sigmoid, its code's
            "hard_sigmoid".
        **kwargs: `name`, `dtype`, `trainable`, as of every Keras layer.
    Input shape: `(batch, height, width, channels)`, floating point; height and width may be unknown.
    Output shape: the input's, in the layer's compute dtype.
    Raises:
        ValueError: the activation is unknown, or the input has another rank or an unknown number of channels.
    Example:
        >>> feature_map = np.ones((2, 7, 7, 64), "float32")
        >>> tuple(keras_se.EffectiveSqueezeExcite()(feature_map).shape)
        (2, 7, 7, 64)
    Source: Lee & Park, CenterMask, arXiv 1911.06667, section 3.3.
    """

    def __init__(self, gate: str = "sigmoid", **kwargs: Any):
        super().__init__(**kwargs)
        self.gate = keras.activations.get(gate)

    def build(self, input_shape: Any) -> None:
        channels = channels_of(self, input_shape)
        self.excite = keras.layers.Conv2D(
            channels, 1, activation=self.gate, data_format="channels_last", dtype=self.dtype_policy, name="excite"
        )
        self.excite.build((None, 1, 1, channels))

    def call(self, x: Any) -> Any:
        return x * self.excite(ops.mean(x, axis=(1, 2), keepdims=True))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gate": keras.activations.serialize(self.gate)}
