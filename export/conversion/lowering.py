"""A trained model to the same function in the form that a target runs best."""

import math
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_se.export.conversion.decompose import Fold, GraphRewriter, Tensor, copied, fresh, functional, is_known
from keras_se.export.conversion.gate_statistics import mean_gate
from keras_se.export.conversion.lowering_config import LoweringConfig
from keras_se.export.conversion.matching import (
    averages,
    cuts_off_a_concatenation,
    is_rewritten,
    is_squeezed,
    leaves_out,
)
from keras_se.layers.squeeze_excite import SqueezeExcite


def lower(model: keras.Model, lowering: LoweringConfig) -> keras.Model:
    """The same function in a form; in every form without what no target wants.

    Batch normalisation is folded, behind no weights into a depthwise convolution of 1x1; the sixth of a hard sigmoid is
    left to the weights that follow; a padding that a convolution's "same" can say is left to that; a ReLU of a
    concatenation becomes one of each part, which the operation before can do; and a pooling of one position, which
    XNNPACK does not take, becomes a depthwise convolution by 1.

    Args:
        model: a built functional or sequential model.
    Returns:
        A functional model that shares no variable with `model`; or `model` itself if there is nothing to rewrite, and
        if it calls a layer twice, has layers with channels first, two layers of one name in it and the models in it,
        or a model of a class of its own, all of which is left as it is. Layers of other classes than Keras's and ours
        are kept in any case.
    """
    return _written(model, _Lowerer(lowering)) if is_rewritten(model, lowering) else model


def lower_with_folds(model: keras.Model, lowering: LoweringConfig) -> tuple[keras.Model, dict[str, Fold]]:
    """The model of `lower`, and by a layer's name what its weights were folded from, to be trained in.

    A model that `lower` leaves as it is is written out and folded.
    """
    writer = _Lowerer(lowering) if is_rewritten(model, lowering) else GraphRewriter(fold=True)
    return _written(model, writer), writer.folds


def _written(model: keras.Model, writer: GraphRewriter) -> keras.Model:
    new: Any = keras.models.clone_model(functional(model), clone_function=lambda layer: layer, call_function=writer)
    if not isinstance(writer, _Lowerer):
        return new
    outputs = [writer.apply_pending_scale(output) for output in new.outputs]
    return keras.Model(new.input, outputs[0] if len(outputs) == 1 else outputs, name=model.name)


_HOMOGENEOUS = (
    layers.AveragePooling2D,
    layers.Cropping2D,
    layers.Dropout,
    layers.Flatten,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
    layers.MaxPooling2D,
    layers.Multiply,
    layers.Reshape,
    layers.ZeroPadding2D,
)
"""Layers that give `s` times as much where an input is `s` times as large, for `s` above 0."""


_WIDE = 56
"""From so many positions a side on, the first step of a commuted mean costs Vela's NPUs less inside the convolution:
below, its kernel of four times the size costs more than the pooling."""

_LEAST_GATE = 1 / 16
"""A gate that is hardly open in the mean may be wide open for an image, and all gates would share its range."""


