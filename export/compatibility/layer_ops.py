"""Operations of a .tflite file that Keras's layers become, as far as some device has trouble with them.

In: a layer or an operation of a model. Out: the operations that stand for it, and what to write in its place.

Found by converting each; `tests/export/compatibility/test_checker.py` does so again.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import keras
from keras import activations, layers

from keras_se.cloning import is_graph
from keras_se.export.conversion.copies import functional
from keras_se.export.qat.fake_quant import FakeQuantize, RoundedWeights
from keras_se.export.targets.base import (
    DILATIONS,
    DIMENSIONS,
    INNER_SOFTMAX,
    LAST_MEAN,
    NO_OPERATION,
    RESIZED,
    SOFTMAXES,
    VECTORS,
    WIDE_POOL,
)
from keras_se.layers.channel_attention import ChannelAttention
from keras_se.layers.effective_squeeze_excite import EffectiveSqueezeExcite
from keras_se.layers.efficient_channel_attention import EfficientChannelAttention
from keras_se.layers.gates import double_sigmoid
from keras_se.layers.gather_excite import GatherExcite
from keras_se.layers.spatial_attention import SpatialAttention
from keras_se.layers.squeeze_excite import SqueezeExcite


class Becomes(NamedTuple):
    """Operations that stand for a layer in a file."""

    operations: tuple[str, ...] = ()
    """Operations that some device has trouble with: names of the schema, or of `keras_se.export.targets.base.USES`."""
    instead: str = ""
    """Replacement to write in the model."""


PLAIN = Becomes()

_RELU = "build and train it with relu, relu6, silu or hard_silu"
_ONCE = "call each layer once, with channels last"
_LEAK = f"{_ONCE} and a slope up to 1: then export rewrites it"
_BATCH = "use BatchNormalization, which is folded into a convolution"

ACTIVATIONS: Mapping[Callable, Becomes] = {
    **dict.fromkeys((activations.linear, activations.relu, activations.relu6, activations.sigmoid), PLAIN),
    **dict.fromkeys((activations.hard_sigmoid, activations.silu, activations.tanh, activations.tanh_shrink), PLAIN),
    activations.hard_tanh: PLAIN,
    activations.softmax: PLAIN,  # of one vector
    double_sigmoid: PLAIN,
    activations.celu: Becomes(("EXP", "MINIMUM", "RELU"), _RELU),
    activations.elu: Becomes(("ELU",), _RELU),
    activations.exponential: Becomes(("EXP",), _RELU),
    activations.gelu: Becomes(("GELU",), _RELU),
    activations.hard_silu: Becomes(("HARD_SWISH",), f"{_ONCE}: then export rewrites it"),
    activations.leaky_relu: Becomes(("LEAKY_RELU",), f"{_ONCE}: then export rewrites it"),
    activations.log_sigmoid: Becomes(("EXP", "LOG", "NEG"), _RELU),
    activations.log_softmax: Becomes(("LOG_SOFTMAX",), "end in the logits"),
    activations.mish: Becomes(("EXP", "LOG"), _RELU),
    activations.selu: Becomes(("EXP", "GREATER", "SELECT"), _RELU),
    activations.softplus: Becomes(("EXP", "LOG"), _RELU),
    activations.softsign: Becomes(("ABS", "DIV"), _RELU),
}
"""Operations of an activation, by Keras's function."""


def _average(layer: Any) -> Becomes:
    return PLAIN if layer.data_format == "channels_last" else Becomes((LAST_MEAN,), "build it with channels last")


def _greatest(layer: Any) -> Becomes:
    return Becomes(("REDUCE_MAX",), f"{_ONCE}: then export rewrites it")


def _average_pooling(layer: Any) -> Becomes:
    wide = layer.padding == "same" and max(layer.pool_size) > 8
    return Becomes(("AVERAGE_POOL_2D", *[WIDE_POOL] * wide), "use a convolution with strides, or MaxPooling2D")


def _convolution(layer: Any) -> Becomes:
    if len(set(layer.dilation_rate)) == 1:
        return PLAIN
    return Becomes((DILATIONS,), "use the same dilation_rate for height and width")


def _dense(layer: Any) -> Becomes:
    [taken] = layer._inbound_nodes[0].input_tensors
    return Becomes((VECTORS,), "use a 1x1 convolution") if _positions(taken.shape) > 1 else PLAIN


