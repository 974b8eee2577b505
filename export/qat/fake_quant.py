"""Layers of a quantization-aware model.

In: float tensors. Out: tensors rounded as an int8 file rounds, with gradients that pass through.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from keras_se.export.conversion.lowering_config import LoweringConfig
from keras_se.export.quantization.observers import LEAST_RANGE, with_zero
from keras_se.export.quantization.weight_rounding import filter_axes, rounded_kernel

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_se")
class FakeQuantize(layers.Layer):
    """Round to the 256 values of an int8 tensor.

    The range includes zero and is moved so that zero is one of the values. Gradients pass where the input is inside
    it; outside, they move the end of a learned range.

    Args:
        low: the least value, at most 0.
        high: the greatest value, above `low`.
        learned: whether the ends are weights that training changes.
    Input shape: any.
    Output shape: the input's.
    Raises:
        ValueError: the range does not include zero, or is narrower than a thousandth.
    """

    def __init__(self, low: float, high: float, *, learned: bool = False, **kwargs):
        super().__init__(autocast=False, **kwargs)
        if not low <= 0 <= high or high - low < LEAST_RANGE:
            raise ValueError(f"a range must include 0 and be {LEAST_RANGE} wide at least; got {low} to {high}")
        self.low, self.high = float(low), float(high)
        self.learned = learned

    def build(self, input_shape):
        if self.learned:
            self.ends = self.add_weight(
                name="ends",
                shape=(2,),
                dtype="float32",
                autocast=False,  # bfloat16 has no more bits than the values that the range divides into
                initializer=lambda shape, dtype: ops.array([self.low, self.high], dtype),
            )

    def range(self) -> tuple[float, float]:
        """Return the least and the greatest value, as they are now."""
        if not self.learned:
            return self.low, self.high
        return with_zero(*np.asarray(self.ends, "float64").tolist())

    def call(self, x):
        values = tf.cast(x, "float32")
        if self.learned:
            ends: Any = ops.convert_to_tensor(self.ends)
            low = tf.minimum(ends[0], 0.0)
            high = tf.maximum(tf.maximum(ends[1], low + LEAST_RANGE), 0.0)
            rounded = tf.quantization.fake_quant_with_min_max_vars(values, low, high)
        else:
            rounded = tf.quantization.fake_quant_with_min_max_args(values, self.low, self.high)
        return tf.cast(rounded, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "low": self.low, "high": self.high, "learned": self.learned}


@keras.saving.register_keras_serializable(package="keras_se")
class RoundedInput(FakeQuantize):
    """Layer `FakeQuantize` of a model's input, which also keeps the form that the model is written in.

    A .keras file has a configuration for each layer and no room for one of the model's own.

    Args:
        form: a `keras_se.export.conversion.lowering_config.LoweringConfig`, or its fields.
    """

    def __init__(self, low: float, high: float, lowering: LoweringConfig | Mapping[str, str], **kwargs):
        super().__init__(low, high, **{"name": "input_range", **kwargs})
        self.lowering = lowering if isinstance(lowering, LoweringConfig) else LoweringConfig(**lowering)

    def get_config(self):
        return {**super().get_config(), "lowering": dataclasses.asdict(self.lowering)}


@keras.saving.register_keras_serializable(package="keras_se")
class RoundedWeights(layers.Wrapper):
    """A convolution or dense layer that computes with its `rounded_kernel`, after what was folded into it.

    Weights are those from before the folding, so that training moves the network as far as it would move it unfolded.

    Args:
        layer: a `Conv2D`, `DepthwiseConv2D` or `Dense` without activation.
        factor: what its kernel is multiplied by.
        steps: what follows it and is folded into kernel and bias: `BatchNormalization`, as at inference, and
            `Rescaling`, with a number for each filter.
    """

    def __init__(self, layer: layers.Layer, factor: float = 1.0, steps: Sequence[layers.Layer] = (), **kwargs):
        # Under mixed precision the weights are rounded in float32, and `layer` computes in its own type.
        super().__init__(layer, autocast=False, **{**kwargs, "dtype": "float32"})
        self.factor = float(factor)
        self.steps = list(steps)

    def build(self, input_shape=None):
        if not self.layer.built:
            self.layer.build(input_shape)
        filters = self.layer.compute_output_shape(input_shape)[-1]
        for step in self.steps:
            if not step.built:
                step.build((None, filters))

    def folded(self) -> tuple[Tensor, Tensor | None]:
        """Return the unrounded kernel and bias of the equivalent plain layer; None for a bias that it has not."""
        scale: Any = ops.ones((), "float32")
        bias: Any = self.layer.bias.value if self.layer.use_bias else None
        for step in self.steps:
            each, offset = _affine(step)
            scale = scale * each
            bias = offset if bias is None else bias * each + offset
        kernel = self.layer.kernel.value
        if self.steps:
            scale = ops.reshape(scale, kernel.shape[-filter_axes(self.layer) :])
        return kernel * (scale * self.factor), bias

    def call(self, x):
        kernel, bias = self.folded()
        replaced = [(self.layer.kernel, rounded_kernel(self.layer, kernel))]
        if self.layer.use_bias:
            replaced.append((self.layer.bias, bias))
        # The layer computes with these tensors in place of its variables.
        with keras.StatelessScope(state_mapping=replaced):
            output = self.layer(x)
        return output if self.layer.use_bias or bias is None else output + ops.cast(bias, output.dtype)

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)

    def get_config(self):
        steps = [keras.saving.serialize_keras_object(step) for step in self.steps]
        return {**super().get_config(), "factor": self.factor, "steps": steps}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        steps = [keras.saving.deserialize_keras_object(step, custom_objects) for step in config.get("steps", [])]
        return super().from_config({**config, "steps": steps}, custom_objects)


def _affine(step: Any) -> tuple[Tensor, Tensor]:
    """Return what a step multiplies each filter by, and what it adds."""
    if isinstance(step, layers.Rescaling):
        return ops.convert_to_tensor(step.scale, "float32"), ops.convert_to_tensor(step.offset, "float32")
    scale: Any = ops.rsqrt(step.moving_variance + step.epsilon)
    if step.scale:
        scale = scale * step.gamma
    offset = -step.moving_mean * scale
    return scale, offset + step.beta if step.center else offset
