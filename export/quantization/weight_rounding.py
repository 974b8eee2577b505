"""A Keras layer's kernel as an int8 file rounds it.

In: a convolution or a dense layer. Out: its kernel, rounded filter by filter.
"""

from typing import Any

from keras import layers, ops

Tensor = Any

_STEPS = 127  # of an int8 weight, on either side of zero


def rounded_kernel(layer: Any, kernel: Tensor = None) -> Tensor:
    """Round the kernel of a convolution or dense layer to the 255 steps of an int8 one, filter by filter.

    A step is the filter's greatest magnitude over 127. The gradient is that of the kernel itself.

    Args:
        kernel: one to round in place of the layer's own.
    """
    if kernel is None:
        kernel = layer.kernel.value
    filters = filter_axes(layer)
    greatest: Any = ops.max(ops.abs(kernel), axis=tuple(range(len(kernel.shape) - filters)), keepdims=True)
    step: Any = ops.stop_gradient(ops.where(greatest == 0, 1.0, greatest / _STEPS))
    return kernel + ops.stop_gradient(ops.round(kernel / step) * step - kernel)


def filter_axes(layer: Any) -> int:
    """Count a kernel's last axes that hold its filters: of a depthwise one, channels and multiplier."""
    return 2 if isinstance(layer, layers.DepthwiseConv2D) else 1
