"""Apps with MediaPipe's `ImageClassifier`.

In: a quantized file that ends in scores. Out: the file with uint8 or float32 pixels in and float scores out, and with
its description inside: normalisation, labels, and how scores become probabilities.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from keras_se.errors import InputError
from keras_se.export.conversion.lowering_config import ONE_PARTITION
from keras_se.export.quantization.recipes import Recipe
from keras_se.export.targets.base import Deliverable, Layers, Objection, QuantizedModel, Target, check_labels
from keras_se.export.targets.xnnpack import XNNPACK_LIMITS
from keras_se.export.tflite.io_types import with_float_input, with_float_output, with_normalisation, with_uint8_input
from keras_se.export.tflite.metadata import with_metadata
from keras_se.export.tflite.model import TFLiteModel
from keras_se.preprocessing import Preprocessing

_PIXEL = 255.0  # the greatest
_SCORES = {"SOFTMAX", "LOGISTIC"}
_FUNCTIONS = {"softmax", "sigmoid"}
"""Functions of Keras that become `_SCORES`."""
_NOTHING = {"Dropout", "FakeQuantize", "GaussianNoise", "SpatialDropout2D"}
"""Layers that are no operation of a file."""


def package(quantized: QuantizedModel, target: Target) -> Deliverable:
    """Return the file with the types, normalisation, labels and score calibration that `ImageClassifier` reads.

    The input is uint8 where an integer input's step is a pixel's, else float32. MediaPipe normalises a float input,
    all channels alike; where they differ, the file normalises pixels in 0..1 itself. It squeezes an image of another
    size to the network's, without the crop and the averaging of `Preprocessing`: apps should do these before.

    Raises:
        InputError: the network does not take three channels, does not give one score of a softmax or sigmoid for each
            class, or has another number of classes than of labels.
    """
    shape = quantized.file.input_shape
    if shape[3] != 3:
        raise InputError(f"{target.name} gives networks three channels, red, green and blue; this one takes {shape[3]}")
    _check_scores(quantized, target)
    mean, std = quantized.preprocessing.mean, quantized.preprocessing.std
    inside = with_float_output(quantized.file)
    if takes_pixels(inside, quantized.preprocessing):
        inside = with_uint8_input(inside)
    else:
        inside = with_float_input(inside)
        if len(set(zip(mean, std, strict=True))) > 1:
            inside = with_normalisation(inside, mean, std)
            mean, std = (0.0,), (1.0,)
    described = {"labels": quantized.labels, "scores": quantized.scores}
    whole = with_metadata(inside, quantized.name, mean=_PIXEL * mean[0], std=_PIXEL * std[0], **described)
    return Deliverable(whole, {} if quantized.scores is None else {"score_calibration": asdict(quantized.scores)})


def _check_scores(quantized: QuantizedModel, target: Target) -> None:
    shape = quantized.file.output_shape
    if len(shape) != 2:
        raise InputError(_no_classifier(target, shape))
    last = quantized.file.output_operation
    if last not in _SCORES:
        raise InputError(f"{_no_scores(target, last or 'its input')}; end it with one, or choose phone_cpu")
    check_labels(quantized, target)


def object_to(layers: Layers, recipe: Recipe, target: Target) -> Iterator[Objection]:
    """Yield what export would refuse of the network's end: it gives no vector of classes, or no scores."""
    name, last = next(pair for pair in reversed(layers) if not _is_nothing(pair[1]))
    kind, shape = type(last).__name__, last._inbound_nodes[0].output_tensors[0].shape
    if len(shape) != 2:
        yield Objection(name, kind, "refused", _no_classifier(target, shape), "choose phone_cpu")
    elif _function(last) not in _FUNCTIONS:
        yield Objection(name, kind, "refused", _no_scores(target, kind), "end it with a softmax, or choose phone_cpu")


def _is_nothing(layer: Any) -> bool:
    identity = type(layer).__name__ == "Activation" and _function(layer) == "linear"
    return identity or type(layer).__name__ in _NOTHING


def _function(layer: Any) -> str:
    """Return the name of the function that a layer or an operation of `keras.ops` ends in."""
    return getattr(getattr(layer, "activation", None), "__name__", type(layer).__name__.lower())


def _no_classifier(target: Target, shape: tuple[int | None, ...]) -> str:
    return f"{target.name} takes classifiers, which give (batch, classes); this network gives {shape}"


def _no_scores(target: Target, last: str | None) -> str:
    return (
        f"{target.name} shows what a classifier gives as scores, of a softmax or sigmoid; this network ends in {last}"
    )


def takes_pixels(file: TFLiteModel, preprocessing: Preprocessing) -> bool:
    """Return True where an int8 input is the pixel less 128, so that the file loses nothing by taking raw pixels."""
    [(scale, zero)], _ = file.io_quantizations
    [kind], _ = file.io_types
    return kind == "INT8" and all(
        np.isclose(scale * _PIXEL * std, 1, rtol=1e-5) and np.isclose(zero + 128, _PIXEL * mean, atol=1e-3)
        for mean, std in zip(preprocessing.mean, preprocessing.std, strict=True)
    )


TARGETS = (
    Target(
        "mediapipe",
        "MediaPipe's ImageClassifier in an app",
        integer_config=ONE_PARTITION,
        limits=XNNPACK_LIMITS,
        object_to=object_to,
        channels=3,
        xnnpack=True,
        calibrates_scores=True,
        one_image=True,
        package=package,
    ),
)
