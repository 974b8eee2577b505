"""Build blocks for the families: convolution, batch normalisation and activation; the stem's pooling; widths."""

from dataclasses import dataclass
from typing import Any

from keras import layers

from keras_se.layers.grouped_conv2d import GroupedConv2D

Tensor = Any  # keras.KerasTensor; Keras's layers are not typed

PADDINGS = ("same", "symmetric")
CHANNELS_LAST = "channels_last"


@dataclass(frozen=True)
class Norm:
    """Batch normalisation of a family. By default epsilon as in the released SE networks, torch's momentum 0.1."""

    momentum: float = 0.9
    epsilon: float = 1e-5
    scale: bool = True

    def __call__(self, x: Tensor, name: str) -> Tensor:
        return layers.BatchNormalization(
            momentum=self.momentum, epsilon=self.epsilon, scale=self.scale, name=f"{name}_bn"
        )(x)


NORM = Norm()


def conv_bn(
    x: Tensor,
    filters: int,
    kernel: int | tuple[int, int],
    name: str,
    *,
    stride: int = 1,
    groups: int = 1,
    activation: str | None = "relu",
    padding: str = "same",
    use_bias: bool = False,
    norm: Norm = NORM,
) -> Tensor:
    """Convolution, batch normalisation and, unless None, an activation.

    `(batch, h, w, c)` to `(batch, ceil(h / stride), ceil(w / stride), filters)`, unless `padding` is "valid".
    Padding: "same", of which an even input that is halved gets more below and right; "symmetric", torch's and
    Caffe's, half the kernel on each side; or "valid".
    """
    x, padding = _pad(x, kernel, stride, padding, name)
    arguments = {
        "padding": padding,
        "use_bias": use_bias,
        "kernel_initializer": "he_normal",
        "data_format": CHANNELS_LAST,
        "name": f"{name}_conv",
    }
    if groups == 1:
        x = layers.Conv2D(filters, kernel, stride, **arguments)(x)
    else:
        x = GroupedConv2D(filters, kernel, stride, groups=groups, **arguments)(x)
    return _activate(norm(x, name), name, activation)


def depthwise_bn(
    x: Tensor,
    kernel: int,
    name: str,
    *,
    stride: int = 1,
    activation: str | None = "relu",
    padding: str = "same",
    norm: Norm = NORM,
) -> Tensor:
    """Depthwise convolution without bias, batch normalisation and, unless None, an activation; padding as above."""
    x, padding = _pad(x, kernel, stride, padding, name)
    x = layers.DepthwiseConv2D(
        kernel,
        stride,
        padding=padding,
        use_bias=False,
        depthwise_initializer="he_normal",
        data_format=CHANNELS_LAST,
        name=f"{name}_conv",
    )(x)
    return _activate(norm(x, name), name, activation)


def pool_stem(x: Tensor, pool: str = "ceil") -> Tensor:
    """Maximum over 3x3 positions, every second one, of a feature map without negative values.

    "ceil": unpadded, the last window may hang over the edge: the paper's, and timm's `legacy_` models';
    "padded": one position on each side, timm's others. They differ by a shift where the input is even.

    Raises:
        ValueError: `pool` is neither.
    """
    if pool not in ("ceil", "padded"):
        raise ValueError(f"stem_pool must be ceil or padded; got stem_pool={pool!r}")
    odd = {None if size is None else size % 2 for size in x.shape[1:3]}
    # The last window hangs over an even size by one and over an odd one not at all; "same" pads an even size behind,
    # and an odd one on both sides.
    exact: dict[tuple, str] = {("ceil", 0): "same", ("ceil", 1): "valid", ("padded", 1): "same"}
    padding = exact.get((pool, *odd))
    if padding is None:  # zeros change no maximum here
        edge = ((0, 1), (0, 1)) if pool == "ceil" else 1
        x = layers.ZeroPadding2D(edge, data_format=CHANNELS_LAST, name="stem_pool_pad")(x)
        padding = "valid"
    return layers.MaxPooling2D(3, 2, padding=padding, data_format=CHANNELS_LAST, name="stem_pool")(x)


def divisible(value: float, divisor: int = 8) -> int:
    """Round `value` to a multiple of `divisor`, at least one, and never to less than 0.9 of it.

    Source: Howard et al., arXiv 1905.02244, as in the authors' code.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * value else rounded + divisor


def check_padding(padding: str) -> None:
    """Refuse a padding that no family has.

    Raises:
        ValueError: it is neither "same" nor "symmetric".
    """
    if padding not in PADDINGS:
        raise ValueError(f"padding must be one of {', '.join(PADDINGS)}; got padding={padding!r}")


def _pad(x, kernel, stride, padding, name):
    """Return the input, padded if the convolution cannot do it, and the convolution's own padding."""
    if padding != "symmetric":
        return x, padding
    if stride == 1 or kernel == 1:
        return x, "same"
    return layers.ZeroPadding2D(kernel // 2, data_format=CHANNELS_LAST, name=f"{name}_pad")(x), "valid"


def _activate(x, name, activation):
    return x if activation is None else layers.Activation(activation, name=f"{name}_act")(x)
