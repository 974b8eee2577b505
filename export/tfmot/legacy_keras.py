"""A Keras 3 model in tf_keras, for libraries that stopped at Keras 2.

In: a Keras 3 model. Out: the same function in tf_keras; and back from there, the trained weights.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import keras
import numpy as np

from keras_se.errors import InputError
from keras_se.export.conversion.decompose import CONVOLUTIONS, written_out
from keras_se.layers.squeeze_excite import SqueezeExcite
from keras_se.optional_packages import import_extra

tf_keras: Any = import_extra("tf_keras", "tfmot")

Tensor = Any  # tf_keras's symbolic tensors are not typed

_POOL = ("pool_size", "strides", "padding", "data_format")
_CONVOLUTION = ("kernel_size", "strides", "padding", "data_format", "dilation_rate", "use_bias")

ALIKE: dict[str, tuple[str, ...]] = {
    "Activation": ("activation",),
    "Add": (),
    "AveragePooling2D": _POOL,
    "BatchNormalization": ("axis", "momentum", "epsilon", "center", "scale"),
    "Concatenate": ("axis",),
    "Conv2D": ("filters", "groups", *_CONVOLUTION),
    "Dense": ("units", "use_bias"),
    "DepthwiseConv2D": ("depth_multiplier", *_CONVOLUTION),
    "Dropout": ("rate", "noise_shape"),
    "Flatten": ("data_format",),
    "GlobalAveragePooling2D": ("data_format", "keepdims"),
    "GlobalMaxPooling2D": ("data_format", "keepdims"),
    "MaxPooling2D": _POOL,
    "Maximum": (),
    "Multiply": (),
    "Permute": ("dims",),
    "ReLU": ("max_value", "negative_slope", "threshold"),
    "Rescaling": ("scale", "offset"),
    "Reshape": ("target_shape",),
    "ZeroPadding2D": ("padding", "data_format"),
}
"""Layers that compute the same in both, by class, and the entries of their configuration that say what."""

ACTIVATIONS = ("sigmoid", "softmax", "tanh", "softplus", "elu", "selu", "exponential")
"""Functions of that name that are the same in both; "hard_sigmoid" is not."""


def to_tf_keras(model: keras.Model) -> Any:
    """Rebuild a model as a functional tf_keras one, its layers named as those of `written_out(model)`.

    Weights are copied, trainable flags too; initialisers, regularisers, constraints and the optimizer stay behind. A
    hard sigmoid becomes a shift, a ReLU6 and a scale, layers without weights. So that integers suffice for each layer,
    a rescaling becomes a scale and a shift, and before a batch normalisation that follows no convolution stands a
    depthwise one of ones, which training holds at one.

    Args:
        model: a built functional or sequential model, channels_last.
    Returns:
        A `tf_keras.Model` of the same inputs and outputs, in the precision of the variables.
    Raises:
        InputError: tf_keras lacks a layer of the model, or has one of that name that computes something else.
    """
    written: Any = written_out(model)
    inputs = [tf_keras.Input(x.shape[1:], name=x.name, dtype=x.dtype) for x in written.inputs]
    builder = _Builder(weighted_layers(model))
    outputs = written._run_through_graph(inputs, operation_fn=builder.rebuilder)
    return tf_keras.Model(inputs, outputs, name=model.name)


def copy_weights_back(legacy: Any, model: keras.Model) -> keras.Model:
    """Copy `model` with the weights of a tf_keras model, layer by layer, by name; SE's inner layers too.

    Args:
        legacy: what `to_tf_keras(model)` gave, trained, or anything with its layers: pruned or clustered, and stripped,
            or quantization-aware, whose weights are the unrounded ones.
        model: the model that it came from; it stays as it is.
    Raises:
        InputError: `legacy` has no layer of a name, or one with weights of another shape.
    """
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for name, layer in weighted_layers(copy).items():
        try:
            values = {_role(weight): weight.numpy() for weight in legacy.get_layer(name).weights}
            layer.set_weights([values[_role(weight)] for weight in layer.weights])
        except (KeyError, ValueError) as error:
            raise InputError(f"the tf_keras model must have the weights of layer {name}; {error}") from None
    return copy


def weighted_layers(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Return the layers that own weights, by the name that they have in `written_out(model)`."""
    layers: dict[str, keras.layers.Layer] = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            layers |= weighted_layers(layer)
        elif isinstance(layer, SqueezeExcite):
            layers |= {f"{layer.name}_{inner.name}": inner for inner in (layer.reduce, layer.expand)}
        elif layer.weights:
            layers[layer.name] = layer
    return layers


