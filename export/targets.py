"""What each device takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from keras_se.errors import InputError
from keras_se.export.recipes import Recipe

_FLOAT16 = "it has no kernel that reads float16 weights"
_HYBRID = "it has no kernels for int8 weights with float activations"


@dataclass(frozen=True)
class Target:
    """A device and the runtime on it."""

    name: str
    what: str
    """The device, in words."""
    lift: str = "fp32"
    """What a search lifts an operation to, by default: a name from `keras_se.export.rules.LIFTS`."""
    refuses: Mapping[str, str] = field(default_factory=dict)
    """Recipes whose files it cannot run, each with the reason."""


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("phone_cpu", "LiteRT with XNNPACK on a phone's processor"),
        Target(
            "tflite_micro",
            "TFLite Micro on a microcontroller",
            lift="ai16",
            refuses={"float16": _FLOAT16, "dynamic_wi8_afp32": _HYBRID, "weight_only_wi8_afp32": _HYBRID},
        ),
    )
}


def find_target(name: str, recipes: Sequence[Recipe] = ()) -> Target:
    """The target of that name, which must take the recipes.

    Raises:
        InputError: there is no such target, or it refuses a recipe.
    """
    if name not in TARGETS:
        raise InputError(f"target must be one of {', '.join(TARGETS)}; got {name!r}")
    target = TARGETS[name]
    for recipe in recipes:
        if recipe.name in target.refuses:
            raise InputError(f"{name} cannot run {recipe.name}: {target.refuses[recipe.name]}; leave it out")
    return target
