"""Every model by name: a table of networks with their published errors, and the functions that look them up.

In: a name and arguments. Out: the model, its size and cost, or the list of names. Long by the table's rows and by the
signature of `create_model`, which documents every argument once for all families.
"""

import dataclasses
import fnmatch
import inspect
import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras

from keras_se.arguments import check_arguments
from keras_se.errors import InputError, find_named
from keras_se.models import (
    cifar,
    efficientnet,
    inception,
    inception_resnet_v2,
    mnasnet,
    mobilenet,
    mobilenet_v3,
    resnet,
    shufflenet,
    vgg,
)
from keras_se.models.blocks import Tensor
from keras_se.models.head import Head
from keras_se.models.mac_count import macs
from keras_se.models.placement import SE
from keras_se.preprocessing import bring_preprocessing
from keras_se.weights.initial_weights import Weights
from keras_se.weights.loading import find_weights
from keras_se.weights.timm_mapping import list_weights


class Entry(NamedTuple):
    """A row of a family, the function that applies it to an image, and the model as it was published."""

    build: Callable[..., Tensor]
    row: tuple
    error: float | None = None
    """Top-1 error in %, single crop at `input_shape`: of ImageNet's validation set, or of CIFAR-10's test set."""
    input_shape: tuple[int, int, int] = (224, 224, 3)
    classes: int = 1000
    se: SE = SE()


def _family(build, rows, errors: dict[str, float], **published) -> dict[str, Entry]:
    return {name: Entry(build, row, errors.get(name), **published) for name, row in rows.items()}


def _efficientnets(rows: Mapping[str, efficientnet.EfficientNet], errors: dict[str, float], se: SE) -> dict[str, Entry]:
    entries = _family(efficientnet.efficientnet, rows, errors, se=se)
    return {name: entry._replace(input_shape=(*[rows[name].resolution] * 2, 3)) for name, entry in entries.items()}


