"""Refusal of models whose names no file can hold."""

import re

import keras

from keras_se.errors import InputError

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
"""Pattern of what can begin a file's name on every system, and an identifier in C++."""
_LAYER = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.-]*")
"""Pattern of a scope's name in TensorFlow."""


def check_names(model: keras.Model) -> None:
    """Refuse a model that TensorFlow cannot trace, or whose files would be hidden, or nowhere, by its name.

    Raises:
        InputError: the name of the model or of a layer has other characters than letters, digits, dots, hyphens and
            underscores, or is empty or too long.
    """
    if not _MODEL.fullmatch(model.name):
        raise InputError(
            "a model's name must be 1 to 100 letters from A to Z, digits, dots, hyphens and underscores, with a letter "
            f"or digit first; got {model.name!r:.120}; set model.name, and save it again"
        )
    for layer in model._flatten_layers(include_self=False):  # pyright: ignore[reportAttributeAccessIssue]
        if not _LAYER.fullmatch(layer.name):
            raise InputError(
                "a layer's name must be of letters from A to Z, digits, dots, hyphens and underscores; got "
                f"{layer.name!r:.120}; set the layer's name, and save the model again"
            )
