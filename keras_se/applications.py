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
SEMobileNet = _constructor("SEMobileNet", "se_mobilenet")
