"""Each model as a function, in the manner of `keras.applications`: its arguments in that order, then ours by keyword.

One signature a family; an argument that is left out has its default, but where the weights bring another. Long, as an
editor completes only what is written out: a network is a signature with its docstring.
"""

import functools
import inspect
from collections.abc import Callable, Collection
from pathlib import Path
from typing import ParamSpec

import keras

from keras_se.models.blocks import Tensor
from keras_se.registry import create_model

P = ParamSpec("P")
Shape = tuple[int | None, int | None, int]


def _function(function: str, model: str, family: Callable[P, keras.Model]) -> Callable[P, keras.Model]:
    """Return the function of a model, with the signature of its family."""
    signature = inspect.signature(family)
    named = signature.parameters["name"].replace(default=model)
    signature = signature.replace(
        parameters=[named if parameter.name == "name" else parameter for parameter in signature.parameters.values()]
    )

    @functools.wraps(family)
    def build(*values: P.args, **arguments: P.kwargs) -> keras.Model:
        try:
            bound = signature.bind(*values, **arguments).arguments
        except TypeError as error:
            raise TypeError(f"{function}() {error}") from None
        return create_model(model, model_name=bound.pop("name", None), **bound)

    build.__name__ = build.__qualname__ = function
    build.__dict__.update(__signature__=signature)
    build.__doc__ = (inspect.getdoc(family) or "").replace("FUNCTION", function)
    return build


def _resnet(
    include_top: bool = True,
    weights: str | Path | None = None,
    input_tensor: Tensor | None = None,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str | None = None,
    *,
    r: int = 16,
    placement: str = "standard",
    squeeze: str = "avg",
    gate: str = "sigmoid",
    use_bias: bool = True,
    se_stages: Collection[int] | None = None,
    se_divisor: int | None = None,
    stride_in: str | None = None,
    padding: str = "same",
    stem_pool: str = "ceil",
    activation: str = "relu",
    last_activation: str | None = None,
) -> keras.Model:
    """Build SE-ResNet, SE-ResNeXt or SENet-154, for images of 224x224 pixels unless told otherwise.

    The arguments, the shapes and the errors are those of `keras_se.create_model`; `name` is the Keras model's.

    Args:
        stride_in: the convolution of a bottleneck that halves the resolution: "1x1" in the ResNets, "3x3" in ResNeXt
            and SENet-154 unless told otherwise.
        padding: of the convolutions with a stride: "same", Keras's, or "symmetric", torch's and Caffe's.
        stem_pool: 3x3 with stride 2: "ceil", the paper's, or "padded", torch's.
        activation: after each convolution but a block's last, and after each addition.
        last_activation: after a block's last convolution, before SE.
    Returns:
        A model: float `(batch, height, width, channels)` to `(batch, classes)`, or without the top to features.
    Raises:
        InputError: the weights are missing, damaged or of another model.
        ValueError: a value is unknown or out of its range.
    Example:
        >>> model = keras_se.FUNCTION(input_shape=(32, 32, 3), classes=10, name="left", r=8)
        >>> model.name, model.output_shape
        ('left', (None, 10))
    Source: arXiv 1709.01507; 1512.03385, table 1; 1611.05431, table 1.
    """
    ...


def _mobilenet(
    include_top: bool = True,
    weights: str | Path | None = None,
    input_tensor: Tensor | None = None,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str | None = None,
    *,
    r: int = 16,
    placement: str = "standard",
    squeeze: str = "avg",
    gate: str = "sigmoid",
    use_bias: bool = False,
    se_stages: Collection[int] | None = None,
    se_divisor: int | None = None,
    alpha: float = 1.0,
    activation: str = "relu",
) -> keras.Model:
    """Build SE-MobileNet, for images of 224x224 pixels unless told otherwise.

    The arguments, the shapes and the errors are those of `keras_se.create_model`; `name` is the Keras model's.

    Args:
        alpha: width multiplier; each layer has `int(alpha * filters)` filters, at least 1.
        activation: after each convolution.
    Returns:
        A model: float `(batch, height, width, channels)` to `(batch, classes)`, or without the top to features.
    Raises:
        InputError: the weights are missing, damaged or of another model.
        ValueError: a value is unknown or out of its range.
    Example:
        >>> image = keras.Input((32, 32, 3))
        >>> model = keras_se.FUNCTION(False, input_tensor=image, pooling="avg", name="left", alpha=0.25)
        >>> model.name, model.output_shape
        ('left', (None, 256))
    Source: arXiv 1704.04861, table 1; 1709.01507, section 5.1.
    """
    ...