class _Lowerer(GraphRewriter):
    """Writes a model in a form. A tensor may be owed a constant factor, which the weights that follow pay."""

    def __init__(self, lowering: LoweringConfig):
        super().__init__(fold=True)
        self._lowering = lowering
        self._pending_scales: dict[int, float] = {}
        self._scaled_tensors: dict[int, Tensor] = {}
        self._padded: dict[int, tuple[Tensor, tuple]] = {}  # by a padded tensor, what was padded and how
        self._joined: dict[int, tuple[layers.Layer, list[Tensor]]] = {}  # by a concatenation, its layer and its parts
        # By SE's output, what it rescaled, and by what: the gate, and its mean. The same of what was rescaled later.
        self._rescalings: dict[int, tuple[Tensor, tuple[Tensor, np.ndarray | None]]] = {}
        self._late: dict[int, tuple[Tensor, tuple[Tensor, np.ndarray | None]]] = {}

    def __call__(self, layer: Any, *args: Any, **kwargs: Any) -> Tensor:
        if not is_known(layer):
            return self._of_scaled(layer, args, kwargs)
        if leaves_out(layer):
            layer = _by_1(layer, *args)
        if isinstance(layer, _HOMOGENEOUS):
            factor = math.prod(self._pending_scale(one) for one in keras.tree.flatten((args, kwargs)))
            convolved = self._lowering.pooling == "convolution" and averages(layer)
            write = _averaged if convolved else super().__call__
            output = self._with_pending_scale(write(layer, *args, **kwargs), factor)
            if isinstance(layer, layers.ZeroPadding2D):
                self._padded[id(output)] = args[0], tuple(map(tuple, layer.padding))
            return output
        if cuts_off_a_concatenation(layer) and id(args[0]) in self._joined:
            joined, parts = self._joined[id(args[0])]
            parts = [self(_named(layer, f"{layer.name}_part{number}"), part) for number, part in enumerate(parts)]
            return copied(_named(joined, layer.name), parts)[1]
        if isinstance(layer, tuple(self._RULES)):
            return super().__call__(layer, *args, **kwargs)
        output = self._of_scaled(layer, args, kwargs)
        if isinstance(layer, layers.Concatenate):
            self._joined[id(self._with_pending_scale(output, 1.0))] = layer, args[0]
        return output

    def _of_scaled(self, layer: Any, args: Any, kwargs: Any) -> Tensor:
        settled: Any = keras.tree.map_structure(self.apply_pending_scale, (args, kwargs))
        args, kwargs = settled
        return super().__call__(layer, *args, **kwargs)

    def apply_pending_scale(self, x: Tensor) -> Tensor:
        """A tensor that is owed nothing, of the same value."""
        factor = self._pending_scale(x)
        if factor == 1.0:
            return x
        if id(x) not in self._scaled_tensors:
            name = f"{x._keras_history.operation.name}_scale"
            self._scaled_tensors[id(x)] = self._affine(x, np.array(factor), np.array(0.0), name)
        return self._scaled_tensors[id(x)]

    def _pending_scale(self, x: Any) -> float:
        return self._pending_scales.get(id(x), 1.0)

    def _with_pending_scale(self, x: Tensor, factor: float) -> Tensor:
        self._outputs.append(x)  # lives as long as its id is used
        if factor != 1.0:
            self._pending_scales[id(x)] = factor
        return x

    def _linear(self, layer: layers.Layer, kind: type, name: str, x: Tensor, **changes: Any) -> Tensor:
        factor = self._pending_scale(x)
        inner, padding = self._padded.get(id(x), (x, None))
        if padding is not None and _is_same(layer, inner.shape[1:3], padding):
            x, changes = inner, {"padding": "same"}
        x, gate = self._rescalings.get(id(x), (x, None)) if _thins(layer) else (x, None)
        output = super()._linear(layer, kind, name, x, **changes)
        kernel: Any = self._convolutions[id(output)][0].kernel
        kernel.assign(kernel * factor)
        self.folds[name] = self.folds[name]._replace(factor=factor)
        return output if gate is None else self._rescaled_late(output, *gate, name)

    def _affine(self, x: Tensor, scale, offset, name: str, step: layers.Layer | None = None) -> Tensor:
        if id(x) in self._late:
            convolved, (gate, mean) = self._late[id(x)]
            # Channels share a range: so the scale goes into the kernel all the same, and what the gate is in the mean.
            if mean is not None:
                scale, gate = scale * mean, super()._affine(gate, 1 / mean, np.array(0.0), f"{name}_gate")
            scaled = super()._affine(convolved, scale, np.array(0.0), f"{name}_scale")
            x, scale = self._rescaled_late(scaled, gate, mean, name), np.array(1.0)
            step = None if step is None else _only_offset(step, offset)
        return super()._affine(x, scale, offset, name, step)

    def _rescaled_late(self, x: Tensor, gate: Tensor, mean: np.ndarray | None, name: str) -> Tensor:
        output = layers.Multiply(dtype=self._dtype, name=f"{name}_rescaled")([x, gate])
        self._late[id(output)] = x, (gate, mean)
        return self._with_pending_scale(output, 1.0)

    def _squeezed(self, layer: SqueezeExcite, x: Tensor) -> Tensor:
        return self._with_pending_scale(super()._squeezed(layer, x), self._pending_scale(x))

    def _reduced(self, layer: SqueezeExcite, name: str, x: Tensor) -> Tensor:
        if self._lowering.squeeze != "conv_before_pool" or not is_squeezed(layer):
            return super()._reduced(layer, name, x)
        kernel, bias = _matrix(layer.reduce)
        factor = self._pending_scale(x)
        before, source = self._convolutions.get(id(x), (None, x))
        if _widens(before):
            first, offset = _matrix(before)
            kernel, bias = first @ kernel, offset @ kernel * factor + bias
        else:
            source = x
        sizes = tuple(_step(size) if size >= _WIDE and _step(size) < size else 1 for size in x.shape[1:3])
        new = layers.Conv2D(len(bias), sizes, sizes, trainable=layer.reduce.trainable, dtype=self._dtype, name=name)
        hidden = new(source)
        kernel, share = np.broadcast_to(kernel, (*sizes, *kernel.shape)), 1 / math.prod(sizes)
        new.set_weights([kernel * factor * share, bias])
        self.folds[name] = Fold(kernel, bias, factor * share)
        return self._mean(hidden, layer.name)

    def _mean(self, x: Tensor, name: str) -> Tensor:
        """The mean over all positions, in steps that an NPU takes quickly."""
        number = 0
        while max(x.shape[1:3]) > 1:
            number += 1
            pool = [_step(size) for size in x.shape[1:3]]
            x = layers.AveragePooling2D(pool, dtype=self._dtype, name=f"{name}_squeeze{number}")(x)
        return x

    def _rescaled(self, layer: SqueezeExcite, x: Tensor, gate: Tensor) -> Tensor:
        output = super()._rescaled(layer, x, gate)
        if (
            self._lowering.rescaling == "after_downsampling" and layer.squeeze != "none"
        ):  # one number a channel, wherever in the map
            mean = mean_gate(layer)
            self._rescalings[id(output)] = x, (gate, mean if mean is None else np.maximum(mean, _LEAST_GATE))
        return self._with_pending_scale(output, self._pending_scale(x) * self._pending_scale(gate))

    def _normalisation(self, layer: layers.Layer, x: Tensor) -> Tensor:
        return super()._normalisation(layer, self.apply_pending_scale(x))

    def _rescaling(self, layer: layers.Layer, x: Tensor) -> Tensor:
        return super()._rescaling(layer, self.apply_pending_scale(x))

    def _model(self, model: keras.Model, x: Tensor) -> Tensor:
        return super()._model(model, self.apply_pending_scale(x))

    def _activated(self, x: Tensor, function: Any, label: str, name: str | None = None) -> Tensor:
        x = self.apply_pending_scale(x)
        name = name or f"{label}_{function.__name__}"
        if function is keras.activations.hard_sigmoid:
            return self._with_pending_scale(
                self._clipped(self._affine(x, np.array(1.0), np.array(3.0), f"{label}_shift"), name), 1 / 6
            )
        if function is keras.activations.hard_swish and self._lowering.hard_swish == "decomposed":
            shifted = layers.Rescaling(1.0, 3.0, dtype=self._dtype, name=f"{label}_shift")(x)
            clipped = self._clipped(shifted, f"{label}_relu6")
            return self._with_pending_scale(layers.Multiply(dtype=self._dtype, name=name)([x, clipped]), 1 / 6)
        return super()._activated(x, function, label, name)

    def _clipped(self, x: Tensor, name: str) -> Tensor:
        return layers.ReLU(6, dtype=self._dtype, name=name)(x)


