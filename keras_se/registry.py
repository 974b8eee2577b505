"""Every model by name."""

import dataclasses
import fnmatch
import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras

from keras_se import cifar, inception, inception_resnet_v2, mobilenet, mobilenet_v3, resnet, shufflenet, vgg
from keras_se.arguments import check_arguments
from keras_se.errors import InputError
from keras_se.head import Head
from keras_se.macs import macs
from keras_se.placement import SE
from keras_se.preprocessing import bring_preprocessing
from keras_se.weights import find_weights


class Entry(NamedTuple):
    """A row of a family, the function that builds it, and the model as it was published."""

    build: Callable[..., keras.Model]
    row: tuple
    error: float | None = None
    """Top-1 error in %, single crop at `input_shape`: of ImageNet's validation set, or of CIFAR-10's test set."""
    input_shape: tuple[int, int, int] = (224, 224, 3)
    classes: int = 1000
    se: SE = SE()


def _family(build, rows, errors: dict[str, float], **published) -> dict[str, Entry]:
    return {name: Entry(build, row, errors.get(name), **published) for name, row in rows.items()}


# Errors: arXiv 1709.01507, tables 2 to 5; MobileNetV3's: arXiv 1905.02244, table 3.
_ENTRIES = {
    **_family(
        resnet.resnet,
        resnet.ROWS,
        {
            "se_resnet50": 23.29,
            "se_resnet101": 22.38,
            "se_resnet152": 21.57,
            "se_resnext50_32x4d": 21.10,
            "se_resnext101_32x4d": 20.70,
            "senet154": 18.68,
        },
    ),
    # The parameter count published for SE-MobileNet is without SE's biases; the released networks keep them.
    **_family(mobilenet.mobilenet, mobilenet.ROWS, {"se_mobilenet": 25.3}, se=SE(use_bias=False)),
    **_family(
        mobilenet_v3.mobilenet_v3,
        mobilenet_v3.ROWS,
        {"mobilenet_v3_small": 32.6, "mobilenet_v3_large": 24.8},
        se=mobilenet_v3.PUBLISHED_SE,
    ),
    **_family(shufflenet.shufflenet, shufflenet.ROWS, {"se_shufflenet": 31.0}, se=SE(use_bias=False)),
    **_family(vgg.vgg, vgg.ROWS, {"se_vgg16": 25.22}),
    **_family(inception.inception, inception.ROWS, {"se_bn_inception": 24.23}),
    **_family(
        inception_resnet_v2.inception_resnet_v2,
        inception_resnet_v2.ROWS,
        {"se_inception_resnet_v2": 19.80},
        input_shape=(299, 299, 3),
    ),
    **_family(
        cifar.cifar,
        cifar.ROWS,
        {"se_resnet110_cifar": 5.21, "se_resnet164_cifar": 4.39, "se_wrn16_8": 3.88},
        input_shape=(32, 32, 3),
        classes=10,
    ),
}


def list_models(pattern: str = "*") -> list[str]:
    """The names that match a shell-style pattern, in the order of their families' tables."""
    return [name for name in _ENTRIES if fnmatch.fnmatchcase(name, pattern)]


def find(name: str) -> Entry:
    """The registry's row of that name.

    Raises:
        InputError: there is none.
    """
    if name not in _ENTRIES:
        raise InputError(f"model must be one of {', '.join(_ENTRIES)}; got {name!r}")
    return _ENTRIES[name]