def _mobilenet_v3(
    include_top: bool = True,
    weights: str | Path | None = None,
    input_tensor: Tensor | None = None,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str | None = None,
    *,
    r: int = 4,
    placement: str = "3x3",
    squeeze: str = "avg",
    gate: str = "hard_sigmoid",
    use_bias: bool = True,
    se_stages: Collection[int] | None = None,
    se_divisor: int = 8,
    alpha: float = 1.0,
    padding: str = "same",
    epsilon: float = 1e-3,
    dropout: float = 0.2,
) -> keras.Model:
    """Build MobileNetV3, for images of 224x224 pixels unless told otherwise.

    The arguments, the shapes and the errors are those of `keras_se.create_model`; `name` is the Keras model's.

    Args:
        alpha: width multiplier of all layers but the dense ones; filters are rounded to multiples of 8.
        padding: of the convolutions with a stride: "same", Keras's, or "symmetric", torch's.
        epsilon: of the batch normalisation: 1e-3 is the authors', 1e-5 torch's.
        dropout: share that is dropped before the classifier.
    Returns:
        A model: float `(batch, height, width, channels)` to `(batch, classes)`, or without the top to features.
    Raises:
        InputError: the weights are missing, damaged or of another model.
        ValueError: a value is unknown or out of its range.
    Example:
        >>> keras_se.FUNCTION(input_shape=(32, 32, 3), classes=10, alpha=0.25).output_shape
        (None, 10)
    Source: arXiv 1905.02244, tables 1 and 2.
    """
    ...


def _efficientnet(
    include_top: bool = True,
    weights: str | Path | None = None,
    input_tensor: Tensor | None = None,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str | None = None,
    *,
    r: int = 4,
    placement: str | None = None,
    squeeze: str = "avg",
    gate: str = "sigmoid",
    use_bias: bool = True,
    se_stages: Collection[int] | None = None,
    se_divisor: int | None = None,
    alpha: float = 1.0,
    activation: str | None = None,
    padding: str = "same",
    epsilon: float = 1e-3,
    dropout: float | None = None,
    drop_connect: float | None = None,
) -> keras.Model:
    """Build EfficientNet, EfficientNet-Lite or MnasNet-A1, for images of the published size unless told otherwise.

    The arguments, the shapes and the errors are those of `keras_se.create_model`; `name` is the Keras model's. Pixels
    are in 0..1, and not in 0..255 as in `keras.applications`.

    Args:
        placement: "3x3", behind the depthwise convolution, or "none" in EfficientNet-Lite, unless told otherwise.
        alpha: width multiplier beside the network's own; filters are rounded to multiples of 8.
        activation: after each convolution, and in SE: "swish" in EfficientNet, "relu6" in EfficientNet-Lite and "relu"
            in MnasNet unless told otherwise.
        padding: of the convolutions with a stride: "same", Keras's, or "symmetric", torch's.
        epsilon: of the batch normalisation: 1e-3 is the authors', 1e-5 torch's.
        dropout: share that is dropped before the classifier: 0.2 to 0.5, by the size, unless told otherwise.
        drop_connect: share of the images that the last block adds nothing to, in training; blocks before it have it in
            proportion to their place. It is 0.2, and 0 in MnasNet, unless told otherwise.
    Returns:
        A model: float `(batch, height, width, channels)` to `(batch, classes)`, or without the top to features.
    Raises:
        InputError: the weights are missing, damaged or of another model.
        ValueError: a value is unknown or out of its range.
    Example:
        >>> keras_se.FUNCTION(input_shape=(32, 32, 3), classes=10, alpha=0.25).output_shape
        (None, 10)
    Source: arXiv 1905.11946, table 1; 1807.11626, figure 7.
    """
    ...