def _averaged(layer: Any, x: Tensor) -> Tensor:
    """The average as a convolution, which counts what is beyond the border as zeros; so times what these took away."""
    size = math.prod(layer.pool_size)
    mean: Any = keras.initializers.Constant(1 / size)
    new = layers.DepthwiseConv2D(
        layer.pool_size,
        layer.strides,
        layer.padding,
        use_bias=False,
        data_format="channels_last",
        depthwise_initializer=mean,
        trainable=False,
        dtype=layer.dtype_policy,
        name=layer.name,
    )
    output = new(x)
    ones: Any = np.ones((1, *x.shape[1:3], 1))
    within = keras.ops.depthwise_conv(ones, np.ones((*layer.pool_size, 1, 1)), layer.strides, layer.padding)
    share = np.asarray(within) / size
    if share.min() == 1:
        return output
    return layers.Rescaling(1 / share, dtype=layer.dtype_policy, name=f"{layer.name}_border")(output)


def _only_offset(layer: Any, offset: np.ndarray) -> layers.BatchNormalization:
    """A batch normalisation that adds its offset alone: the same beta, and as its mean the constant part."""
    new: Any = layers.BatchNormalization(scale=False, center=layer.center, epsilon=1e-3, trainable=layer.trainable)
    new.build((None, len(offset)))
    beta = np.asarray(layer.beta) if layer.center else 0.0
    new.set_weights([*([beta] if layer.center else []), beta - offset, np.full(len(offset), 1 - 1e-3)])
    return new


