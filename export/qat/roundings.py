"""Roundings of an int8 file, written into a Keras model layer by layer.

In: a layer of a written-out model, and the range of its output. Out: the same layer in a new graph, and behind it the
rounding that the file has there. A layer that `quantize_aware` is to take gets its row here.
"""

from collections import Counter, defaultdict
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_se.errors import InputError
from keras_se.export.conversion.copies import copied
from keras_se.export.conversion.decompose import CONVOLUTIONS, Fold
from keras_se.export.qat.fake_quant import FakeQuantize, RoundedInput, RoundedWeights

Tensor = Any  # keras.KerasTensor; Keras's layers are not typed

# What a layer's output is in the int8 file.
_MEAN = layers.GlobalAveragePooling2D
_ROUNDED = (layers.Add, layers.Multiply, _MEAN)
_SAME_SCALE = (
    layers.MaxPooling2D,
    layers.GlobalMaxPooling2D,
    layers.Reshape,
    layers.Permute,
    layers.Flatten,
    layers.ZeroPadding2D,
    layers.Cropping2D,
    # At inference they give what they take.
    layers.Identity,
    layers.Dropout,
    layers.SpatialDropout2D,
    layers.AlphaDropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.ActivityRegularization,
)
_FIXED = {keras.activations.sigmoid: (0.0, 255 / 256), keras.activations.tanh: (-1.0, 127 / 128)}
"""Gates whose scale the integer kernels fix: 256 and 128 steps to one."""
_ROUNDED_OPERATIONS = frozenset({"Add", "Multiply"})
_SAME_SCALE_OPERATIONS = frozenset({"GetItem", "Pad", "Reshape", "Transpose"})
"""Operations of keras.ops, by their class."""

_OF_IMAGES = (
    layers.CenterCrop,
    layers.RandomBrightness,
    layers.RandomContrast,
    layers.RandomCrop,
    layers.RandomFlip,
    layers.RandomRotation,
    layers.RandomTranslation,
    layers.RandomZoom,
    layers.Resizing,
)
_REMEDIES: tuple[tuple[tuple[type, ...], str], ...] = (
    (_OF_IMAGES, "apply it to the images before they reach the model, and leave it out"),
    ((layers.Normalization,), "write it as Rescaling(1 / std, -mean / std)"),
    ((layers.SeparableConv2D,), "write it as DepthwiseConv2D and Conv2D"),
    ((layers.Conv1D,), "write it as Conv2D with one row"),
    ((layers.Lambda,), "write it in Keras's layers"),
)
_REMEDY = "replace it, or quantize after training: export(model, ..., calibration=images)"


@dataclass
class _RoundingFacts:
    """Facts of a tensor that the rounding of a model needs."""

    rounding: FakeQuantize | None = None
    """Rounding that it, or an operation of the same scale, comes from."""
    exact: Tensor | None = None
    """Tensor before the rounding; of the model's input, the one behind it."""
    fusable: bool = False
    """Not rounded if a ReLU follows, as the file has one operation."""
    pooled: Tensor | None = None
    """An average before its rounding."""


