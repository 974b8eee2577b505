"""Refusal of models whose numbers no file can hold, by the name of the layer."""

import keras
import numpy as np

from keras_se.errors import InputError


def check_weights(model: keras.Model) -> None:
    """Refuse a model with a weight that is not finite, or with a variance whose root is none.

    Native converters and kernels end the process on some of them, and write worthless files of others.

    Raises:
        InputError: there is one; the message names its layer.
    """
    for layer in model._flatten_layers(include_self=False):  # pyright: ignore[reportAttributeAccessIssue]
        for variable in layer._trainable_variables + layer._non_trainable_variables:
            values = np.asarray(keras.ops.convert_to_numpy(variable))
            if np.issubdtype(values.dtype, np.number) and not np.isfinite(values.astype("float32")).all():
                wrong = values[~np.isfinite(values.astype("float32"))].flat[0]
                raise InputError(
                    f"weights must be finite; {variable.name} of the layer {layer.name} holds {wrong}: "
                    "go back to a checkpoint from before the loss was NaN, and train at a lower rate"
                )
        if isinstance(layer, keras.layers.BatchNormalization) and layer.built:
            least = float(np.min(layer.moving_variance))
            if least + layer.epsilon <= 0:
                raise InputError(
                    f"a moving variance must be at least 0; the layer {layer.name} holds {least:g}: "
                    "load the weights again from where they are right"
                )
