"""Each model as a function, in the manner of `keras.applications`."""

from collections.abc import Callable

import keras

from keras_se.registry import create_model


def _constructor(function: str, name: str) -> Callable[..., keras.Model]:
    def construct(**arguments) -> keras.Model:
        return create_model(name, **arguments)

    construct.__name__ = construct.__qualname__ = function
    construct.__doc__ = f"`create_model({name!r}, ...)`, whose arguments, output and errors it shares."
    return construct


SEResNet18 = _constructor("SEResNet18", "se_resnet18")
SEResNet34 = _constructor("SEResNet34", "se_resnet34")
SEResNet50 = _constructor("SEResNet50", "se_resnet50")
SEResNet101 = _constructor("SEResNet101", "se_resnet101")
SEResNet152 = _constructor("SEResNet152", "se_resnet152")
SEResNeXt50_32x4d = _constructor("SEResNeXt50_32x4d", "se_resnext50_32x4d")
SEResNeXt101_32x4d = _constructor("SEResNeXt101_32x4d", "se_resnext101_32x4d")
SEResNeXt101_64x4d = _constructor("SEResNeXt101_64x4d", "se_resnext101_64x4d")
SENet154 = _constructor("SENet154", "senet154")
SEMobileNet = _constructor("SEMobileNet", "se_mobilenet")
MobileNetV3Small = _constructor("MobileNetV3Small", "mobilenet_v3_small")
MobileNetV3Large = _constructor("MobileNetV3Large", "mobilenet_v3_large")
SEShuffleNet = _constructor("SEShuffleNet", "se_shufflenet")
SEVGG16 = _constructor("SEVGG16", "se_vgg16")
SEBNInception = _constructor("SEBNInception", "se_bn_inception")
SEInceptionResNetV2 = _constructor("SEInceptionResNetV2", "se_inception_resnet_v2")
SEResNet20CIFAR = _constructor("SEResNet20CIFAR", "se_resnet20_cifar")
SEResNet56CIFAR = _constructor("SEResNet56CIFAR", "se_resnet56_cifar")
SEResNet110CIFAR = _constructor("SEResNet110CIFAR", "se_resnet110_cifar")
SEResNet164CIFAR = _constructor("SEResNet164CIFAR", "se_resnet164_cifar")
SEWRN16x8 = _constructor("SEWRN16x8", "se_wrn16_8")
