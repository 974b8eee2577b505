"""Effective squeeze-and-excitation as a Keras layer."""

from typing import Any

import keras

from keras_se.layers.gating_layer import GatingLayer


@keras.saving.register_keras_serializable(package="keras_se")
class EffectiveSqueezeExcite(GatingLayer):
    """Scale each channel by a gate that one dense layer computes from the means of all channels.

    `x * gate(W · mean(x))`: SE without the narrow layer between, which loses what tells channels apart.

    Args:
        gate: what turns the excitation into a scale; any Keras activation. The paper's is the sigmoid, its code's
            "hard_sigmoid".
        data_format: "channels_last" or "channels_first"; Keras's own setting when None.
        **kwargs: `name`, `dtype`, `trainable`, as of every Keras layer.
    Input shape: `(batch, height, width, channels)`, or `(batch, channels, height, width)` with "channels_first"; so
        too with one position axis, as of signals, or three, as of volumes; floating point; all but the channels may be
        unknown.
    Output shape: the input's, in the layer's compute dtype.
    Raises:
        ValueError: the activation is unknown, or the input has no rank of 3 to 5 or an unknown number of channels.
    Example:
        >>> feature_map = np.ones((2, 7, 7, 64), "float32")
        >>> tuple(keras_se.EffectiveSqueezeExcite()(feature_map).shape)
        (2, 7, 7, 64)
    Source: Lee & Park, CenterMask, arXiv 1911.06667, section 3.3.
    """

    def __init__(self, gate: str = "sigmoid", *, data_format: str | None = None, **kwargs: Any):
        super().__init__(data_format=data_format, **kwargs)
        self.gate = keras.activations.get(gate)

    def build(self, input_shape: Any) -> None:
        channels = self.channels_of(input_shape)
        self.dense = keras.layers.Conv2D(
            channels, 1, activation=self.gate, data_format="channels_last", dtype=self.dtype_policy, name="dense"
        )
        self.dense.build((None, 1, 1, channels))

    def excite(self, x: Any) -> Any:
        return self.on_vectors(self.dense, self.reduce_positions(x))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gate": keras.activations.serialize(self.gate)}