def _gather_excite(layer: Any) -> Becomes:
    if layer.extent is None:
        return PLAIN if layer.learned else _average(layer)
    other = layer.extent not in (2, 4, 8)
    pools = ["AVERAGE_POOL_2D"] * (not layer.learned)
    return Becomes((*pools, "RESIZE_NEAREST_NEIGHBOR", *[RESIZED] * other), "use extent=None")


def _channel_attention(layer: Any) -> Becomes:
    return Becomes(("REDUCE_MAX", *_average(layer).operations), "use SqueezeExcite, which takes the average alone")


def _spatial_attention(layer: Any) -> Becomes:
    last = layer.data_format == "channels_last"
    return Becomes((*[LAST_MEAN] * last, "REDUCE_MAX"), "use SqueezeExcite, which gates channels")


def _recurrent(layer: Any) -> Becomes:
    if layer.unroll:
        return Becomes(("UNPACK",), "use Conv1D along the sequence")
    return Becomes(("WHILE",), "use unroll=True")


def _relu(layer: Any) -> Becomes:
    if layer.threshold:
        return Becomes(("GREATER", "SELECT_V2"), _RELU)
    if layer.negative_slope:
        return Becomes(("LEAKY_RELU",), _LEAK)
    return PLAIN if layer.max_value in (None, 6) else Becomes(("MINIMUM", "RELU"), "use relu or relu6")


def _resized(layer: Any) -> Becomes:
    names = {
        ("Resizing", "nearest"): "RESIZE_NEAREST_NEIGHBOR",
        ("Resizing", "bilinear"): "RESIZE_BILINEAR",
        ("UpSampling2D", "nearest"): "TILE",
        ("UpSampling2D", "bilinear"): "RESIZE_BILINEAR",
    }
    [taken] = layer._inbound_nodes[0].input_tensors
    factors = {extent / size for extent, size in zip(_output_shape(layer)[1:3], taken.shape[1:3], strict=True)}
    other = not factors <= ({2} if layer.interpolation == "bilinear" else {2, 4, 8})
    name = names.get((type(layer).__name__, layer.interpolation), NO_OPERATION)
    if max(factors) <= 1:
        instead = "use a convolution with strides"
    else:
        instead = "use Conv2DTranspose" if layer.interpolation == "bilinear" else 'use interpolation="bilinear"'
    return Becomes((name, *[RESIZED] * other), instead)


def _reshaped(layer: Any) -> Becomes:
    return Becomes((DIMENSIONS,), "keep to 4 dimensions") if len(_output_shape(layer)) > 4 else PLAIN


def _softmax(layer: Any) -> Becomes:
    if isinstance(layer, SqueezeExcite):
        return Becomes((INNER_SOFTMAX,), "use a sigmoid")
    many = _positions(_output_shape(layer)) > 1
    return Becomes((SOFTMAXES,), "end in the logits, and take the softmax outside") if many else PLAIN


def _squeeze_excite(layer: Any) -> Becomes:
    return {"avg": _average, "max": _greatest, "none": lambda layer: PLAIN}[layer.squeeze](layer)


