"""The layers of a quantization-aware model: rounding as an int8 file rounds, with gradients that pass through it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from keras_se.export.form import Form
from keras_se.export.ranges import LEAST_RANGE, with_zero

Tensor = Any

_STEPS = 127  # of an int8 weight, on either side of zero


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
                shape=(2,),
                dtype="float32",
                autocast=False,  # bfloat16 has no more bits than the values that the range divides into
                initializer=lambda shape, dtype: ops.array([self.low, self.high], dtype),
            )

    def range(self) -> tuple[float, float]:
        """The least and the greatest value, as they are now."""
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
    """`FakeQuantize` of a model's input, which also keeps the form that the model is written in.

    A .keras file has a configuration for each layer and no room for one of the model's own.

    Args:
        form: a `keras_se.export.form.Form`, or its fields.
    """

    def __init__(self, low: float, high: float, form: Form | Mapping[str, str], **kwargs):
        super().__init__(low, high, **{"name": "input_range", **kwargs})
        self.form = form if isinstance(form, Form) else Form(**form)

    def get_config(self):
        return {**super().get_config(), "form": dataclasses.asdict(self.form)}


def rounded_kernel(layer: Any) -> Tensor:
    """The kernel of a convolution or dense layer in the 255 steps of an int8 one, filter by filter.

    A step is the filter's greatest magnitude over 127. The gradient is that of the kernel itself.
    """
    kernel = layer.kernel.value
    # A depthwise kernel has its filters in two axes, channels and multiplier.
    filters = 2 if isinstance(layer, layers.DepthwiseConv2D) else 1
    greatest: Any = ops.max(ops.abs(kernel), axis=tuple(range(len(kernel.shape) - filters)), keepdims=True)
    step: Any = ops.stop_gradient(ops.where(greatest == 0, 1.0, greatest / _STEPS))
    return kernel + ops.stop_gradient(ops.round(kernel / step) * step - kernel)


@keras.saving.register_keras_serializable(package="keras_se")
class RoundedWeights(layers.Wrapper):
    """A convolution or dense layer that computes with its `rounded_kernel`.

    Args:
        layer: a `Conv2D`, `DepthwiseConv2D` or `Dense`.
    """

    def __init__(self, layer: layers.Layer, **kwargs):
        # Under mixed precision the weights are rounded in float32, and `layer` computes in its own type.
        super().__init__(layer, autocast=False, **{**kwargs, "dtype": "float32"})

    def call(self, x):
        kernel = self.layer.kernel
        # The layer computes with the rounded tensor in place of its variable.
        with keras.StatelessScope(state_mapping=[(kernel, rounded_kernel(self.layer))]):
            return self.layer(x)

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)
