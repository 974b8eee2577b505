"""Layers made again from their configuration, and models that can be because their layers are known."""

from typing import Any

import keras

from keras_se.errors import InputError


def is_graph(layer: Any) -> bool:
    """Return True for a functional or sequential model, whose layers are known.

    One of a class of its own is so too if it computes as a functional one: the class has no `call`, as KerasHub's.
    """
    if isinstance(layer, keras.Sequential):
        return True
    functional = next((kind for kind in type(layer).__mro__ if kind.__name__ == "Functional"), None)
    return functional is not None and type(layer).call is functional.call


def made_again(layer: Any, **changes: Any) -> Any:
    """Make a new layer, or operation, of the same class and configuration, with the changes.

    Raises:
        InputError: it is of a class that does not say how it was made.
    """
    try:
        return type(layer).from_config({**layer.get_config(), **changes})
    except (TypeError, ValueError, NotImplementedError) as error:
        reason = " ".join(str(error).split()).partition(". ")[0][:200]
        raise InputError(
            f"the layer {layer.name}, a {type(layer).__name__}, must be able to be made again from its get_config; "
            f"Keras says: {reason}"
        ) from None
