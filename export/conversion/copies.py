"""Copies of layers and models, and the questions that say which can be copied.

In: a layer or a model of Keras. Out: a new one of the same configuration and weights, which shares no variable with it.
"""

from collections.abc import Mapping
from typing import Any

import keras
from keras import layers

from keras_se.cloning import made_again
from keras_se.errors import InputError
from keras_se.export.conversion.tensor_facts import Tensor


def copied(layer: Any, *args: Any, **kwargs: Any) -> tuple[Any, Tensor]:
    """Call a copy of a layer with the same weights, or of an operation; return the copy and its output.

    Raises:
        InputError: as of `fresh`.
    """
    return _with_weights(layer, fresh(layer), args, kwargs)


def reconfigured(layer: Any, kind: type, config: Mapping[str, Any], *args: Any, **kwargs: Any) -> tuple[Any, Tensor]:
    """Call a layer of another kind and configuration with the weights of `layer`; return it and its output."""
    new: Any = kind.from_config(dict(config))  # pyright: ignore[reportAttributeAccessIssue]
    return _with_weights(layer, new, args, kwargs)


def fresh(layer: Any, **changes: Any) -> Any:
    """Make a new layer, or operation, of the same class and configuration, with the changes.

    Raises:
        InputError: Keras cannot make it: it is a Lambda, whose function no configuration holds, or of a class that does
            not say how it was made.
    """
    if isinstance(layer, layers.Lambda):
        raise InputError(
            f"the layer {layer.name} is a Lambda, and its Python function cannot be written in another form; write it "
            "in Keras's layers, or as a layer of your own class with get_config"
        )
    return made_again(layer, **changes)


def _with_weights(layer: Any, new: Any, args: Any, kwargs: Any) -> tuple[Any, Tensor]:
    output = new(*args, **kwargs)
    if isinstance(layer, layers.Layer):
        new.set_weights(layer.get_weights())
    if isinstance(layer, layers.Normalization):
        new.finalize_state()  # it computes with what it once made of its weights
    return new, output


def is_known(layer: Any) -> bool:
    """Return True for a class of Keras's or of ours; one that somebody derives from these may compute otherwise."""
    return type(layer).__module__.partition(".")[0] in ("keras", "keras_se")


def taken(layer: Any) -> Tensor:
    """Return the first input tensor of a layer of a model."""
    return layer._inbound_nodes[0].input_tensors[0]


def functional(model: keras.Model) -> keras.Model:
    """Return the model as a functional one of its own, not yet compiled."""
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return keras.Model(model.input, model.output, name=model.name)