def _shufflenet(
    include_top: bool = True,
    weights: str | Path | None = None,
    input_tensor: Tensor | None = None,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str | None = None,
    *,
    r: int = 16,
    placement: str = "standard",
    squeeze: str = "avg",
    gate: str = "sigmoid",
    use_bias: bool = False,
    se_stages: Collection[int] | None = None,
    se_divisor: int | None = None,
) -> keras.Model:
    """Build SE-ShuffleNet, for images of 224x224 pixels unless told otherwise.

    The arguments, the shapes and the errors are those of `keras_se.create_model`; `name` is the Keras model's. Height
    and width must be known.

    Returns:
        A model: float `(batch, height, width, channels)` to `(batch, classes)`, or without the top to features.
    Raises:
        InputError: the weights are missing, damaged or of another model.
        ValueError: a value is unknown or out of its range.
    Example:
        >>> keras_se.FUNCTION(input_shape=(32, 32, 3), classes=10).output_shape
        (None, 10)
    Source: arXiv 1707.01083, table 1; 1709.01507, section 5.1.
    """
    ...


def _vgg(
    include_top: bool = True,
    weights: str | Path | None = None,
    input_tensor: Tensor | None = None,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str | None = None,
    *,
    r: int = 16,
    placement: str = "standard",
    squeeze: str = "avg",
    gate: str = "sigmoid",
    use_bias: bool = True,
    se_stages: Collection[int] | None = None,
    se_divisor: int | None = None,
    dropout: float = 0.5,
) -> keras.Model:
    """Build SE-VGG-16 with batch normalisation, for images of 224x224 pixels unless told otherwise.

    The arguments, the shapes and the errors are those of `keras_se.create_model`; `name` is the Keras model's. With
    the top, height and width must be known and at least 32.

    Args:
        dropout: share that is dropped after each hidden dense layer.
    Returns:
        A model: float `(batch, height, width, channels)` to `(batch, classes)`, or without the top to features.
    Raises:
        InputError: the weights are missing, damaged or of another model.
        ValueError: a value is unknown or out of its range.
    Example:
        >>> keras_se.FUNCTION(False, input_shape=(32, 32, 3), pooling="avg").output_shape
        (None, 512)
    Source: arXiv 1409.1556, table 1, column D; 1709.01507, section 3.2.
    """
    ...


def _inception(
    include_top: bool = True,
    weights: str | Path | None = None,
    input_tensor: Tensor | None = None,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str | None = None,
    *,
    r: int = 16,
    placement: str = "standard",
    squeeze: str = "avg",
    gate: str = "sigmoid",
    use_bias: bool = True,
    se_stages: Collection[int] | None = None,
    se_divisor: int | None = None,
) -> keras.Model:
    """Build SE-BN-Inception, for images of 224x224 pixels unless told otherwise.

    The arguments, the shapes and the errors are those of `keras_se.create_model`; `name` is the Keras model's.

    Returns:
        A model: float `(batch, height, width, channels)` to `(batch, classes)`, or without the top to features.
    Raises:
        InputError: the weights are missing, damaged or of another model.
        ValueError: a value is unknown or out of its range.
    Example:
        >>> keras_se.FUNCTION(input_shape=(32, 32, 3), classes=10).output_shape
        (None, 10)
    Source: arXiv 1502.03167, figure 5; 1709.01507, section 3.2.
    """
    ...


def _inception_resnet_v2(
    include_top: bool = True,
    weights: str | Path | None = None,
    input_tensor: Tensor | None = None,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str | None = None,
    *,
    r: int = 16,
    placement: str = "standard",
    squeeze: str = "avg",
    gate: str = "sigmoid",
    use_bias: bool = True,
    se_stages: Collection[int] | None = None,
    se_divisor: int | None = None,
    modules: tuple[int, int, int] = (5, 20, 5),
) -> keras.Model:
    """Build SE-Inception-ResNet-v2, for images of 299x299 pixels unless told otherwise, and of at least 75x75.

    The arguments, the shapes and the errors are those of `keras_se.create_model`; `name` is the Keras model's.

    Args:
        modules: residual modules A, B and C; `(10, 20, 10)` is the network of `keras.applications`.
    Returns:
        A model: float `(batch, height, width, channels)` to `(batch, classes)`, or without the top to features.
    Raises:
        InputError: the weights are missing, damaged or of another model.
        ValueError: a value is unknown or out of its range.
    Example:
        >>> keras_se.FUNCTION(input_shape=(75, 75, 3), classes=10, modules=(1, 1, 1)).output_shape
        (None, 10)
    Source: arXiv 1602.07261; 1709.01507, section 3.2.
    """
    ...


