"""The devices: each a module of this room, and one line here."""

from collections.abc import Sequence

from keras_se.errors import InputError, find_named
from keras_se.export.quantization.recipes import Recipe
from keras_se.export.targets import (
    browser,
    edgetpu,
    ethos_u,
    mediapipe,
    openvino,
    phone_cpu,
    phone_gpu,
    tflite_micro,
    vendor_npu,
)
from keras_se.export.targets.base import Target

_DEVICES = (
    phone_cpu,
    phone_gpu,
    mediapipe,
    browser,
    openvino,
    edgetpu,
    tflite_micro,
    ethos_u,
    vendor_npu,
)

TARGETS: dict[str, Target] = {target.name: target for device in _DEVICES for target in device.TARGETS}


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
