"""Corrections of what rounding does to a network's means, without training.

In: a float file or a Keras model, and images. Out: the same with corrected biases, or batch statistics.
"""

from typing import Any

import keras
import numpy as np

from keras_se.errors import InputError
from keras_se.export.quantization.quantizer import quantize
from keras_se.export.quantization.recipes import RECIPES
from keras_se.export.quantization.weight_rounding import rounded_kernel
from keras_se.export.sandbox import runner
from keras_se.export.tflite.constants import constants, dequantized
from keras_se.export.tflite.flatbuffer import WEIGHTED
from keras_se.export.tflite.graph_edits import add_constant, drop_untouched
from keras_se.export.tflite.model import TFLiteModel
from keras_se.progress import track


def correct_biases(float_file: TFLiteModel, images: np.ndarray) -> TFLiteModel:
    """Correct the biases of a float file for the shift of each layer's mean output by the rounding of its weights.

    From each bias goes `sum((Wq - W) * E[x])` over the kernel's positions and input channels, with `W` the weights,
    `Wq` the 8-bit ones, and `E[x]` the mean of the layer's input, measured channel by channel. At a padded border,
    where the input is zero, that is too much. Each layer gets a bias tensor of its own, under a name
    that the float file does not have.

    Args:
        images: float32 `(n, height, width, channels)`, as the network sees them.
    Source: Nagel et al. 2019 (arXiv 1906.04721), section 4.2, with measured means.
    """
    rounded = {name: dequantized(*rest) for name, *rest in constants(_rounded(float_file))}
    weights = {name: values for name, values, _ in constants(float_file)}
    model = float_file.editable()
    [graph] = model.subgraphs
    names = [tensor.name.decode() for tensor in graph.tensors]
    layers = [
        (op, kind)
        for op, kind in zip(graph.operators, float_file.operation_names, strict=False)
        if kind in WEIGHTED and names[op.inputs[1]] in weights
    ]
    means = _means(float_file, images, {names[op.inputs[0]] for op, _ in layers})
    for op, kind in layers:
        taken, kernel = names[op.inputs[0]], names[op.inputs[1]]
        shift = _shift(kind, rounded[kernel] - weights[kernel], means[taken])
        old = weights[names[op.inputs[2]]] if op.inputs[2] >= 0 else np.zeros(len(shift))
        name = f"{names[op.outputs[0]]}/corrected_bias"
        op.inputs = np.array([*op.inputs[:2], add_constant(model, name, old - shift)], np.int32)
    drop_untouched(model)
    return TFLiteModel.packed(model)


def _rounded(float_file: TFLiteModel) -> TFLiteModel:
    return quantize(float_file, RECIPES["weight_only_wi8_afp32"])


def _means(float_file: TFLiteModel, images: np.ndarray, names: set[str]) -> dict[str, np.ndarray]:
    """Measure the mean of each channel, which is the last axis, over the images and all other axes."""
    listed = sorted(names)
    means = runner.call(
        "keras_se.export.runtimes.tensors:channel_means",
        by="bias correction",
        file="the float file",
        steps=len(images),
        content=float_file.content,
        images=images,
        names=listed,
    )
    return {name: means[str(number)] for number, name in enumerate(listed)}


def _shift(kind: str, change: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return what a change of the weights adds to the mean of each output channel."""
    if kind == "FULLY_CONNECTED":  # (units, inputs)
        return change @ mean
    summed = change.sum((1, 2))
    if kind == "DEPTHWISE_CONV_2D":  # (1, height, width, channels x multiplier)
        return summed[0] * np.repeat(mean, summed.shape[1] // len(mean))
    groups = len(mean) // summed.shape[1]  # (outputs, height, width, inputs / groups)
    return np.einsum("goi,gi->go", summed.reshape(groups, -1, summed.shape[1]), mean.reshape(groups, -1)).ravel()


def reestimate_batch_norm(model: keras.Model, images: np.ndarray, *, batch_size: int = 64) -> keras.Model:
    """Copy the model with batch normalisation statistics of these images under 8-bit weights.

    Mean and variance of each batch, averaged over the batches, each weighted by its images, with every convolution's
    and dense layer's kernel rounded to 8 bits per output channel; the copy's own kernels are not rounded.

    Args:
        images: float32 `(n, height, width, channels)`, as the network sees them.
    Raises:
        InputError: the model has no batch normalisation, or there are no images.
    Source: Wu and Johnson 2021 (arXiv 2105.07576), section 3, for the average instead of the moving average.
    """
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    layers: list[Any] = [layer for layer in copy.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not layers or not len(images):
        raise InputError(f"there must be batch normalisation and images; got {len(layers)} and {len(images)}")
    twin = keras.models.clone_model(model, clone_function=_of_the_batch)
    twin.set_weights(model.get_weights())
    for layer in twin.layers:
        _round_kernel(layer)
    sums: dict[str, list[Any]] = {layer.name: [0.0, 0.0] for layer in layers}
    for start in track(range(0, len(images), batch_size), "Re-estimating statistics"):
        batch = images[start : start + batch_size]
        twin(batch, training=True)
        for name, totals in sums.items():
            twin_layer: Any = twin.get_layer(name)
            for place, statistic in enumerate((twin_layer.moving_mean, twin_layer.moving_variance)):
                totals[place] = totals[place] + len(batch) / len(images) * np.asarray(statistic)
    for layer in layers:
        layer.moving_mean.assign(sums[layer.name][0])
        layer.moving_variance.assign(sums[layer.name][1])
    return copy


def _of_the_batch(layer: keras.Layer) -> keras.Layer:
    """Copy the layer so that a normalisation keeps nothing of earlier batches and a dropout drops nothing."""
    config = layer.get_config()
    if isinstance(layer, keras.layers.BatchNormalization):
        config = {**config, "momentum": 0.0}
    if isinstance(layer, keras.layers.Dropout):
        config = {**config, "rate": 0.0}
    return type(layer).from_config(config)


def _round_kernel(layer: keras.Layer) -> None:
    for inner in layer._flatten_layers():
        if getattr(inner, "kernel", None) is not None:
            inner.kernel.assign(rounded_kernel(inner))