def _cifar(
    include_top: bool = True,
    weights: str | Path | None = None,
    input_tensor: Tensor | None = None,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | None = "softmax",
    name: str | None = None,
    *,
    r: int = 16,
    placement: str = "standard",
    squeeze: str = "avg",
    gate: str = "sigmoid",
    use_bias: bool = True,
    se_stages: Collection[int] | None = None,
    se_divisor: int | None = None,
) -> keras.Model:
    """Build a network for CIFAR-10, of images of 32x32 pixels unless told otherwise.

    The arguments, the shapes and the errors are those of `keras_se.create_model`; `name` is the Keras model's.

    Returns:
        A model: float `(batch, height, width, channels)` to `(batch, classes)`, or without the top to features.
    Raises:
        InputError: the weights are missing, damaged or of another model.
        ValueError: a value is unknown or out of its range.
    Example:
        >>> keras_se.FUNCTION(classes=100).output_shape
        (None, 100)
    Source: arXiv 1512.03385, section 4.2; 1603.05027, section 4; 1605.07146, table 1; 1709.01507, section 5.1.
    """
    ...


SEResNet18 = _function("SEResNet18", "se_resnet18", _resnet)
SEResNet34 = _function("SEResNet34", "se_resnet34", _resnet)
SEResNet50 = _function("SEResNet50", "se_resnet50", _resnet)
SEResNet101 = _function("SEResNet101", "se_resnet101", _resnet)
SEResNet152 = _function("SEResNet152", "se_resnet152", _resnet)
SEResNeXt50_32x4d = _function("SEResNeXt50_32x4d", "se_resnext50_32x4d", _resnet)
SEResNeXt101_32x4d = _function("SEResNeXt101_32x4d", "se_resnext101_32x4d", _resnet)
SEResNeXt101_64x4d = _function("SEResNeXt101_64x4d", "se_resnext101_64x4d", _resnet)
SENet154 = _function("SENet154", "senet154", _resnet)
SEMobileNet = _function("SEMobileNet", "se_mobilenet", _mobilenet)
MobileNetV3Small = _function("MobileNetV3Small", "mobilenet_v3_small", _mobilenet_v3)
MobileNetV3Large = _function("MobileNetV3Large", "mobilenet_v3_large", _mobilenet_v3)
MnasNetA1 = _function("MnasNetA1", "mnasnet_a1", _efficientnet)
EfficientNetB0 = _function("EfficientNetB0", "efficientnet_b0", _efficientnet)
EfficientNetB1 = _function("EfficientNetB1", "efficientnet_b1", _efficientnet)
EfficientNetB2 = _function("EfficientNetB2", "efficientnet_b2", _efficientnet)
EfficientNetB3 = _function("EfficientNetB3", "efficientnet_b3", _efficientnet)
EfficientNetB4 = _function("EfficientNetB4", "efficientnet_b4", _efficientnet)
EfficientNetB5 = _function("EfficientNetB5", "efficientnet_b5", _efficientnet)
EfficientNetB6 = _function("EfficientNetB6", "efficientnet_b6", _efficientnet)
EfficientNetB7 = _function("EfficientNetB7", "efficientnet_b7", _efficientnet)
EfficientNetLite0 = _function("EfficientNetLite0", "efficientnet_lite0", _efficientnet)
EfficientNetLite1 = _function("EfficientNetLite1", "efficientnet_lite1", _efficientnet)
EfficientNetLite2 = _function("EfficientNetLite2", "efficientnet_lite2", _efficientnet)
EfficientNetLite3 = _function("EfficientNetLite3", "efficientnet_lite3", _efficientnet)
EfficientNetLite4 = _function("EfficientNetLite4", "efficientnet_lite4", _efficientnet)
SEShuffleNet = _function("SEShuffleNet", "se_shufflenet", _shufflenet)
SEVGG16 = _function("SEVGG16", "se_vgg16", _vgg)
SEBNInception = _function("SEBNInception", "se_bn_inception", _inception)
SEInceptionResNetV2 = _function("SEInceptionResNetV2", "se_inception_resnet_v2", _inception_resnet_v2)
SEResNet20CIFAR = _function("SEResNet20CIFAR", "se_resnet20_cifar", _cifar)
SEResNet56CIFAR = _function("SEResNet56CIFAR", "se_resnet56_cifar", _cifar)
SEResNet110CIFAR = _function("SEResNet110CIFAR", "se_resnet110_cifar", _cifar)
SEResNet164CIFAR = _function("SEResNet164CIFAR", "se_resnet164_cifar", _cifar)
SEWRN16x8 = _function("SEWRN16x8", "se_wrn16_8", _cifar)
