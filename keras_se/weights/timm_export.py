"""A model of ours as a state dict that timm loads."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_se.atomic_files import replacing
from keras_se.errors import InputError
from keras_se.layers.squeeze_excite import SqueezeExcite
from keras_se.preprocessing import preprocessing_of
from keras_se.registry import create_model, find
from keras_se.weights.state_dict import VECTOR, tensors
from keras_se.weights.timm_mapping import ARCHITECTURES, NAMINGS, Architecture
from keras_se.weights.timm_weights import ARCHITECTURE, PREPROCESSING

# What a layer computes at inference does not depend on these.
_INDIFFERENT = ("initializer", "regularizer", "constraint", "dtype", "trainable", "momentum", "rate", "seed")
_BROUGHT = ("preprocessing", "initial_weights")  # of an input


def save_timm(model: keras.Model, path: str | Path) -> str:
    """Write the weights of `model` as the state dict of the network of timm's that computes the same.

    Most of timm's networks have `padding="symmetric"`, `stem_pool="padded"` and `stride_in="3x3"`, which a model has
    if it was made with timm's weights or with these arguments.

    Args:
        model: of `create_model`, with or without its classifier, whose activation is not in a state dict.
        path: of the `.safetensors` file.
    Returns:
        timm's name of the network: `timm.create_model(name, num_classes=...)` takes the file by
        `safetensors.torch.load_file`; its preprocessing is in the file's metadata.
    Raises:
        InputError: timm has no such network, or the file cannot be written.
    Example:
        >>> model = keras_se.create_model("mobilenet_v3_small", input_shape=(32, 32, 3), classes=10)
        >>> keras_se.save_timm(model, "model.safetensors")
        'tf_mobilenetv3_small_100'
    """
    if Path(path).suffix != ".safetensors":
        raise InputError(f"path must end in .safetensors; got {path}")
    from safetensors.numpy import save_file

    architecture = _architecture(model)
    naming = NAMINGS[ARCHITECTURES[architecture].naming]
    state: dict[str, np.ndarray] = {}
    for tensor in tensors(model, naming.names(find(ARCHITECTURES[architecture].model).row), naming):
        array = np.asarray(keras.ops.convert_to_numpy(tensor.variable), np.float32)
        state[tensor.key] = np.ascontiguousarray(tensor.to_theirs(array))
        if tensor.axes == VECTOR and tensor.key.endswith(".running_var"):
            state[tensor.key.replace("running_var", "num_batches_tracked")] = np.zeros((), np.int64)
    metadata = {"format": "pt", ARCHITECTURE: architecture}
    if None not in model.input_shape[1:3]:
        metadata[PREPROCESSING] = json.dumps(preprocessing_of(model).to_dict())
    with replacing(path) as temporary:
        save_file(state, temporary, metadata)
    return architecture


def _architecture(model: keras.Model) -> str:
    candidates = {name: row for name, row in ARCHITECTURES.items() if _may_be(model, row)}
    if not candidates:
        known = dict.fromkeys(row.model for row in ARCHITECTURES.values())
        raise InputError(f"timm has these of our models: {', '.join(known)}; got {model.name!r}")
    ours = _function(model)
    for name, row in candidates.items():
        if _function(_like(model, row)) == ours:
            return name
    ways = "; or ".join(
        ", ".join(f"{key}={value!r}" for key, value in row.arguments.items()) for row in candidates.values()
    )
    raise InputError(f"no network of timm's computes what this {model.name} does; make it with {ways}")


def _may_be(model: keras.Model, architecture: Architecture) -> bool:
    """Return True where a model has the blocks of a network of timm's; its own name is the user's."""
    names = NAMINGS[architecture.naming].names(find(architecture.model).row)
    weighted = {layer.name for layer in model.layers if layer.weights}
    blocks = {name for name in names if name.endswith(("_1_conv", "_project_conv"))}
    return blocks <= weighted <= names.keys()


def _like(model: keras.Model, architecture: Architecture) -> keras.Model:
    names = [layer.name for layer in model.layers]
    pooling = next((kind for kind in ("avg", "max") if f"{kind}_pool" in names), None)
    with keras.StatelessScope(initialize_variables=False):
        return create_model(
            architecture.model,
            input_shape=model.input_shape[1:],
            classes=model.get_layer("logits").units if "logits" in names else None,
            include_top="logits" in names,
            pooling=pooling,
            **architecture.arguments,
        )


def _function(model) -> list[tuple[Any, ...]]:
    """Return what each layer computes, and from which others."""
    return [
        (type(layer).__name__.replace("ImageInput", "InputLayer"), layer.name, _settings(layer), _sources(layer))
        for layer in model.layers
        if layer.name != "predictions"
    ]


def _settings(layer) -> dict[str, Any]:
    settings = {key: value for key, value in layer.get_config().items() if not key.endswith((*_INDIFFERENT, *_BROUGHT))}
    if isinstance(layer, SqueezeExcite):  # of which r is one way to say it
        return {**settings, "r": None, "hidden": layer.reduce.filters}
    return settings


def _sources(layer) -> list[str]:
    inputs = layer.input if isinstance(layer.input, list) else [layer.input]
    return [tensor._keras_history.operation.name for tensor in inputs]