class _Builder:
    """Rebuilds the operations of a written-out model one at a time."""

    def __init__(self, origins: dict[str, keras.layers.Layer]):
        self._origins = origins

    def rebuilder(self, operation: Any) -> Callable[..., Tensor]:
        rebuild = self._rule(operation)
        return lambda *args, **_: rebuild(operation, *args)  # masks are None in these layers

    def _rule(self, operation: Any) -> Callable[..., Tensor]:
        kind = type(operation).__name__
        if type(operation) is not getattr(keras.layers, kind, None):
            if kind == "Pad" and isinstance(operation, keras.Operation):
                return self._pad
        elif isinstance(operation, CONVOLUTIONS) and operation.name not in self._origins:
            return self._shift_or_scale
        elif kind == "Activation":
            kind = f"activation {operation.activation.__name__}"
            if operation.activation is keras.activations.hard_silu:
                return self._hard_silu
            if operation.activation.__name__ in ACTIVATIONS:
                return self._alike
        elif kind in self._RULES:
            return getattr(self, self._RULES[kind])
        elif kind in ALIKE:
            return self._alike
        raise InputError(f"tf_keras must have every layer of the model; it has not {kind} (layer {operation.name})")

    def _alike(self, operation: Any, *args: Tensor) -> Tensor:
        kind = type(operation).__name__
        return self._layer(operation, *args, kind=kind, **_configuration(operation, kind))

    def _normalisation(self, operation: Any, x: Tensor) -> Tensor:
        before = type(x.node.layer).__name__
        if before not in ("Conv2D", "DepthwiseConv2D", "Dense") and len(x.shape) == 4:
            x = tf_keras.layers.DepthwiseConv2D(
                1,
                use_bias=False,
                depthwise_initializer="ones",
                depthwise_constraint=tf_keras.constraints.UnitNorm(axis=(0, 1, 3)),
                dtype=x.dtype.name,
                name=f"{operation.name}_ones",
            )(x)
        return self._alike(operation, x)

    def _rescaling(self, operation: Any, x: Tensor) -> Tensor:
        scale, offset = operation.scale, operation.offset
        if np.any(offset != 0) and np.any(scale != 1):
            x = self._layer(operation, x, kind="Rescaling", name=f"{operation.name}_scale", scale=scale, offset=0.0)
            scale = 1.0
        return self._layer(operation, x, kind="Rescaling", scale=scale, offset=offset)

    _RULES: ClassVar[dict[str, str]] = {"BatchNormalization": "_normalisation", "Rescaling": "_rescaling"}

    def _layer(self, operation: Any, *args: Tensor, kind: str, name: str | None = None, **config: Any) -> Tensor:
        policy = getattr(operation, "dtype_policy", None)
        dtype = args[0].dtype.name if policy is None else policy.variable_dtype
        layer = getattr(tf_keras.layers, kind)(
            name=name or operation.name, dtype=dtype, trainable=getattr(operation, "trainable", True), **config
        )
        output = layer(*args)
        if layer.weights:
            layer.set_weights(operation.get_weights())
        return output

    def _shift_or_scale(self, operation: Any, x: Tensor) -> Tensor:
        """Rebuild a convolution that `written_out` made of a hard sigmoid: its shift, in the bias, or its scale."""
        origin = self._origins.get(operation.name.removesuffix("_shift"))
        if origin is not None:  # the one of that name, shifted by 3
            kind = next(kind.__name__ for kind in CONVOLUTIONS if isinstance(origin, kind))
            name = operation.name.removesuffix("_shift")
            x = self._layer(origin, x, kind=kind, name=name, **_configuration(origin, kind))
            return self._layer(operation, x, kind="Rescaling", scale=1.0, offset=3.0)
        kernel, bias = (np.unique(weight) for weight in operation.get_weights())
        if len(kernel) > 1 or len(bias) > 1:
            raise InputError(
                f"a convolution of constants must scale all channels alike; layer {operation.name} has not"
            )
        return self._layer(operation, x, kind="Rescaling", scale=float(kernel[0]), offset=float(bias[0]))

    def _hard_silu(self, operation: Any, x: Tensor) -> Tensor:
        name = operation.name
        gate = self._layer(operation, x, kind="Rescaling", name=f"{name}_shift", scale=1.0, offset=3.0)
        gate = self._layer(operation, gate, kind="ReLU", name=f"{name}_relu6", max_value=6.0)
        gate = self._layer(operation, gate, kind="Rescaling", name=f"{name}_gate", scale=1 / 6, offset=0.0)
        return self._layer(operation, [x, gate], kind="Multiply")

    def _pad(self, operation: Any, x: Tensor) -> Tensor:
        """Apply `keras.ops.pad` with zeros behind the batch; ZeroPadding2D of channels_first pads the last two axes."""
        batch, height, *inner = (tuple(widths) for widths in operation.pad_width)
        if len(inner) != 2 or any((*batch, *height)) or operation.mode != "constant":
            raise InputError(
                "tf_keras must have every layer of the model; it pads width and channels with zeros only, and not by "
                f"{operation.pad_width}, mode {operation.mode} (layer {operation.name})"
            )
        return self._layer(operation, x, kind="ZeroPadding2D", padding=tuple(inner), data_format="channels_first")


def _role(weight: Any) -> str:
    """Return the name of a variable in its layer in Keras 3: "conv/depthwise_kernel:0" is the kernel."""
    return weight.name.rpartition("/")[2].partition(":")[0].removeprefix("depthwise_")


def _configuration(layer: keras.layers.Layer, kind: str) -> dict[str, Any]:
    config = layer.get_config()
    return {key: config[key] for key in ALIKE[kind]}
