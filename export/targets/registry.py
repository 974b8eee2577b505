"""Registry of the devices: a module of this room each, and one line here.

In: a name and the recipes that it must take. Out: the device's record.
"""

from collections.abc import Sequence
from importlib import import_module

from keras_se.errors import InputError, find_named
from keras_se.export.quantization.recipes import Recipe
from keras_se.export.targets.base import Target

_DEVICES = (
    "phone_cpu",
    "phone_gpu",
    "mediapipe",
    "browser",
    "openvino",
    "edgetpu",
    "tflite_micro",
    "esp32_s3",
    "ethos_u",
    "vendor_npu",
)

TARGETS: dict[str, Target] = {
    target.name: target for device in _DEVICES for target in import_module(f"{__package__}.{device}").TARGETS
}
"""Every target by its name, in the order in which they are listed."""


def find_target(name: str, recipes: Sequence[Recipe] = ()) -> Target:
    """Return the target of that name, which must take the recipes.

    Raises:
        InputError: there is no such target, or it refuses a recipe.
    """
    target = find_named("target", TARGETS, name)
    for recipe in recipes:
        if recipe.name in target.unsupported_recipes:
            raise InputError(
                f"{name} cannot run {recipe.name}: {target.unsupported_recipes[recipe.name]}; leave it out"
            )
    return target