class Rounder:
    """Write one layer of a written-out model at a time, and the rounding of its output where the file has one."""

    def __init__(
        self,
        readers: Counter[Tensor],
        folds: Mapping[str, Fold],
        ranges: dict[str, tuple[float, float]],
        learned: Container[str],
        entry: RoundedInput,
    ):
        self._readers, self._folds, self._ranges = readers, folds, ranges
        self._learned, self._entry = learned, entry  # learned: by name, the layers whose range is
        self._facts: dict[Tensor, _RoundingFacts] = defaultdict(_RoundingFacts)

    def __call__(self, layer: Any, *args: Any, **kwargs: Any) -> Tensor:
        inputs: Any = keras.tree.map_structure(self._entered, args)
        if not isinstance(layer, layers.Layer):
            return self._operation(layer, inputs, kwargs)
        if isinstance(layer, CONVOLUTIONS):
            return self._rounded(self._convolved(layer, *inputs), layer, fusable=True)
        if isinstance(layer, layers.ReLU):
            [x] = inputs
            facts = self._facts[x]
            if facts.pooled is not None:  # the file has one operation, which gives the values that its input has
                rounding = self._rounding_of(x)
                return self._keep(rounding(copied(layer, facts.pooled)[1]), rounding)
            return self._rounded(copied(layer, facts.exact if facts.fusable else x)[1], layer)
        if isinstance(layer, layers.Concatenate):
            parts = [self._joined(*pair) for pair in zip(*inputs, layer.input, strict=True)]
            return self._rounded(copied(layer, parts)[1], layer)
        if isinstance(layer, layers.AveragePooling2D):  # rounded to the values that its input has
            rounding, exact = self._rounding_of(inputs[0]), copied(layer, *inputs)[1]
            output = self._keep(rounding(exact), rounding)
            self._facts[output].pooled = exact
            return output
        # The converter leaves out the mean of one position.
        if isinstance(layer, _SAME_SCALE) or _is_identity(layer):
            return self._keep(copied(layer, *inputs)[1], self._rounding_of(inputs[0]))
        function = getattr(layer, "activation", None)
        if isinstance(layer, layers.Softmax) or function is keras.activations.softmax:
            return copied(layer, *inputs)[1]
        if isinstance(layer, layers.Activation) and function in (*_FIXED, keras.activations.hard_silu):
            return self._rounded(copied(layer, *inputs)[1], layer, fixed=_FIXED.get(function))  # pyright: ignore[reportArgumentType]
        if isinstance(layer, _ROUNDED) or _is_one_operation(layer):
            fusable = not isinstance(layer, _MEAN)
            return self._rounded(copied(layer, *inputs)[1], layer, fusable=fusable)
        raise unknown_layer(layer)

    def _convolved(self, layer: Any, x: Tensor) -> Tensor:
        """Write a convolution with a rounded kernel, in the parameters that it was folded from."""
        kernel, bias, factor, steps = self._folds.get(layer.name) or _unfolded(layer)
        inner = type(layer).from_config({**layer.get_config(), "use_bias": bias is not None})
        fresh = [type(step).from_config({**step.get_config(), "dtype": "float32"}) for step in steps]
        wrapped = RoundedWeights(inner, factor, fresh, name=layer.name)
        output = wrapped(x)
        inner.set_weights([kernel] if bias is None else [kernel, bias])
        for new, step in zip(fresh, steps, strict=True):
            new.set_weights(step.get_weights())
        return output

    def _operation(self, operation: Any, inputs: Any, kwargs: Any) -> Tensor:
        kind = type(operation).__name__
        if kind in _SAME_SCALE_OPERATIONS:
            return self._keep(copied(operation, *inputs, **kwargs)[1], self._rounding_of(inputs[0]))
        if kind in _ROUNDED_OPERATIONS:
            return self._rounded(copied(operation, *inputs, **kwargs)[1], operation, fusable=True)
        raise InputError(f"quantize_aware has no int8 form of the operation {kind}; got {operation.name}: {_REMEDY}")

    def _entered(self, x: Any) -> Any:
        """Round the model's input, which is the tensor that nothing has rounded yet."""
        if not isinstance(x, keras.KerasTensor):
            return x
        facts = self._facts[x]
        if facts.rounding is not None:
            return x
        if facts.exact is None:
            facts.exact = self._keep(self._entry(x), self._entry)
        return facts.exact

    def _joined(self, x: Tensor, original: Tensor) -> Tensor:
        """Return a concatenation's input unrounded where nothing else reads it: the file rounds the whole."""
        exact = self._facts[x].exact
        return exact if exact is not None and self._readers[original] == 1 else x

    def _rounding_of(self, x: Tensor) -> Any:
        return self._facts[x].rounding

    def _keep(self, x: Tensor, rounding: FakeQuantize) -> Tensor:
        self._facts[x].rounding = rounding
        return x

    def _rounded(self, exact: Tensor, layer: Any, *, fusable: bool = False, fixed=None) -> Tensor:
        low, high = fixed or self._ranges[layer.name]
        rounding = FakeQuantize(
            low,
            high,
            learned=fixed is None and layer.name in self._learned,
            name=f"{layer.name}_range",
            dtype=getattr(layer, "dtype_policy", None),
        )
        output = self._keep(rounding(exact), rounding)
        facts = self._facts[output]
        facts.exact, facts.fusable = exact, fusable
        return output


def unknown_layer(layer: Any) -> InputError:
    """Return the error for a layer that has no row here, with what to write in its place."""
    remedy = next((remedy for kinds, remedy in _REMEDIES if isinstance(layer, kinds)), _REMEDY)
    kind = type(layer).__name__
    return InputError(f"quantize_aware has no int8 form of a {kind}; got the layer {layer.name}: {remedy}")


def _is_identity(layer: Any) -> bool:
    return isinstance(layer, _MEAN) and bool(layer.keepdims) and layer.input.shape[1:3] == (1, 1)  # pyright: ignore[reportAttributeAccessIssue]


def _is_one_operation(layer: Any) -> bool:
    """Return True for an ADD or a MUL of one number, whose int8 constant is exact."""
    if not isinstance(layer, layers.Rescaling):
        return False
    scale, offset = np.unique(layer.scale), np.unique(layer.offset)
    return len(scale) == len(offset) == 1 and (scale[0] == 1.0 or offset[0] == 0.0)


def _unfolded(layer: Any) -> Fold:
    """Return the weights of a layer that nothing is folded into."""
    return Fold(np.array(layer.kernel), np.array(layer.bias) if layer.use_bias else None)
