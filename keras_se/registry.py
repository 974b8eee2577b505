"""Every model by name."""

import fnmatch
import math
from collections.abc import Callable, Collection
from typing import NamedTuple

import keras

from keras_se import mobilenet, resnet
from keras_se.blocks import SE, Head
from keras_se.errors import InputError
from keras_se.macs import macs


class Entry(NamedTuple):
    """A row of a family and the function that builds it."""

    row: tuple
    build: Callable[..., keras.Model]
    use_bias: bool  # of SE's dense layers, in the model whose size was published


# The released networks keep SE's biases; the parameter count published for SE-MobileNet is without.
_ENTRIES = {
    **{name: Entry(row, resnet.resnet, use_bias=True) for name, row in resnet.ROWS.items()},
    **{name: Entry(row, mobilenet.mobilenet, use_bias=False) for name, row in mobilenet.ROWS.items()},
}


def list_models(pattern: str = "*") -> list[str]:
    """The names that match a shell-style pattern, in the order of their families' tables."""
    return [name for name in _ENTRIES if fnmatch.fnmatchcase(name, pattern)]


def create_model(
    name: str,
    *,
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    classes: int = 1000,
    weights: str | None = None,
    include_top: bool = True,
    pooling: str | None = None,
    classifier_activation: str | None = "softmax",
    r: int = 16,
    placement: str = "standard",
    squeeze: str = "avg",
    gate: str = "sigmoid",
    use_bias: bool | None = None,
    se_stages: Collection[int] | None = None,
    **family_arguments,
) -> keras.Model:
    """A model of the registry, channels_last.

    Args:
        name: one of `list_models()`.
        input_shape: `(height, width, channels)`; height and width may be None.
        classes: outputs of the classifier.
        weights: path of a Keras `.weights.h5` file of this very model, or None for a random initialisation.
        include_top: whether to end in the classifier.
        pooling: without the top, "avg" or "max" for a `(batch, channels)` output; None keeps the feature map.
        classifier_activation: None for logits.
        r: SE's reduction ratio.
        placement: where SE sits: "standard", "pre", "post", "identity", "3x3", or "none" for the plain network.
        squeeze: "avg", "max" or "none".
        gate: SE's gate, any Keras activation.
        use_bias: biases in SE's dense layers; None takes what the model was published with: True, but for
            SE-MobileNet.
        se_stages: the stages that have SE; None for all. ResNets count them as the paper does, 2 to 5.
        **family_arguments: ResNets: `stride_in` ("1x1" or "3x3"), `activation`; MobileNet: `alpha`, `activation`.
    Input of the model: `(batch, height, width, channels)`; its networks see pixels scaled to 0..1.
    Output: `(batch, classes)` with the top, `(batch, channels)` with pooling, else `(batch, h, w, channels)`.
    Raises:
        ValueError: a name or value is unknown, with what is allowed.
        TypeError: the family has no such argument.
    Source: arXiv 1709.01507; each family's file cites its own.
    """
    if name not in _ENTRIES:
        raise InputError(f"model must be one of {', '.join(_ENTRIES)}; got {name!r}")
    if len(input_shape) != 3:
        raise ValueError(f"input_shape must be (height, width, channels); got {tuple(input_shape)}")
    if weights is not None and not str(weights).endswith(".weights.h5"):
        raise ValueError(f"weights must be None or the path of a .weights.h5 file; got {weights!r}")
    entry = _ENTRIES[name]
    biased = entry.use_bias if use_bias is None else use_bias
    model = entry.build(
        entry.row,
        name=name,
        input_shape=tuple(input_shape),
        se=SE(placement, r, squeeze, gate, biased, se_stages),
        head=Head(classes, include_top, pooling, classifier_activation),
        **family_arguments,
    )
    if weights is not None:
        model.load_weights(weights)
    return model


def size_of(name: str) -> tuple[int, int]:
    """Trainable parameters, and multiply-accumulates of one image, of a model as it was published.

    Source: the model's graph, built without values for its weights.
    """
    with keras.StatelessScope(initialize_variables=False):
        model = create_model(name)
        return sum(math.prod(variable.shape) for variable in model.trainable_variables), macs(model)