def create_model(
    name: str,
    *,
    input_shape: tuple[int | None, int | None, int] | None = None,
    classes: int | None = None,
    weights: str | Path | None = None,
    include_top: bool = True,
    pooling: str | None = None,
    classifier_activation: str | None = "softmax",
    r: int | None = None,
    placement: str | None = None,
    squeeze: str = "avg",
    gate: str | None = None,
    use_bias: bool | None = None,
    se_stages: Collection[int] | None = None,
    se_divisor: int | None = None,
    **family_arguments,
) -> keras.Model:
    """A model of the registry, channels_last.

    Args:
        name: one of `list_models()`.
        input_shape: `(height, width, channels)`; height and width may be None where the family allows it. None takes
            the size the weights or the model were published for: (224, 224, 3); 299 for Inception-ResNet-v2, 32 for
            CIFAR's networks.
        classes: outputs of the classifier; None for those of the weights, or 1000, or 10 for CIFAR's networks. If the
            weights are for another number, the classifier alone keeps its initialisation, and a warning is logged.
        weights: None for a random initialisation; the path of a Keras `.weights.h5` file of this very model, or of a
            `.safetensors` file with the state dict of a network of timm's; or "timm/NAME@COMMIT", which is fetched
            from the Hugging Face hub. timm's weights bring the family arguments that they need, so that the network
            computes what timm's does, and their preprocessing: `preprocessing_of(model)` has it.
        include_top: whether to end in the classifier.
        pooling: without the top, "avg" or "max" for a `(batch, channels)` output; None keeps the feature map.
        classifier_activation: None for logits.
        r: SE's reduction ratio; None for 16, or 4 for MobileNetV3.
        placement: where SE sits: "standard", "pre", "post", "identity", "3x3", or "none" for the plain network; None
            for "standard", or "3x3" for MobileNetV3.
        squeeze: "avg", "max" or "none".
        gate: SE's gate, any Keras activation; None for "sigmoid", or "hard_sigmoid" for MobileNetV3.
        use_bias: biases in SE's dense layers; None takes what the model was published with: True, but for
            SE-MobileNet and SE-ShuffleNet.
        se_stages: the stages that have SE; None for all. ResNets count them as the paper does, 2 to 5.
        se_divisor: SE's hidden units are rounded to a multiple of it; None rounds channels / r down, or to a multiple
            of 8 for MobileNetV3.
        **family_arguments: ResNet, ResNeXt, SENet: `stride_in`, `padding`, `stem_pool`, `activation`,
            `last_activation`; MobileNet: `alpha`, `activation`; MobileNetV3: `alpha`, `padding`, `epsilon`, `dropout`;
            VGG: `dropout`; Inception-ResNet-v2: `modules`. Their families' functions say what they are.
    Input of the model: `(batch, height, width, channels)`; its networks see pixels scaled to 0..1, or as the
        preprocessing of their weights has it.
    Output: `(batch, classes)` with the top, `(batch, channels)` with pooling, else `(batch, h, w, channels)`.
    Raises:
        ValueError: a name or value is unknown, with what is allowed.
        TypeError: the family has no such argument, with those that it has.
    Source: arXiv 1709.01507; each family's file cites its own.
    """
    entry = find(name)
    check_model_arguments(
        name,
        {
            "weights": weights,
            "include_top": include_top,
            "pooling": pooling,
            "classifier_activation": classifier_activation,
            "r": r,
            "placement": placement,
            "squeeze": squeeze,
            "gate": gate,
            "use_bias": use_bias,
            "se_stages": se_stages,
            "se_divisor": se_divisor,
            **family_arguments,
        },
    )
    if se_divisor is not None:
        family_arguments["se_divisor"] = se_divisor
    start = find_weights(name, weights, family_arguments)
    if input_shape is None:
        input_shape = entry.input_shape if start.preprocessing is None else (*start.preprocessing.size, 3)
    if classes is None:
        classes = start.classes or entry.classes
    if len(input_shape) != 3:
        raise ValueError(f"input_shape must be (height, width, channels); got {tuple(input_shape)}")
    height, width, channels = input_shape
    if height in (1, 3) and all(side is not None and side > 4 for side in (width, channels)):
        raise ValueError(
            f"input_shape must be (height, width, channels), channels last; got {tuple(input_shape)}: pass "
            f"({width}, {channels}, {height})"
        )
    arguments = {**start.arguments, **family_arguments}
    asked = {
        "placement": placement,
        "r": r,
        "gate": gate,
        "use_bias": use_bias,
        "divisor": arguments.pop("se_divisor", None),
    }
    given = {field: value for field, value in asked.items() if value is not None}
    model = entry.build(
        entry.row,
        name=name,
        input_shape=tuple(input_shape),
        se=dataclasses.replace(entry.se, squeeze=squeeze, stages=se_stages, **given),
        head=Head(classes, include_top, pooling, classifier_activation),
        **arguments,
    )
    start.load(model, entry.row)
    if start.preprocessing is not None:
        return bring_preprocessing(model, start.preprocessing)
    return model


_LARGEST_ALPHA = 10
"""Of the width multiplier: a hundred times the parameters of the published network."""


def check_model_arguments(name: str, arguments: Mapping[str, Any], *, without: Collection[str] = ()) -> None:
    """Refuse arguments of `create_model` that a model has not, and values of another type than theirs.

    Args:
        without: names that are not the caller's to give.
    Raises:
        InputError: there is no such model.
        TypeError: it has no such argument, with those that it has.
        ValueError: a value is of another type, or a width that no machine holds.
    """
    check_arguments(arguments, create_model, find(name).build, without={"name", "se", "head", *without})
    if arguments.get("alpha", 1.0) > _LARGEST_ALPHA:
        raise ValueError(
            f"alpha must be a number above 0 and at most {_LARGEST_ALPHA}; got alpha={arguments['alpha']!r}"
        )


def size_of(name: str) -> tuple[int, int]:
    """Trainable parameters, and multiply-accumulates of one image, of a model as it was published.

    Source: the model's graph, built without values for its weights.
    """
    with keras.StatelessScope(initialize_variables=False):
        model = create_model(name)
        return sum(math.prod(variable.shape) for variable in model.trainable_variables), macs(model)
