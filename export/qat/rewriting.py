"""Quantization-aware training on Keras 3: a model that computes as its int8 file will."""

from collections import Counter, defaultdict
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from keras_se.errors import InputError
from keras_se.export.conversion.copies import copied, functional, is_graph
from keras_se.export.conversion.decompose import CONVOLUTIONS, Fold
from keras_se.export.conversion.finite_weights import check_weights
from keras_se.export.conversion.lowering import lower_with_folds
from keras_se.export.conversion.lowering_config import PLAIN, LoweringConfig
from keras_se.export.conversion.matching import effective_config
from keras_se.export.qat.fake_quant import FakeQuantize, RoundedInput, RoundedWeights
from keras_se.export.quantization.calibration import check_calibration
from keras_se.export.quantization.image_range import check_range, origin_of
from keras_se.export.quantization.observers import find_method, with_zero
from keras_se.export.quantization.weight_rounding import rounded_kernel
from keras_se.export.targets.registry import find_target
from keras_se.preprocessing import Preprocessing, bring_preprocessing, image_shape
from keras_se.progress import track

Tensor = Any  # keras.KerasTensor; Keras's layers are not typed

ENGINES = ("keras", "tfmot")

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
"""Of keras.ops, by their class."""

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


def quantize_aware(
    model: keras.Model,
    *,
    calibration: np.ndarray,
    target: str = "phone_cpu",
    engine: str = "keras",
    method: str = "min_max",
    learned: bool = True,
    input_range: tuple[float, float] | None = None,
) -> Any:
    """Rewrite a Keras model into one to fine-tune, whose outputs are those of its int8 file.

    Batch normalisations are folded as they are at inference, their statistics for good; kernels are rounded filter by
    filter, and every activation that the file will hold is rounded to 256 values: SE's gate to 1/256ths, its mean in
    steps of its own range. The parameters stay those of `model`, so that a learning rate means what it means there;
    what is constant or frozen in it stays so. `export` writes it with the ranges that it was trained with.

    Args:
        model: a trained functional model of one image input; it stays as it is.
        calibration: float `(n, height, width, channels)`, as the network sees them; what the ranges start from.
        target: the device whose form of a network it is written in, for integers: a name from
            `keras_se.export.targets.registry.TARGETS`; with "keras". Other targets take the file too, in this form.
        engine: "keras", for all that is said here; or "tfmot" (extra `[tfmot]`), for what
            `keras_se.export.tfmot.quantization.quantize_aware_tfmot` gives, a model of tf_keras.
        method: how the images give the ranges: a name from `keras_se.export.quantization.observers.METHODS`; with
            "keras".
        learned: whether training moves the ranges; with "keras". Those that no trainable weight reaches stay.
        input_range: the least and greatest value of any image, between which pixels are spread; None for the model's
            preprocessing. The new model carries it to its file.
    Returns:
        A functional model with the inputs and outputs of `model`; to be compiled, trained, saved and loaded as any.
    Raises:
        InputError: a layer has no int8 form that is known here, the calibration images do not fit or are of another
            range, the target is unknown, or the engine is unknown or not installed.
    Example:
        >>> aware = quantize_aware(keras.models.load_model("run/model.keras"), calibration=images)
        >>> aware.compile(keras.optimizers.SGD(0.001), "sparse_categorical_crossentropy")
        >>> history = aware.fit(images, labels, verbose=0)
    """
    if engine not in ENGINES:
        raise InputError(f"engine must be one of {', '.join(ENGINES)}; got {engine!r}")
    check_weights(model)
    if engine == "tfmot":
        from keras_se.export.tfmot.quantization import quantize_aware_tfmot  # which needs the extra

        return quantize_aware_tfmot(model, calibration, input_range=input_range)
    images, shape = check_calibration(calibration, image_shape(model)), image_shape(model)[:2]
    origin = origin_of(None if input_range is None else Preprocessing.for_range(*shape, *input_range), model)
    check_range(images, origin)
    _check_layers(model)
    # The factors at a pooled map's border are no int8 constants to the last bit.
    lowering = effective_config(model, replace(find_target(target).integer_config, pooling="fused"))
    plain, folds = lower_with_folds(model, lowering)
    ranges = _observed(plain, images, method)
    low, high = origin.preprocessing.input_range
    aware = keras.models.clone_model(
        plain,
        clone_function=lambda layer: layer,
        call_function=_Rounder(
            _readers(plain),
            folds,
            ranges,
            _trained(plain, folds) if learned else (),
            RoundedInput(*with_zero(low, high), lowering),
        ),
    )
    return bring_preprocessing(aware, origin.preprocessing)


def is_quantization_aware(model: keras.Model) -> bool:
    """Whether it is a model of `quantize_aware`."""
    return any(isinstance(layer, FakeQuantize) for layer in model.layers)


def lowering_of_aware(model: keras.Model) -> LoweringConfig:
    """The form that a model of `quantize_aware` is written in."""
    return next((layer.lowering for layer in model.layers if isinstance(layer, RoundedInput)), PLAIN)


