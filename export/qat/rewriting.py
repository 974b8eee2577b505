"""Quantization-aware training on Keras 3.

In: a trained Keras model and calibration images. Out: a model to fine-tune that computes as its int8 file will.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from keras_se.cloning import is_graph
from keras_se.errors import InputError
from keras_se.export.conversion.copies import functional
from keras_se.export.conversion.decompose import Fold
from keras_se.export.conversion.finite_weights import check_weights
from keras_se.export.conversion.lowering import lower_with_folds
from keras_se.export.conversion.matching import effective_config
from keras_se.export.qat.fake_quant import RoundedInput
from keras_se.export.qat.roundings import Rounder, unknown_layer
from keras_se.export.quantization.calibration import check_calibration
from keras_se.export.quantization.image_range import check_range, origin_of
from keras_se.export.quantization.observers import find_method, with_zero
from keras_se.export.targets.registry import find_target
from keras_se.preprocessing import Preprocessing, bring_preprocessing, image_shape
from keras_se.progress import track

ENGINES = ("keras", "tfmot")


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
    Source: arXiv 1712.05877, section 3, for training with simulated rounding.
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
        call_function=Rounder(
            _readers(plain),
            folds,
            ranges,
            _trained(plain, folds) if learned else (),
            RoundedInput(*with_zero(low, high), lowering),
        ),
    )
    return bring_preprocessing(aware, origin.preprocessing)


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
            raise unknown_layer(layer)
        if isinstance(layer, keras.Model) and is_graph(layer):
            _check_layers(layer)


def _trained(model: keras.Model, folds: Mapping[str, Fold]) -> set[str]:
    """Return the names of the layers whose output changes with what training may change."""
    trained: set[str] = set()
    for layer in _computing(model):  # in the order of the graph
        steps = folds[layer.name].steps if layer.name in folds else ()
        own = any(part.trainable_variables for part in (layer, *steps) if isinstance(part, layers.Layer))
        if own or any(tensor._keras_history.operation.name in trained for tensor in keras.tree.flatten(layer.input)):
            trained.add(layer.name)
    return trained


def _readers(model: keras.Model) -> Counter[Any]:
    """Count the operations that read each tensor."""
    return Counter(tensor for layer in _computing(model) for tensor in keras.tree.flatten(layer.input))


def _computing(model: keras.Model) -> list[Any]:
    return [layer for layer in model.operations if not isinstance(layer, layers.InputLayer)]


def _observed(model: keras.Model, images: np.ndarray, method: str) -> dict[str, tuple[float, float]]:
    """Measure the range of each layer's output over the images."""
    watched = _computing(model)
    observers = [find_method(method).observer() for _ in watched]
    every = tf.function(keras.Model(model.input, [layer.output for layer in watched]))
    for image in track(images, f"Calibrating on {len(images)} images", total=len(images)):
        for observer, output in zip(observers, every(image[None]), strict=True):
            observer.add(np.asarray(output, "float32"))
    return {layer.name: with_zero(*observer.range()) for layer, observer in zip(watched, observers, strict=True)}
