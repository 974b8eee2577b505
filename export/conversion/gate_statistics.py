"""Mean of SE's gate, from a trained model alone.

In: a layer of a trained model. Out: one number a channel, or None where the model does not tell.
"""

from typing import Any

import keras
import numpy as np
from keras import layers

from keras_se.export.conversion.copies import taken
from keras_se.layers.squeeze_excite import SqueezeExcite

_NODES = 32  # of the quadrature: a ReLU's mean to 1 %


def mean_gate(layer: SqueezeExcite) -> np.ndarray | None:
    """Return the gate `(channels,)` of the mean image.

    Batch normalisation gives each channel a known mean and deviation; taken to be normal, as in arXiv 1906.04721, they
    tell the mean behind the activation. The gate of that mean is near the mean gate, as a squeeze differs little
    between images.

    Returns:
        None where SE squeezes otherwise, or does not follow a normalisation, with or without an activation between.
    """
    activations = []
    before: Any = taken(layer)._keras_history.operation
    while isinstance(before, layers.Activation | layers.ReLU):
        activations.insert(0, before)
        before = taken(before)._keras_history.operation
    if layer.squeeze != "avg" or not isinstance(before, layers.BatchNormalization) or before.axis not in (-1, 3):
        return None
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    values: Any = np.multiply.outer(nodes, before.gamma if before.scale else np.ones(taken(layer).shape[-1]))
    values = values + (before.beta if before.center else 0.0)
    for activation in activations:
        values = activation(values)
    mean = weights @ np.asarray(values, "float64") / weights.sum()
    gate = layer.expand(layer.reduce(mean.reshape(1, 1, 1, -1)))
    return np.asarray(keras.ops.convert_to_numpy(gate), "float64").ravel()
