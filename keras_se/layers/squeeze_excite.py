"""Squeeze-and-excitation as a Keras layer."""

from typing import Any

import keras
from keras import ops

from keras_se.layers.checks import at_least_one
from keras_se.layers.gates import GATES
from keras_se.layers.gating_layer import GatingLayer

SQUEEZES = ("avg", "max", "none")


@keras.saving.register_keras_serializable(package="keras_se")
class SqueezeExcite(GatingLayer):
    """Scale each channel by a gate computed from its spatial mean.

    `x * gate(W2 · activation(W1 · squeeze(x)))`: two 1x1 convolutions on a 1x1 feature map, so that the layer
    converts to MEAN, CONV_2D, CONV_2D, the gate and MUL. In signals and volumes the mean is over all their positions.

    Args:
        r: reduction ratio, channels / hidden units; an integer of at least 1.
        hidden: hidden units of the excitation; `max(1, channels // r)` when None.
        squeeze: what each channel is reduced to over all positions: "avg", "max", or "none", which keeps every
            position and so gates each one by itself.
        activation: between the two dense layers; any Keras activation.
        gate: what turns the excitation into a scale; any Keras activation, or "double_sigmoid", `2 * sigmoid(x)`,
            which an excitation of zero leaves at 1.
        use_bias: whether the two dense layers have biases.
        data_format: "channels_last" or "channels_first"; Keras's own setting when None.
        **kwargs: `name`, `dtype`, `trainable`, as of every Keras layer.

    Input shape: `(batch, height, width, channels)`, or `(batch, channels, height, width)` with "channels_first"; so
        too with one position axis, as of signals, or three, as of volumes; floating point; all but the channels may be
        unknown.
    Output shape: the input's, in the layer's compute dtype.
    Raises:
        ValueError: `r` or `hidden` is not an integer of at least 1, `squeeze` or an activation is unknown, or the
            input has no rank of 3 to 5 or an unknown number of channels.
    Example:
        >>> feature_map = np.ones((2, 7, 7, 64), "float32")
        >>> tuple(keras_se.SqueezeExcite(r=8)(feature_map).shape)
        (2, 7, 7, 64)
    Source: Hu et al., Squeeze-and-Excitation Networks, arXiv 1709.01507, section 3.
    """

    def __init__(
        self,
        r=16,
        *,
        hidden=None,
        squeeze="avg",
        activation="relu",
        gate="sigmoid",
        use_bias=True,
        data_format=None,
        **kwargs,
    ):
        super().__init__(data_format=data_format, **kwargs)
        self.r = at_least_one("r", r)
        self.hidden = None if hidden is None else at_least_one("hidden", hidden)
        if squeeze not in SQUEEZES:
            raise ValueError(f"squeeze must be one of {', '.join(SQUEEZES)}; got squeeze={squeeze!r}")
        self.squeeze = squeeze
        self.activation = _activation("activation", activation)
        self.gate = _activation("gate", gate)
        self.use_bias = use_bias

    def build(self, input_shape):
        channels = self.channels_of(input_shape)
        hidden = self.hidden or max(1, channels // self.r)
        self.reduce = self._dense(hidden, self.activation, "reduce")
        self.expand = self._dense(channels, self.gate, "expand")
        # Built on the shapes they will see; with squeeze="none" the positions differ, the weights do not.
        self.reduce.build((None, 1, 1, channels))
        self.expand.build((None, 1, 1, hidden))

    def _dense(self, units, activation, name):
        return keras.layers.Conv2D(
            units,
            1,
            activation=activation,
            use_bias=self.use_bias,
            kernel_initializer="he_normal",
            data_format="channels_last",  # in both layouts: TensorFlow convolves channels first on some processors only
            dtype=self.dtype_policy,
            name=name,
        )

    def excite(self, x):
        """Return the gate of a feature map: `(batch, 1, 1, channels)`, or the map's shape with squeeze="none"."""
        if self.squeeze == "none":
            return self._on_every_position(x)
        z = self.reduce_positions(x, ops.mean if self.squeeze == "avg" else ops.max)
        return self.on_vectors(self._dense_layers, z)

    def _dense_layers(self, z):
        return self.expand(self.reduce(z))

    def _on_every_position(self, x):
        z: Any = x if self.channels_last else ops.moveaxis(x, 1, -1)
        if len(z.shape) == 4:
            gate = self._dense_layers(z)
        else:
            # Each position an image of its own.
            gate = ops.reshape(self._dense_layers(ops.reshape(z, (-1, 1, 1, z.shape[-1]))), ops.shape(z))
        return gate if self.channels_last else ops.moveaxis(gate, -1, 1)

    def get_config(self):
        return {
            **super().get_config(),
            "r": self.r,
            "hidden": self.hidden,
            "squeeze": self.squeeze,
            "activation": keras.activations.serialize(self.activation),
            "gate": keras.activations.serialize(self.gate),
            "use_bias": self.use_bias,
        }


def _activation(name, value):
    error = ValueError(f"{name} must be a Keras activation; got {name}={value!r}")
    if value is None:  # which Keras takes for "linear"
        raise error
    try:
        return GATES[value] if isinstance(value, str) and value in GATES else keras.activations.get(value)
    except ValueError:
        raise error from None
