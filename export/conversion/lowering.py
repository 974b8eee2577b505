"""Rewriting of a trained model into an equivalent graph that the target runs fastest.

In: a model and a `LoweringConfig`. Out: a functional model of the same function, or the model itself.
"""

import math
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_se.export.conversion.copies import copied, functional, is_known, reconfigured
from keras_se.export.conversion.decompose import Fold, GraphRewriter
from keras_se.export.conversion.equivalent_layers import (
    averaged,
    by_1,
    greatest,
    is_same_padding,
    matrix,
    only_offset,
    pooling_step,
    renamed,
    same_padding,
    takes_stride,
    thins,
    widens,
)
from keras_se.export.conversion.gate_statistics import mean_gate
from keras_se.export.conversion.lowering_config import LoweringConfig
from keras_se.export.conversion.matching import (
    LEAKY_RELU,
    averages,
    cuts_off_a_concatenation,
    is_bounded,
    is_homogeneous,
    is_never_negative,
    is_read_again,
    is_rewritten,
    is_squeezed,
    leaves_out,
    negative_slope,
)
from keras_se.export.conversion.tensor_facts import Convolved, Gated, Joined, Padded, Tensor
from keras_se.layers.squeeze_excite import SqueezeExcite


def lower(model: keras.Model, lowering: LoweringConfig) -> keras.Model:
    """Rewrite a trained model into an equivalent graph of the operations that a target runs fastest.

    Batch normalisation is folded, behind no weights into a depthwise convolution of 1x1; the sixth of a hard sigmoid is
    left to the weights that follow; a padding that a convolution's "same" can say is left to that; a ReLU of a
    concatenation becomes one of each part, which the operation before can do; and a pooling of one position, which
    XNNPACK does not take, becomes the stride of the convolution before it, or else a depthwise convolution by 1.

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
    """Return the model of `lower` with the parameters that each layer's weights were folded from, to be trained in.

    A model that `lower` leaves as it is is written out and folded.
    """
    rewriter = _Lowerer(lowering) if is_rewritten(model, lowering) else GraphRewriter(fold=True)
    return _written(model, rewriter), rewriter.folds


def _written(model: keras.Model, rewriter: GraphRewriter) -> keras.Model:
    new: Any = keras.models.clone_model(functional(model), clone_function=lambda layer: layer, call_function=rewriter)
    if not isinstance(rewriter, _Lowerer):
        return new
    outputs = [rewriter.apply_pending_scale(output) for output in new.outputs]
    return keras.Model(new.input, outputs[0] if len(outputs) == 1 else outputs, name=model.name)


_WIDE = 56
"""Positions a side from which on the first step of a mean behind its convolution costs Vela's NPUs less inside that
convolution: below, the kernel of four times the size costs more than the pooling."""

_LEAST_GATE = 1 / 16
"""A gate that is hardly open in the mean may be wide open for an image, and all gates would share its range."""


class _Lowerer(GraphRewriter):
    """Rewriter for a `LoweringConfig`. A tensor may have a pending scale, which the weights that follow apply."""

    def __init__(self, lowering: LoweringConfig):
        super().__init__(fold=True)
        self._lowering = lowering

    def __call__(self, layer: Any, *args: Any, **kwargs: Any) -> Tensor:
        self._dtype = getattr(layer, "dtype_policy", None)
        if not is_known(layer):
            return self._of_scaled(layer, args, kwargs)
        if leaves_out(layer):
            if (output := self._strided(layer, *args)) is not None:
                return output
            layer = by_1(layer, *args)
        slope = negative_slope(layer) if self._lowering.leaky_relu == "decomposed" else None
        if slope is not None:
            return self._leaky(self.apply_pending_scale(args[0]), slope, layer.name)
        if is_homogeneous(layer):
            factor = math.prod(self._pending_scale(tensor) for tensor in keras.tree.flatten((args, kwargs)))
            convolved = self._lowering.pooling == "convolution" and averages(layer)
            write = averaged if convolved else super().__call__
            if isinstance(layer, layers.GlobalMaxPooling2D) and self._lowering.maximum == "pooling":
                write = greatest
            output = self._with_pending_scale(write(layer, *args, **kwargs), factor)
            if isinstance(layer, layers.ZeroPadding2D):
                self._facts[output].padded = Padded(args[0], tuple(map(tuple, layer.padding)))
            return output
        if cuts_off_a_concatenation(layer) and (concatenation := self._facts[args[0]].joined) is not None:
            joined, parts = concatenation
            parts = [self._cut_off(layer, number, part) for number, part in enumerate(parts)]
            return copied(renamed(joined, layer.name), parts)[1]
        if isinstance(layer, tuple(self._RULES)):
            return super().__call__(layer, *args, **kwargs)
        output = self._of_scaled(layer, args, kwargs)
        if isinstance(layer, layers.Concatenate):
            self._facts[output].joined = Joined(layer, args[0])
        return output

    def _strided(self, pooling: Any, x: Tensor) -> Tensor | None:
        """Apply a pooling of one position in the stride of the convolution that gives `x`; None where there is none.

        So the normalisation behind it reaches that convolution, whose channels, not yet normalised, would else share a
        range.
        """
        convolved = self._facts[x].convolved
        if convolved is None or not takes_stride(convolved.layer) or is_read_again(pooling):
            return None
        layer, source = convolved
        strides = tuple(own * step for own, step in zip(layer.strides, pooling.strides, strict=True))
        changes: dict[str, Any] = {"name": pooling.name, "strides": strides}
        padding, own = (same_padding(layer, source.shape[1:3], step) for step in (layer.strides, strides))
        if layer.padding == "same" and [side[0] for side in padding] != [side[0] for side in own]:
            source = layers.ZeroPadding2D(padding, dtype=self._dtype, name=f"{pooling.name}_padding")(source)
            changes["padding"] = "valid"
        config = {**layer.get_config(), **changes}
        new, output = reconfigured(layer, type(layer), config, source)
        self._facts[output].convolved = Convolved(new, source)
        self.folds[pooling.name] = self.folds[layer.name]
        return output

    def _of_scaled(self, layer: Any, args: Any, kwargs: Any) -> Tensor:
        scaled: Any = keras.tree.map_structure(self.apply_pending_scale, (args, kwargs))
        args, kwargs = scaled
        return super().__call__(layer, *args, **kwargs)

    def _cut_off(self, relu: Any, number: int, part: Tensor) -> Tensor:
        """Apply the ReLU of a concatenation to one of its parts; behind a pooling of positive numbers it does nothing,
        and would be fused into the pooling, which the Edge TPU does not take."""
        if not is_bounded(relu) and is_never_negative(part):
            return self.apply_pending_scale(part)
        return self(renamed(relu, f"{relu.name}_part{number}"), part)

    def apply_pending_scale(self, x: Tensor) -> Tensor:
        """Apply the tensor's pending scale and return the result."""
        factor = self._pending_scale(x)
        if factor == 1.0:
            return x
        facts = self._facts[x]
        if facts.scaled is None:
            name = f"{x._keras_history.operation.name}_scale"
            facts.scaled = self._affine(x, np.array(factor), np.array(0.0), name)
        return facts.scaled

    def _pending_scale(self, x: Any) -> float:
        return self._facts[x].pending_scale if isinstance(x, keras.KerasTensor) else 1.0

    def _with_pending_scale(self, x: Tensor, factor: float) -> Tensor:
        if factor != 1.0:
            self._facts[x].pending_scale = factor
        return x

    def _linear(self, layer: layers.Layer, kind: type, name: str, x: Tensor, **changes: Any) -> Tensor:
        factor = self._pending_scale(x)
        padded = self._facts[x].padded
        if padded is not None and is_same_padding(layer, padded.source.shape[1:3], padded.padding):
            x, changes = padded.source, {"padding": "same"}
        gated = self._facts[x].gated if thins(layer) else None
        output = super()._linear(layer, kind, name, x if gated is None else gated.source, **changes)
        convolved: Any = self._facts[output].convolved
        convolved.layer.kernel.assign(convolved.layer.kernel * factor)
        self.folds[name] = self.folds[name]._replace(factor=factor)
        return (
            output if gated is None else self._rescaled_after_downsampling(Gated(output, gated.gate, gated.mean), name)
        )

    def _affine(self, x: Tensor, scale, offset, name: str, step: layers.Layer | None = None) -> Tensor:
        gated = self._facts[x].gated_after_downsampling
        if gated is not None:
            convolved, gate, mean = gated
            # Channels share a range: so the scale goes into the kernel all the same, and what the gate is in the mean.
            if mean is not None:
                scale, gate = scale * mean, super()._affine(gate, 1 / mean, np.array(0.0), f"{name}_gate")
            scaled = super()._affine(convolved, scale, np.array(0.0), f"{name}_scale")
            x, scale = self._rescaled_after_downsampling(Gated(scaled, gate, mean), name), np.array(1.0)
            step = None if step is None else only_offset(step, offset)
        return super()._affine(x, scale, offset, name, step)

    def _rescaled_after_downsampling(self, gated: Gated, name: str) -> Tensor:
        output = layers.Multiply(dtype=self._dtype, name=f"{name}_rescaled")([gated.source, gated.gate])
        self._facts[output].gated_after_downsampling = gated
        return output

    def _squeezed(self, layer: SqueezeExcite, x: Tensor) -> Tensor:
        if layer.squeeze == "max" and self._lowering.maximum == "pooling":
            pool = layers.GlobalMaxPooling2D(keepdims=True, dtype=self._dtype, name=f"{layer.name}_squeeze")
            squeezed = greatest(pool, x)
        else:
            squeezed = super()._squeezed(layer, x)
        return self._with_pending_scale(squeezed, self._pending_scale(x))

    def _reduced(self, layer: SqueezeExcite, name: str, x: Tensor) -> Tensor:
        if self._lowering.squeeze != "conv_before_pool" or not is_squeezed(layer):
            return super()._reduced(layer, name, x)
        kernel, bias = matrix(layer.reduce)
        factor = self._pending_scale(x)
        convolved, source = self._facts[x].convolved, x
        if convolved is not None and widens(convolved.layer):
            first, offset = matrix(convolved.layer)
            kernel, bias, source = first @ kernel, offset @ kernel * factor + bias, convolved.source
        sizes = tuple(pooling_step(size) if size >= _WIDE and pooling_step(size) < size else 1 for size in x.shape[1:3])
        new = layers.Conv2D(len(bias), sizes, sizes, trainable=layer.reduce.trainable, dtype=self._dtype, name=name)
        hidden = new(source)
        kernel, share = np.broadcast_to(kernel, (*sizes, *kernel.shape)), 1 / math.prod(sizes)
        new.set_weights([kernel * factor * share, bias])
        self.folds[name] = Fold(kernel, bias, factor * share)
        return self._mean(hidden, layer.name)

    def _mean(self, x: Tensor, name: str) -> Tensor:
        """Apply a mean over all positions, in steps that an NPU takes quickly."""
        number = 0
        while max(x.shape[1:3]) > 1:
            number += 1
            pool = [pooling_step(size) for size in x.shape[1:3]]
            x = layers.AveragePooling2D(pool, dtype=self._dtype, name=f"{name}_squeeze{number}")(x)
        return x

    def _rescaled(self, layer: SqueezeExcite, x: Tensor, gate: Tensor) -> Tensor:
        output = super()._rescaled(layer, x, gate)
        if (
            self._lowering.rescaling == "after_downsampling" and layer.squeeze != "none"
        ):  # one number a channel, wherever in the map
            mean = mean_gate(layer)
            mean = mean if mean is None else np.maximum(mean, _LEAST_GATE)
            self._facts[output].gated = Gated(x, gate, mean)
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
        if function is keras.activations.leaky_relu and self._lowering.leaky_relu == "decomposed":
            return self._leaky(x, np.array(LEAKY_RELU), name)
        return super()._activated(x, function, label, name)

    def _leaky(self, x: Tensor, slope: np.ndarray, name: str) -> Tensor:
        """Apply a ReLU with this slope below zero as `x + relu((slope - 1) * x)`."""
        factor = slope - 1
        if len(x.shape) == 4:
            new = layers.DepthwiseConv2D(1, use_bias=False, trainable=False, dtype=self._dtype, name=f"{name}_slope")
            turned = new(x)
            new.set_weights([np.broadcast_to(factor, x.shape[-1]).reshape(1, 1, -1, 1)])
            self.folds[new.name] = Fold(np.array(new.kernel), None)
        else:
            turned = layers.Rescaling(factor.tolist(), dtype=self._dtype, name=f"{name}_slope")(x)
        turned = layers.ReLU(dtype=self._dtype, name=f"{name}_relu")(turned)
        return layers.Add(dtype=self._dtype, name=name)([x, turned])

    def _clipped(self, x: Tensor, name: str) -> Tensor:
        return layers.ReLU(6, dtype=self._dtype, name=name)(x)