def _named(layer: Any, name: str) -> Any:
    """A layer of the same configuration, with another name."""
    return fresh(layer, name=name)


def _by_1(layer: Any, x: Tensor) -> layers.DepthwiseConv2D:
    """A convolution that takes the same positions."""
    new = layers.DepthwiseConv2D(
        1, layer.strides, use_bias=False, depthwise_initializer="ones", dtype=layer.dtype_policy, name=layer.name
    )
    new.trainable = False  # quantization-aware training does not move it
    new.build(x.shape)
    return new


def _thins(layer: Any) -> bool:
    """Whether it is a depthwise convolution of fewer outputs than inputs, and that normalisation gives its bias."""
    thins = isinstance(layer, layers.DepthwiseConv2D) and max(layer.strides) > 1 and layer.depth_multiplier == 1
    return thins and not layer.use_bias


def _widens(layer: Any) -> bool:
    """Whether it is a 1x1 convolution of each position, with more outputs than inputs."""
    if type(layer) is not layers.Conv2D:
        return False
    kernel: Any = layer.kernel
    return (
        layer.groups == 1
        and layer.strides == (1, 1)
        and kernel.shape[:2] == (1, 1)
        and kernel.shape[2] < kernel.shape[3]
    )


def _matrix(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Kernel `(inputs, outputs)` and bias of a 1x1 convolution."""
    return np.asarray(layer.kernel)[0, 0], np.asarray(layer.bias) if layer.use_bias else np.zeros(layer.filters)


def _step(size: int) -> int:
    """Of the pooling of a side: 2 or 3 while that leaves no rest and there are more than eight positions."""
    return next((step for step in (2, 3) if size % step == 0 and size > 8), size)


def _is_same(layer: Any, sizes: tuple[int, int], padding: tuple) -> bool:
    """Whether an unpadded convolution of a map padded so is the one with padding "same"."""
    if getattr(layer, "padding", None) != "valid" or max(layer.dilation_rate) > 1:
        return False

    def same(size: int, kernel: int, stride: int) -> tuple[int, int]:
        whole = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return whole // 2, whole - whole // 2

    wanted = tuple(map(same, sizes, layer.kernel_size, layer.strides))
    return wanted == padding
