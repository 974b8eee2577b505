"""The Keras model itself, whose logits files are held to."""

from typing import Any

import keras
import numpy as np

from keras_se.export.runtimes.base import Outputs


def run_keras(model: keras.Model, images: np.ndarray) -> Outputs:
    """The model's logits, or its outputs where it ends in no softmax.

    Args:
        images: float32 `(n, height, width, channels)`.
    """
    outputs = _logits_model(model).predict(images, batch_size=32, verbose=0)  # pyright: ignore[reportArgumentType]
    return Outputs(np.asarray(outputs, "float64").reshape(len(images), -1), None)


def _logits_model(model: keras.Model) -> keras.Model:
    """The model without the softmax that gives its output, also where that stands in a model within it."""
    if len(getattr(model, "outputs", None) or ()) != 1:
        return model
    output: Any = model.outputs[0]
    last, taken = _writer(output)
    while _passes_on(last):
        last, taken = _writer(taken)
    if isinstance(last, keras.Model):
        inner = _logits_model(last)
        return model if inner is last else keras.Model(model.inputs, inner(taken))
    if type(last).__name__ == "Softmax" or getattr(last, "activation", None) is keras.activations.softmax:
        if type(last).__name__ in ("Softmax", "Activation"):  # the operation of keras.ops has the layer's name
            return keras.Model(model.inputs, taken)
        linear = type(last).from_config({**last.get_config(), "activation": "linear"})
        logits = keras.Model(model.inputs, linear(taken))
        linear.set_weights(last.get_weights())
        return logits
    return model


def _writer(tensor: Any) -> tuple[Any, Any]:
    """The layer or operation that gives a symbolic tensor, and the first tensor that it takes."""
    history = tensor._keras_history
    taken = history.operation._inbound_nodes[history.node_index].input_tensors
    return history.operation, taken[0] if taken else None


def _passes_on(layer: Any) -> bool:
    """Whether a layer gives at inference what it takes, so that a file has no operation for it."""
    if isinstance(layer, keras.layers.Activation):
        return layer.activation is keras.activations.linear
    noise = (keras.layers.Dropout, keras.layers.GaussianDropout, keras.layers.GaussianNoise)
    return isinstance(layer, (*noise, keras.layers.ActivityRegularization, keras.layers.Identity))