LAYERS: Mapping[type, Becomes | Callable[[Any], Becomes]] = {
    layers.Activation: PLAIN,  # its function says the rest
    layers.Add: PLAIN,
    layers.Average: PLAIN,
    layers.AveragePooling2D: _average_pooling,
    layers.BatchNormalization: PLAIN,
    layers.Concatenate: PLAIN,
    layers.Conv1D: PLAIN,
    layers.Conv2DTranspose: PLAIN,
    layers.Conv2D: _convolution,
    layers.Cropping2D: PLAIN,
    layers.Dense: _dense,
    layers.DepthwiseConv2D: _convolution,
    layers.Dot: Becomes(("BATCH_MATMUL",), "multiply and add in a convolution"),
    layers.Dropout: PLAIN,
    layers.ELU: Becomes(("ELU",), _RELU),
    layers.EinsumDense: _dense,
    layers.Flatten: PLAIN,
    layers.GaussianNoise: PLAIN,
    layers.GlobalAveragePooling2D: _average,
    layers.GlobalMaxPooling2D: _greatest,
    layers.GroupNormalization: Becomes(("NEG", "RSQRT", "SQUARE", DIMENSIONS), _BATCH),
    layers.InputLayer: PLAIN,
    layers.GRU: _recurrent,
    layers.LSTM: _recurrent,
    layers.LayerNormalization: Becomes(("NEG", "RSQRT", "SQUARED_DIFFERENCE"), _BATCH),
    layers.LeakyReLU: Becomes(("LEAKY_RELU",), _LEAK),
    layers.MaxPooling2D: PLAIN,
    layers.Maximum: Becomes(("MAXIMUM",), "use Add"),
    layers.Minimum: Becomes(("MINIMUM",), "use Add"),
    layers.MultiHeadAttention: Becomes(("BATCH_MATMUL", VECTORS, SOFTMAXES), "use convolutions and SqueezeExcite"),
    layers.Multiply: PLAIN,
    layers.Normalization: PLAIN,
    layers.PReLU: Becomes(("PRELU",), f"use shared_axes=[1, 2]; {_LEAK}"),
    layers.Permute: _reshaped,
    layers.RMSNormalization: Becomes(("RSQRT", "SQUARE"), _BATCH),
    layers.RandomFlip: PLAIN,
    layers.ReLU: _relu,
    layers.Rescaling: PLAIN,
    layers.Reshape: _reshaped,
    layers.Resizing: _resized,
    layers.SeparableConv2D: _convolution,
    layers.Softmax: _softmax,
    layers.Subtract: PLAIN,
    layers.UnitNormalization: Becomes(("MINIMUM", "RSQRT", "SQUARE", "SUM"), _BATCH),
    layers.UpSampling2D: _resized,
    layers.ZeroPadding2D: PLAIN,
    ChannelAttention: _channel_attention,
    EffectiveSqueezeExcite: _average,
    EfficientChannelAttention: _average,
    FakeQuantize: PLAIN,
    GatherExcite: _gather_excite,
    RoundedWeights: PLAIN,
    SpatialAttention: _spatial_attention,
    SqueezeExcite: _squeeze_excite,
}
"""Operations of a layer, by its class; a subclass stands before its base."""

OPERATIONS: Mapping[str, Becomes] = {
    **dict.fromkeys(("Add", "Multiply", "Pad", "Subtract"), PLAIN),
    "Exp": Becomes(("EXP",), _RELU),
    "Flip": Becomes(("REVERSE_V2",), "leave it to the preprocessing"),
    "HardSilu": Becomes(("HARD_SWISH",), 'use layers.Activation("hard_silu"), which export rewrites'),
    "TopK": Becomes(("TOPK_V2",), "take the best outside of the network"),
}
"""Operations of `keras.ops` in a model's graph, by their class's name."""


def operations_of(model: keras.Model) -> Iterator[tuple[str, Any]]:
    """Yield layers and operations in the order in which they run, by their path; those of models inside too."""
    for operation in getattr(model, "operations", None) or functional(model).operations:
        if isinstance(operation, keras.Model) and is_graph(operation):
            yield from ((f"{operation.name}/{name}", inner) for name, inner in operations_of(operation))
        else:
            yield operation.name, operation


def becomes(operation: Any) -> list[Becomes] | None:
    """Return the rows of a layer or operation and of its activations; None where there is none."""
    if not isinstance(operation, layers.Layer):
        known = OPERATIONS.get(type(operation).__name__)
        return None if known is None else [known]
    kind = next((kind for kind in LAYERS if isinstance(operation, kind)), None)
    functions = [getattr(operation, name, None) or activations.linear for name in ("activation", "gate")]
    if kind is None or not all(function in ACTIVATIONS for function in functions):
        return None
    own = LAYERS[kind]
    rows = [own(operation) if callable(own) else own, *(ACTIVATIONS[function] for function in functions)]
    if activations.softmax in functions:
        rows.append(_softmax(operation))
    return rows


def _output_shape(operation: Any) -> tuple[int | None, ...]:
    return operation._inbound_nodes[0].output_tensors[0].shape  # a layer that is called twice has no `output`


def _positions(shape: tuple[int | None, ...]) -> int:
    """Count the vectors in an image's tensor."""
    return max([1, *(extent or 1 for extent in shape[1:-1])])
