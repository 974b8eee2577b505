"""Quantization-aware training by tensorflow-model-optimization.

In: a model and calibration images. Out: a tf_keras model that rounds to 8 bits, and after training its int8 file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from keras_se.errors import InputError
from keras_se.export.quantization.calibration import check_calibration
from keras_se.export.quantization.image_range import check_range
from keras_se.export.quantization.observers import with_zero
from keras_se.export.tflite.model import TFLiteModel
from keras_se.export.tfmot.legacy_keras import tf_keras, to_tf_keras
from keras_se.export.tfmot.package import tfmot
from keras_se.optional_packages import import_extra
from keras_se.preprocessing import Origin, Preprocessing, find_preprocessing

_quantization = tfmot.quantization.keras
_quant_ops: Any = import_extra("tensorflow_model_optimization.python.core.quantization.keras.quant_ops", "tfmot")

_SCHEMES = {
    "": _quantization.default_8bit.Default8BitQuantizeScheme,
    "sparsity": _quantization.collab_opts.Default8BitPrunePreserveQuantizeScheme,
    "clusters": lambda: tfmot.experimental.combine.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=False),
    "sparsity and clusters": tfmot.experimental.combine.Default8BitClusterPreserveQuantizeScheme,
}
PRESERVED = tuple(_SCHEMES)
"""Properties of a pruned or clustered network that quantization-aware training can keep."""

# By the kernels of TensorFlow Lite, whatever the values are: scale 1/256 from zero, and 1/128 around it.
_FIXED = {"sigmoid": (0.0, 255 / 256), "softmax": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}

# Layers that give on what they take, at the scale that it has.
_PASSED_ON = ("Dropout", "Flatten", "GlobalMaxPooling2D", "MaxPooling2D", "Permute", "Reshape", "ZeroPadding2D")

_KERNELS = {"Conv2D": "kernel", "DepthwiseConv2D": "depthwise_kernel", "Dense": "kernel"}


def quantize_aware_tfmot(
    model: Any, calibration: np.ndarray, *, preserve: str = "", input_range: tuple[float, float] | None = None
) -> Any:
    """Round a model's weights and activations to 8 bits as an int8 file does, to train it further.

    tfmot's own start, ranges of ±6 that follow the data by 0.1 % a step, would take a thousand steps to find them.

    Args:
        model: a Keras 3 model, functional or sequential, channels_last; or a tf_keras model of `to_tf_keras`, pruned
            or clustered and stripped.
        calibration: float `(n, height, width, channels)`, as the network sees them: each activation's range starts at
            its extremes over them.
        preserve: what training must leave as it is: one of `PRESERVED`.
        input_range: the range of every image that there could be, where the input's own starts; None for that of the
            model's preprocessing, 0..1 for a tf_keras model.
    Returns:
        A `tf_keras.Model` for `compile` and `fit`; `copy_weights_back` and `to_int8_tflite` take it when trained. Build
        it under `strategy.scope()` to train it under tf.distribute.
    Raises:
        InputError: the calibration images are unfit or of another range, tf_keras lacks a layer, or `preserve` is
            unknown.
    """
    if preserve not in PRESERVED:
        raise InputError(f"preserve must be one of {', '.join(map(repr, PRESERVED))}; got {preserve!r}")
    network = to_tf_keras(model) if isinstance(model, keras.Model) else model
    plain = tf_keras.models.clone_model(network)  # layers that no other model reads
    plain.set_weights(network.get_weights())
    images = check_calibration(calibration, plain.input_shape[1:])
    height, width = plain.input_shape[1:3]
    if input_range is None and isinstance(model, keras.Model):
        origin = find_preprocessing(model)
    else:
        low, high = input_range or (0.0, 1.0)
        requested = Preprocessing.for_range(height, width, low, high)
        origin = Origin(requested, None if input_range is None else "input_range")
    check_range(images, origin)

    def annotated(layer):
        if isinstance(layer, tf_keras.layers.InputLayer):
            return layer
        fresh = type(layer).from_config(layer.get_config())
        return _quantization.quantize_annotate_layer(fresh, _layout(layer, plain, preserve))

    whole = tf_keras.models.clone_model(plain, clone_function=annotated)
    whole.set_weights(plain.get_weights())
    with _quantization.quantize_scope({"Layout": Layout}):
        quantized = _quantization.quantize_apply(whole, _Scheme(), quantized_layer_name_prefix="")
    calibrate(quantized, images, origin.preprocessing.input_range)
    return quantized


def calibrate(quantized: Any, images: np.ndarray, input_range: tuple[float, float] | None = None) -> None:
    """Set each range of a quantization-aware model: an activation's to its extremes, a kernel's to its own.

    Args:
        images: float32 `(n, height, width, channels)`; they run unrounded.
        input_range: the range of the input itself; the images' own when None.
    """
    extremes: dict[int, tuple[Any, Any, float, float]] = {}
    with _observing(extremes):
        for start in range(0, len(images), 32):
            quantized(images[start : start + 32], training=False)
    for number, (low_variable, high_variable, low, high) in enumerate(extremes.values()):
        if number == 0 and input_range is not None:
            low, high = input_range
        low, high = with_zero(low, high)
        low_variable.assign(low)
        high_variable.assign(high)


def to_int8_tflite(quantized: Any) -> bytes:
    """Convert a quantization-aware model to a .tflite file of integers for one image, by the ranges that it learned.

    Input and output are int8; nothing is calibrated anew.
    """

    @tf.function(input_signature=[tf.TensorSpec((1, *quantized.input_shape[1:]), tf.float32)])
    def infer(image):
        return quantized(image, training=False)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([infer.get_concrete_function()], quantized)  # pyright: ignore[reportFunctionMemberAccess]
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return TFLiteModel(converter.convert()).inlined.content


class Layout(_quantization.QuantizeConfig):
    """Kernel and output of one layer, as far as they are rounded to 8 bits.

    Args:
        kernel: the name of the variable, rounded symmetrically by output channel; None without one.
        output: "" for not at all, "range" for its own range, or an activation whose output has a fixed one.
        preserve: as in `quantize_aware_tfmot`.
    """

    def __init__(self, kernel: str | None = None, output: str = "range", preserve: str = ""):
        self.kernel, self.output, self.preserve = kernel, output, preserve

    def get_weights_and_quantizers(self, layer):
        if self.kernel is None:
            return []
        registry = _SCHEMES[self.preserve]().get_quantize_registry()
        return [(getattr(layer, self.kernel), registry.get_quantize_config(layer).weight_quantizer)]

    def set_quantize_weights(self, layer, quantize_weights):
        for weight in quantize_weights:  # none without a kernel
            setattr(layer, str(self.kernel), weight)

    def get_activations_and_quantizers(self, layer):
        return []

    def set_quantize_activations(self, layer, quantize_activations):
        pass

    def get_output_quantizers(self, layer):
        if self.output in _FIXED:
            return [_FixedRange(*_FIXED[self.output])]
        moving = _quantization.quantizers.MovingAverageQuantizer
        return [moving(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)] if self.output else []

    def get_config(self):
        return {"kernel": self.kernel, "output": self.output, "preserve": self.preserve}


class _Scheme(_quantization.default_8bit.Default8BitQuantizeScheme):
    """Scheme of tfmot for layers that are laid out already: of its transformations only that of the inputs.

    The one for concatenations permutes their inputs when these are not all of one kind (0.8.1).
    """

    def get_layout_transformer(self):
        return _InputsOnly()


class _InputsOnly(_quantization.QuantizeLayoutTransform):
    def apply(self, model, layer_quantize_map):
        inputs = _quantization.default_8bit.default_8bit_transforms.InputLayerQuantize()
        transformer = _quantization.graph_transformations.model_transformer.ModelTransformer
        return transformer(model, [inputs], set(layer_quantize_map), layer_quantize_map).transform()


class _FixedRange(_quantization.quantizers.Quantizer):
    def __init__(self, low: float, high: float):
        self.low, self.high = low, high

    def build(self, tensor_shape, name, layer):
        return {}

    def __call__(self, inputs, training, weights, **kwargs):
        return tf.quantization.fake_quant_with_min_max_args(inputs, self.low, self.high)

    def get_config(self):
        return {"low": self.low, "high": self.high}


def _layout(layer: Any, model: Any, preserve: str) -> Layout:
    kind = type(layer).__name__
    output = "" if kind in _PASSED_ON or _fused(layer, model) else "range"
    if kind == "Activation" and layer.activation.__name__ in _FIXED:
        output = layer.activation.__name__
    return Layout(_KERNELS.get(kind), output, preserve if kind in _KERNELS else "")


def _fused(layer: Any, model: Any) -> bool:
    """Return True for a layer without a scale of its own: it is one with its only reader, or of that one's scale."""
    readers = [node.layer for node in layer.outbound_nodes]
    if len(readers) != 1 or layer.name in model.output_names:
        return False
    kind, reader = type(layer).__name__, readers[0]
    if type(reader).__name__ == "Concatenate":
        return True  # all that is joined has the scale of the whole
    if type(reader).__name__ == "BatchNormalization":
        return kind in _KERNELS
    # A shift could go into the bias before it, but a bias that is one number for all channels the converter of
    # TensorFlow 2.21 scales for the first channel alone.
    shift = kind == "Rescaling" and layer.scale == 1.0
    return _clipping(reader) and (kind in (*_KERNELS, "Add", "BatchNormalization") or shift)


def _clipping(layer: Any) -> bool:
    return type(layer).__name__ == "ReLU" and layer.negative_slope == 0 and layer.max_value in (None, 6)


@contextmanager
def _observing(extremes: dict[int, tuple[Any, Any, float, float]]) -> Iterator[None]:
    """Let a model, called eagerly, note the extremes of its activations and find its kernels' ranges."""

    def note(inputs, min_var, max_var, **_):
        low, high = float(tf.reduce_min(inputs)), float(tf.reduce_max(inputs))
        *_, lowest, highest = extremes.get(id(min_var), (low, high))
        extremes[id(min_var)] = (min_var, max_var, min(low, lowest), max(high, highest))
        return inputs

    last_value = _quant_ops.LastValueQuantize

    def find(inputs, min_var, max_var, **options):
        return last_value(inputs, min_var, max_var, **{**options, "is_training": True})

    with mock.patch.multiple(_quant_ops, MovingAvgQuantize=note, AllValuesQuantize=note, LastValueQuantize=find):
        yield
