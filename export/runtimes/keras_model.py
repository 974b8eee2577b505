"""Keras runtime: the model itself, whose logits files are held to.

In: a Keras model and images. Out: its logits.
"""

import re
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_se.errors import InputError
from keras_se.export.runtimes.base import Outputs

_BATCH = 32
"""Images at a time, at most."""
_REASON = re.compile(r"implementation only supports|currently only supports|only supports|not supported")


def run_keras(model: keras.Model, images: np.ndarray) -> Outputs:
    """Compute the model's logits, or its outputs where it ends in no softmax.

    Args:
        images: float32 `(n, height, width, channels)`.
    Raises:
        InputError: TensorFlow cannot run a layer of the model on this processor.
    """
    logits: Any = _logits_model(model)
    # Batches of one size: Keras traces the network, for seconds, once more for a last one of another size.
    batches = -(-len(images) // _BATCH)
    size = -(-len(images) // batches)
    missing = batches * size - len(images)
    try:
        outputs = logits.predict(np.concatenate([images, images[:missing]]), batch_size=size, verbose=0)
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if _REASON.search(line)), repr(error)[:200])
        raise InputError(
            f"{model.name} must run in Keras on this processor; TensorFlow says: {reason} Change that layer, or take "
            "a processor on which TensorFlow computes with oneDNN"
        ) from None
    return Outputs(np.asarray(outputs, "float64")[: len(images)].reshape(len(images), -1), None)


def _logits_model(model: keras.Model) -> keras.Model:
    """Return the model without its final softmax, also where that stands in a model within it."""
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
    """Return the layer or operation that gives a symbolic tensor, and the first tensor that it takes."""
    history = tensor._keras_history
    taken = history.operation._inbound_nodes[history.node_index].input_tensors
    return history.operation, taken[0] if taken else None


def _passes_on(layer: Any) -> bool:
    """Return True for a layer that changes nothing at inference, so that a file has no operation for it."""
    if isinstance(layer, keras.layers.Activation):
        return layer.activation is keras.activations.linear
    noise = (keras.layers.Dropout, keras.layers.GaussianDropout, keras.layers.GaussianNoise)
    return isinstance(layer, (*noise, keras.layers.ActivityRegularization, keras.layers.Identity))