def freeze_ranges(model: keras.Model) -> keras.Model:
    """A model of `quantize_aware` with kernels that are rounded for good and ranges that are constants."""
    new: dict[layers.Layer, layers.Layer] = {}  # a range may stand in two places

    def call(layer: Any, *args: Any, **kwargs: Any) -> Tensor:
        if layer in new:
            return new[layer](*args)
        if isinstance(layer, FakeQuantize):
            low, high = layer.range()
            new[layer] = FakeQuantize(low, high, name=layer.name, dtype=layer.dtype_policy)
            return new[layer](*args)
        if isinstance(layer, RoundedWeights):
            kernel, bias = layer.folded()
            config = {**layer.layer.get_config(), "use_bias": bias is not None}
            new[layer] = type(layer.layer).from_config(config)
            output = new[layer](*args)
            weights = [rounded_kernel(layer.layer, kernel)] + ([] if bias is None else [bias])
            new[layer].set_weights([np.asarray(one) for one in weights])
            return output
        new[layer], output = copied(layer, *args, **kwargs)
        return output

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def _check_layers(model: keras.Model) -> None:
    """Refuse what cannot be copied: code, and a layer that is called twice, of which each call has its ranges."""
    model = functional(model)
    nodes = [node.operation for at_depth in model._nodes_by_depth.values() for node in at_depth]
    for layer, calls in Counter(nodes).items():
        if calls > 1:
            raise InputError(
                f"quantize_aware takes a layer that is called once; got {layer.name}, called {calls} times: "
                "give each call a layer of its own, with a copy of the weights"
            )
        if isinstance(layer, layers.Lambda):
            raise _unknown(layer)
        if isinstance(layer, keras.Model) and is_graph(layer):
            _check_layers(layer)


def _unknown(layer: Any) -> InputError:
    remedy = next((remedy for kinds, remedy in _REMEDIES if isinstance(layer, kinds)), _REMEDY)
    kind = type(layer).__name__
    return InputError(f"quantize_aware has no int8 form of a {kind}; got the layer {layer.name}: {remedy}")


def _trained(model: keras.Model, folds: Mapping[str, Fold]) -> set[str]:
    """The layers whose output changes with what training may change."""
    found: set[str] = set()
    for layer in _computing(model):  # in the order of the graph
        steps = folds[layer.name].steps if layer.name in folds else ()
        own = any(one.trainable_variables for one in (layer, *steps) if isinstance(one, layers.Layer))
        if own or any(one._keras_history.operation.name in found for one in keras.tree.flatten(layer.input)):
            found.add(layer.name)
    return found


def _readers(model: keras.Model) -> Counter[Tensor]:
    """How many operations read a tensor."""
    return Counter(tensor for layer in _computing(model) for tensor in keras.tree.flatten(layer.input))


def _computing(model: keras.Model) -> list[Any]:
    return [layer for layer in model.operations if not isinstance(layer, layers.InputLayer)]


def _observed(model: keras.Model, images: np.ndarray, method: str) -> dict[str, tuple[float, float]]:
    """The range of each layer's output over the images."""
    watched = _computing(model)
    observers = [find_method(method).observer() for _ in watched]
    every = tf.function(keras.Model(model.input, [layer.output for layer in watched]))
    for image in track(images, f"Calibrating on {len(images)} images", total=len(images)):
        for observer, output in zip(observers, every(image[None]), strict=True):
            observer.add(np.asarray(output, "float32"))
    return {layer.name: with_zero(*observer.range()) for layer, observer in zip(watched, observers, strict=True)}


def _is_identity(layer: Any) -> bool:
    return isinstance(layer, _MEAN) and bool(layer.keepdims) and layer.input.shape[1:3] == (1, 1)  # pyright: ignore[reportAttributeAccessIssue]


def _is_one_operation(layer: Any) -> bool:
    """Whether it only adds or only multiplies by one number: an ADD or a MUL, whose int8 constant is exact."""
    if not isinstance(layer, layers.Rescaling):
        return False
    scale, offset = np.unique(layer.scale), np.unique(layer.offset)
    return len(scale) == len(offset) == 1 and (scale[0] == 1.0 or offset[0] == 0.0)


def _unfolded(layer: Any) -> Fold:
    """A layer with the weights that it has."""
    return Fold(np.array(layer.kernel), np.array(layer.bias) if layer.use_bias else None)


@dataclass
class _RoundingFacts:
    """What the rounding of a model knows of a tensor."""

    rounding: FakeQuantize | None = None
    """The one that it, or an operation of the same scale, comes from."""
    exact: Tensor | None = None
    """The tensor before the rounding; of the model's input, the one behind it."""
    fusable: bool = False
    """Not rounded if a ReLU follows, as the file has one operation."""
    pooled: Tensor | None = None
    """An average before its rounding."""


class _Rounder:
    """Writes one layer of a written-out model at a time, and the rounding of its output if the file will hold that."""

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
            parts = [self._joined(*one) for one in zip(*inputs, layer.input, strict=True)]
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
        raise _unknown(layer)

    def _convolved(self, layer: Any, x: Tensor) -> Tensor:
        """A convolution with a rounded kernel, in the parameters that it was folded from."""
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
        """A tensor that nothing has rounded yet is the model's input."""
        if not isinstance(x, keras.KerasTensor):
            return x
        facts = self._facts[x]
        if facts.rounding is not None:
            return x
        if facts.exact is None:
            facts.exact = self._keep(self._entry(x), self._entry)
        return facts.exact

    def _joined(self, x: Tensor, original: Tensor) -> Tensor:
        """A tensor that only a concatenation reads is rounded to the steps of that, and not before."""
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
