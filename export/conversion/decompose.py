"""Decomposition of a trained model into Keras's own layers, each one operation of a .tflite file.

In: a functional or sequential model. Out: an equivalent one, with SE and activations as layers of their own, and batch
normalisation folded on request.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

from keras_se.export.conversion.copies import copied, functional, is_known, reconfigured
from keras_se.export.conversion.tensor_facts import Convolved, Tensor, TensorFacts
from keras_se.layers.gates import double_sigmoid
from keras_se.layers.squeeze_excite import SqueezeExcite

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
"""Layers with one kernel, a bias and an output of filters last."""


def written_out(model: keras.Model, *, fold: bool = False) -> keras.Model:
    """Rewrite a model into layers that each become one operation of a .tflite file.

    SE becomes pooling, two 1x1 convolutions, a gate and a multiplication; an activation inside a layer becomes a layer
    behind it; swish becomes a sigmoid and a multiplication, hard sigmoid a shift, a ReLU6 and a scale. Weights are
    copied. Layers of other kinds stay as they are.

    Args:
        model: a built functional or sequential model, channels_last.
        fold: put each batch normalisation and rescaling, as it is at inference, into the kernel and bias of the
            convolution before it, or into a 1x1 depthwise convolution of its own where there is none.
    Returns:
        A functional model of the same inputs and outputs; it shares no variable with `model`.
    """
    return keras.models.clone_model(
        functional(model),
        clone_function=lambda layer: layer,
        call_function=GraphRewriter(fold),
    )


class Fold(NamedTuple):
    """Original parameters of a layer of `CONVOLUTIONS`, and what its kernel and bias were multiplied by since.

    The layer computes with the kernel times `factor`, then with each step's scale and offset for a filter. Training
    moves a network at the rate of its original only in the original's parameters: a kernel that is six times smaller
    has gradients six times as large, and moves 36 times as far for its size.
    """

    kernel: np.ndarray
    bias: np.ndarray | None
    factor: float = 1.0
    steps: tuple[layers.Layer, ...] = ()
    """Layers behind the kernel: `BatchNormalization`, as at inference, and constants as `Rescaling`."""


class GraphRewriter:
    """Rewriter of a model, one layer at a time, on the tensors that the layers before it have become."""

    def __init__(self, fold: bool):
        self._fold = fold
        self.folds: dict[str, Fold] = {}
        """By the name of a layer that was written."""
        self._facts: dict[Tensor, TensorFacts] = defaultdict(TensorFacts)

    def __call__(self, layer: Any, *args: Any, **kwargs: Any) -> Tensor:
        self._dtype = getattr(layer, "dtype_policy", None)
        for kind, write in self._RULES.items():
            if isinstance(layer, kind) and is_known(layer):
                return getattr(self, write)(layer, *args)
        return copied(layer, *args, **kwargs)[1]

    def _model(self, model: keras.Model, x: Tensor) -> Tensor:
        # clone_model would cut the tensor off from what it was computed from, unless it is an input.
        inner: Any = functional(model)
        return inner._run_through_graph(x, operation_fn=lambda layer: layer, call_fn=self)

    def _convolution(self, layer: layers.Layer, x: Tensor) -> Tensor:
        # GroupedConv2D is a Conv2D that trains faster; Keras's own has the same weights.
        kind = next(kind for kind in CONVOLUTIONS if isinstance(layer, kind))
        output = self._linear(layer, kind, layer.name, x)
        return self._activated(output, layer.activation, layer.name)

    def _linear(self, layer: layers.Layer, kind: type, name: str, x: Tensor, **changes: Any) -> Tensor:
        """Apply a layer of `CONVOLUTIONS` without its activation, with changes of its configuration."""
        config = {**layer.get_config(), "activation": "linear", "name": name, **changes}
        new, output = reconfigured(layer, kind, config, x)
        self._facts[output].convolved = Convolved(new, x)
        kernel, bias = np.array(new.kernel), np.array(new.bias) if new.use_bias else None
        self.folds[name] = Fold(kernel, bias)
        return output

    def _activation(self, layer: layers.Layer, x: Tensor) -> Tensor:
        return self._activated(x, layer.activation, layer.name, name=layer.name)

    def _activated(self, x: Tensor, function: Callable, label: str, name: str | None = None) -> Tensor:
        """Apply `function` in layers of their own, of which the last has the name, else one from the label."""
        functions = keras.activations
        name = name or f"{label}_{function.__name__}"
        if function is functions.linear:
            return x
        if function is functions.silu:
            gate = layers.Activation("sigmoid", dtype=self._dtype, name=f"{label}_sigmoid")(x)
            return layers.Multiply(dtype=self._dtype, name=name)([x, gate])
        if function is double_sigmoid:
            gate = layers.Activation("sigmoid", dtype=self._dtype, name=f"{label}_sigmoid")(x)
            return self._affine(gate, np.array(2.0), np.array(0.0), name)
        if function is functions.hard_sigmoid:
            shifted = self._affine(x, np.array(1.0), np.array(3.0), f"{label}_shift")
            clipped = layers.ReLU(6, dtype=self._dtype, name=f"{label}_relu6")(shifted)
            return self._affine(clipped, np.array(1 / 6), np.array(0.0), name)
        if function in (functions.relu, functions.relu6):
            return layers.ReLU(6 if function is functions.relu6 else None, dtype=self._dtype, name=name)(x)
        return layers.Activation(function, dtype=self._dtype, name=name)(x)

    def _normalisation(self, layer: layers.Layer, x: Tensor) -> Tensor:
        last = len(x.shape) - 1
        if not self._fold or layer.axis not in (-1, last):
            return copied(layer, x)[1]
        scale = 1 / np.sqrt(np.asarray(layer.moving_variance, "float64") + layer.epsilon)
        if layer.scale:
            scale = scale * np.asarray(layer.gamma)
        offset = -scale * np.asarray(layer.moving_mean)
        if layer.center:
            offset = offset + np.asarray(layer.beta)
        return self._affine(x, scale, offset, layer.name, layer)

    def _rescaling(self, layer: layers.Layer, x: Tensor) -> Tensor:
        if not self._fold:
            return copied(layer, x)[1]
        return self._affine(x, np.asarray(layer.scale, "float64"), np.asarray(layer.offset, "float64"), layer.name)

    def _affine(
        self, x: Tensor, scale: np.ndarray, offset: np.ndarray, name: str, step: layers.Layer | None = None
    ) -> Tensor:
        """Apply `scale * x + offset`, one number each for a channel or for all, as a convolution.

        It is the one that `x` comes from, folded, or else a depthwise one of 1x1.

        Args:
            step: the layer that the numbers come from and that training may change; None if they are constants.
        """
        scale, offset = (np.broadcast_to(number, x.shape[-1]) for number in (scale, offset))
        if step is None:
            step = layers.Rescaling(scale.tolist(), offset.tolist())
        convolved = self._facts[x].convolved
        if convolved is None:
            if len(x.shape) != 4:
                return layers.Rescaling(scale.tolist(), offset.tolist(), dtype=self._dtype, name=name)(x)
            new = layers.DepthwiseConv2D(1, data_format="channels_last", trainable=False, dtype=self._dtype, name=name)
            output = new(x)
            new.set_weights([scale.reshape(1, 1, -1, 1), offset])
            self._facts[output].convolved = Convolved(new, x)
            self.folds[name] = Fold(np.ones((1, 1, len(scale), 1), "float32"), None, steps=(step,))
            return output
        before, x = convolved  # which drops out of the graph if only the folded one is used
        new: Any = type(before).from_config({**before.get_config(), "use_bias": True, "name": name})
        output = new(x)
        kernel, bias = np.asarray(before.kernel), np.asarray(before.bias) if before.use_bias else 0.0
        # A depthwise kernel has its filters in two axes, channels and multiplier.
        channels = kernel.shape[-2:] if isinstance(before, layers.DepthwiseConv2D) else kernel.shape[-1:]
        new.set_weights([kernel * scale.reshape(channels), bias * scale + offset])
        self._facts[output].convolved = Convolved(new, x)
        fold = self.folds[before.name]
        self.folds[name] = fold._replace(steps=(*fold.steps, step))
        return output

    def _squeeze_excite(self, layer: SqueezeExcite, x: Tensor) -> Tensor:
        if len(x.shape) != 4:
            return copied(layer, x)[1]
        reduce, expand = f"{layer.name}_reduce", f"{layer.name}_expand"
        hidden = self._activated(self._reduced(layer, reduce, x), layer.reduce.activation, reduce)
        gate = self._activated(
            self._linear(layer.expand, layers.Conv2D, expand, hidden), layer.expand.activation, expand
        )
        return self._rescaled(layer, x, gate)

    def _reduced(self, layer: SqueezeExcite, name: str, x: Tensor) -> Tensor:
        """Apply SE's squeeze and its first layer, without the activation."""
        return self._linear(layer.reduce, layers.Conv2D, name, self._squeezed(layer, x))

    def _rescaled(self, layer: SqueezeExcite, x: Tensor, gate: Tensor) -> Tensor:
        return layers.Multiply(dtype=self._dtype, name=layer.name)([x, gate])

    def _squeezed(self, layer: SqueezeExcite, x: Tensor) -> Tensor:
        pool = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}.get(layer.squeeze)
        if pool is None:
            return x
        arguments = {"data_format": layer.data_format, "keepdims": True, "dtype": self._dtype}
        return pool(**arguments, name=f"{layer.name}_squeeze")(x)

    _RULES: Mapping[type, str] = MappingProxyType(
        {
            keras.Model: "_model",
            layers.BatchNormalization: "_normalisation",
            layers.Activation: "_activation",
            layers.Rescaling: "_rescaling",
            SqueezeExcite: "_squeeze_excite",
            **dict.fromkeys(CONVOLUTIONS, "_convolution"),
        }
    )