# Errors: arXiv 1709.01507, tables 2 to 5; MobileNetV3's: arXiv 1905.02244, table 3; MnasNet's: arXiv 1807.11626, table
# 1; EfficientNet's: arXiv 1905.11946, table 2; EfficientNet-Lite's: README.md of the authors' folder lite.
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
    **_efficientnets(mnasnet.ROWS, {"mnasnet_a1": 24.8}, efficientnet.PUBLISHED_SE),
    **_efficientnets(
        efficientnet.ROWS,
        {
            "efficientnet_b0": 22.9,
            "efficientnet_b1": 20.9,
            "efficientnet_b2": 19.9,
            "efficientnet_b3": 18.4,
            "efficientnet_b4": 17.1,
            "efficientnet_b5": 16.4,
            "efficientnet_b6": 16.0,
            "efficientnet_b7": 15.7,
        },
        efficientnet.PUBLISHED_SE,
    ),
    **_efficientnets(
        efficientnet.LITE_ROWS,
        {
            "efficientnet_lite0": 24.9,
            "efficientnet_lite1": 23.3,
            "efficientnet_lite2": 22.4,
            "efficientnet_lite3": 20.2,
            "efficientnet_lite4": 18.5,
        },
        dataclasses.replace(efficientnet.PUBLISHED_SE, placement="none"),
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


def list_models(pattern: str = "*", *, pretrained: bool | None = None) -> list[str]:
    """List the names of the models, in the order of their families' tables.

    Args:
        pattern: shell-style, as "se_resnet*"; upper and lower case differ.
        pretrained: True for the models that weights are published for, False for the others, None for all.
    Returns:
        Names as `create_model` takes them.
    Example:
        >>> keras_se.list_models("*mobilenet*")
        ['se_mobilenet', 'mobilenet_v3_small', 'mobilenet_v3_large']
        >>> keras_se.list_models("*mobilenet*", pretrained=True)
        ['mobilenet_v3_small', 'mobilenet_v3_large']
    """
    names = [name for name in _ENTRIES if fnmatch.fnmatchcase(name, pattern)]
    return [name for name in names if pretrained is None or bool(list_weights(name)) == pretrained]


def find(name: str) -> Entry:
    """Return the registry's row of that name.

    Raises:
        InputError: there is none.
    """
    return find_named("model", _ENTRIES, name)


def create_model(
    name: str,
    *,
    input_shape: tuple[int | None, int | None, int] | None = None,
    classes: int | None = None,
    weights: str | Path | None = None,
    include_top: bool = True,
    input_tensor: Tensor | None = None,
    pooling: str | None = None,
    classifier_activation: str | None = "softmax",
    model_name: str | None = None,
    r: int | None = None,
    placement: str | None = None,
    squeeze: str | None = None,
    gate: str | None = None,
    use_bias: bool | None = None,
    se_stages: Collection[int] | None = None,
    se_divisor: int | None = None,
    alpha: float | None = None,
    activation: str | None = None,
    last_activation: str | None = None,
    stride_in: str | None = None,
    padding: str | None = None,
    stem_pool: str | None = None,
    epsilon: float | None = None,
    dropout: float | None = None,
    drop_connect: float | None = None,
    modules: tuple[int, int, int] | None = None,
) -> keras.Model:
    """Build a model of the registry, channels_last.

    Each argument from `r` on is None for what the weights bring, or else for what the model was published with. The
    layers of two models of a family have the same names: to use both in one model, call them as layers.

    Args:
        name: one of `list_models()`.
        input_shape: `(height, width, channels)`, in pixels; height and width may be None where the family allows it.
            None takes that of `input_tensor`, or the size the weights or the model were published for: (224, 224, 3);
            240 to 600 for EfficientNet-B1 to B7, 299 for Inception-ResNet-v2, 32 for CIFAR's networks.
        classes: outputs of the classifier; 1 for two classes by a sigmoid in place of the softmax; None for those of
            the weights, or 1000, or 10 for CIFAR's networks. If the weights are for another number, the classifier
            alone keeps its initialisation, and a warning is logged.
        weights: None for a random initialisation; the folder of a run of ours, or its `model.keras`; a `.weights.h5`
            file of such a model; a `.safetensors` file with the state dict of a network of timm's; "timm/NAME", one of
            `list_weights()`, which is fetched from the Hugging Face hub at its current commit, or "timm/NAME@COMMIT";
            or "imagenet", the most accurate of those for this model. A run's and timm's weights bring the arguments
            that they need and their preprocessing: `preprocessing_of(model)` has it.
        include_top: end in the classifier.
        input_tensor: a Keras tensor `(batch, height, width, channels)` to build the network on, as `keras.Input` gives
            it; the model then begins where that tensor does.
        pooling: without the top, "avg" or "max" for a `(batch, channels)` output; None keeps the feature map.
        classifier_activation: None for logits.
        model_name: name of the Keras model; `name` when None.
        r: SE's reduction ratio; published are 16, and 4 for MobileNetV3, EfficientNet and MnasNet, in which the last
            two take it of the channels that a block is given.
        placement: where SE sits: "standard", "pre", "post", "identity", "3x3", or "none" for the plain network;
            published are "standard", "3x3" for MobileNetV3, EfficientNet and MnasNet, and "none" for EfficientNet-Lite.
        squeeze: "avg", as published, "max" or "none".
        gate: SE's gate, any Keras activation; published are "sigmoid", and "hard_sigmoid" for MobileNetV3.
        use_bias: biases in SE's dense layers; published is True, but for SE-MobileNet and SE-ShuffleNet.
        se_stages: the stages that have SE, as numbers; all as published. ResNets count them as the paper does, 2 to 5.
        se_divisor: round SE's hidden units to a multiple of it; published are channels / r rounded down, and a multiple
            of 8 for MobileNetV3.
        alpha: width multiplier, of MobileNet, MobileNetV3, MnasNet and EfficientNet; above 0.
        activation: any Keras activation, of ResNet, ResNeXt, SENet, MobileNet, MnasNet and EfficientNet.
        last_activation: of a ResNet block's last convolution, before SE; none as published.
        stride_in: the convolution of a ResNet bottleneck that halves the resolution, "1x1" or "3x3".
        padding: "same" or "symmetric", of ResNet, ResNeXt, SENet, MobileNetV3, MnasNet and EfficientNet.
        stem_pool: "ceil" or "padded", of ResNet, ResNeXt and SENet.
        epsilon: of the batch normalisation of MobileNetV3, MnasNet and EfficientNet.
        dropout: share that is dropped, in 0..1, of MobileNetV3, MnasNet, EfficientNet and VGG.
        drop_connect: share of the images that the last block adds nothing to in training, of MnasNet and EfficientNet.
        modules: how many residual modules A, B and C Inception-ResNet-v2 has.
    Returns:
        A model. Input: float `(batch, height, width, channels)`, pixels in 0..1, or as the preprocessing of its weights
        has them. Output: `(batch, classes)` with the top, `(batch, channels)` with pooling, else
        `(batch, h, w, channels)`.
    Raises:
        InputError: there is no such model, or its weights are missing, damaged or of another model.
        ValueError: a value is unknown or out of its range, with what is allowed.
        TypeError: the family has no such argument, with those that it has.
    Example:
        >>> model = keras_se.create_model("se_mobilenet", input_shape=(32, 32, 3), classes=10, alpha=0.25, r=8)
        >>> model.output_shape
        (None, 10)
    Source: arXiv 1709.01507; each family's file cites its own.
    """
    entry = find(name)
    arguments = {
        "r": r,
        "placement": placement,
        "squeeze": squeeze,
        "gate": gate,
        "use_bias": use_bias,
        "se_stages": se_stages,
        "se_divisor": se_divisor,
        "alpha": alpha,
        "activation": activation,
        "last_activation": last_activation,
        "stride_in": stride_in,
        "padding": padding,
        "stem_pool": stem_pool,
        "epsilon": epsilon,
        "dropout": dropout,
        "drop_connect": drop_connect,
        "modules": modules,
    }
    requested = {argument: value for argument, value in arguments.items() if value is not None}
    shared = {"weights": weights, "pooling": pooling, "classifier_activation": classifier_activation}
    check_model_arguments(name, {**shared, "include_top": include_top, **requested})
    start = find_weights(name, weights, requested)
    requested = {**start.arguments, **requested}
    check_model_arguments(name, requested)  # a record may have been changed
    if classes is None:
        classes = start.classes or entry.classes
    image = _image(input_tensor, input_shape, entry, start)
    se = {field: requested.pop(argument) for argument, field in _SE_FIELDS.items() if argument in requested}
    outputs = entry.build(
        entry.row,
        image,
        se=dataclasses.replace(entry.se, **se),
        head=Head(classes, include_top, pooling, classifier_activation),
        **requested,
    )
    sources = keras.utils.get_source_inputs(image)
    model = keras.Model(sources[0] if len(sources) == 1 else sources, outputs, name=model_name or name)
    start.load(model, entry.row)
    if start.preprocessing is None:
        return model
    origin = start.origin and {**start.origin, "arguments": dict(start.arguments)}
    return bring_preprocessing(model, start.preprocessing, origin, image=image)


_SE_FIELDS = {
    "r": "r",
    "placement": "placement",
    "squeeze": "squeeze",
    "gate": "gate",
    "use_bias": "use_bias",
    "se_stages": "stages",
    "se_divisor": "divisor",
}
"""Arguments of `create_model` and the fields of `SE` that they are."""


def _image(tensor: Tensor | None, input_shape: tuple | None, entry: Entry, start: Weights) -> Tensor:
    """Return the tensor that a network is built on: the user's, or an input of its own."""
    if tensor is not None:
        if not isinstance(tensor, keras.KerasTensor) or len(tensor.shape) != 4:
            raise InputError(
                "input_tensor must be a Keras tensor (batch, height, width, channels), as keras.Input gives it; got "
                f"{tensor!r:.200}"
            )
        if input_shape is not None and tuple(input_shape) != tensor.shape[1:]:
            raise InputError(f"input_shape must be that of input_tensor, {tensor.shape[1:]}; got {tuple(input_shape)}")
        return tensor
    if input_shape is None:
        input_shape = entry.input_shape if start.preprocessing is None else (*start.preprocessing.size, 3)
    if len(input_shape) != 3:
        raise ValueError(f"input_shape must be (height, width, channels); got {tuple(input_shape)}")
    height, width, channels = input_shape
    if height in (1, 3) and all(side is not None and side > 4 for side in (width, channels)):
        raise ValueError(
            f"input_shape must be (height, width, channels), channels last; got {tuple(input_shape)}: pass "
            f"({width}, {channels}, {height})"
        )
    return keras.Input(tuple(input_shape), name="image")


_LARGEST_ALPHA = 10
"""Largest width multiplier: a hundred times the parameters of the published network."""


_OF_FAMILIES = (
    "alpha",
    "activation",
    "last_activation",
    "stride_in",
    "padding",
    "stem_pool",
    "epsilon",
    "dropout",
    "drop_connect",
    "modules",
)
"""Arguments of `create_model` that not every family has."""


def check_model_arguments(name: str, arguments: Mapping[str, Any], *, without: Collection[str] = ()) -> None:
    """Refuse arguments of `create_model` that a model has not, and values of another type than theirs.

    Args:
        without: names that are not the caller's to give.
    Raises:
        InputError: there is no such model.
        TypeError: it has no such argument, with those that it has.
        ValueError: a value is of another type, or a width that no machine holds.
    """
    build = find(name).build
    others = set(_OF_FAMILIES) - inspect.signature(build).parameters.keys()
    check_arguments(arguments, build, create_model, without={"name", "se", "head", *others, *without})
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
