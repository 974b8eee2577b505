"""Grouped convolution that trains on a CPU."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

_COMPILED = ("tensorflow", "jax")  # backends whose grouped convolutions run through XLA on a CPU
_CHANNELS = 64  # of one dense convolution at least: in ResNeXt-50 as fast as 32, with half the operations


@keras.saving.register_keras_serializable(package="keras_se")
class GroupedConv2D(layers.Conv2D):
    """Layer `keras.layers.Conv2D` with groups, and with another route through them while it trains on a CPU.

    TensorFlow's CPU kernels have no gradient of a grouped convolution, so that Keras compiles it with XLA, whose CPU
    gradient takes a hundred times as long as it should (an update of 32 groups on 56x56x128, batch 4: 13 s). While
    training there, the groups go side by side into a few dense convolutions, whose kernels are zero between groups
    (the same update: 0.1 s). The weights are the same, and so are the outputs up to rounding. Without
    `training=True`, and so in every exported file, it is the one convolution with groups, and as slow to derive.

    Args: those of `keras.layers.Conv2D`.
    Input shape: `(batch, height, width, channels)`; channels must be a multiple of `groups`.
    Output shape: as of `keras.layers.Conv2D`; the kernel is `(height, width, channels / groups, filters)`.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        if not (training and self.data_format == "channels_last" and _on_cpu()):
            return super().call(inputs)
        outputs = self._side_by_side(inputs)
        if self.use_bias:
            outputs = outputs + self.bias
        return outputs if self.activation is None else self.activation(outputs)

    def _side_by_side(self, inputs: Any) -> Any:
        kernel: Any = ops.convert_to_tensor(self.kernel)
        groups = self.groups or 1
        parts = max(n for n in range(1, groups + 1) if groups % n == 0 and _wide_enough(inputs, n))
        together = groups // parts
        # One within a group, zero from one group to another.
        ones = np.ones((kernel.shape[-2], self.filters // groups))
        within: Any = ops.cast(np.kron(np.eye(together), ones), kernel.dtype)
        inputs_of: Any = ops.split(inputs, parts, axis=-1)
        kernels_of: Any = ops.split(kernel, parts, axis=-1)
        outputs = [
            self.convolution_op(x, within * ops.tile(k, (1, 1, together, 1)))
            for x, k in zip(inputs_of, kernels_of, strict=True)
        ]
        return ops.concatenate(outputs, axis=-1)


def _wide_enough(inputs, parts):
    return parts == 1 or inputs.shape[-1] // parts >= _CHANNELS


def _on_cpu():
    if keras.backend.backend() not in _COMPILED:
        return False
    return all(device.startswith("cpu") for device in keras.distribution.list_devices())
