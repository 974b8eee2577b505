"""What is quantized to what, and how far each result may be from the float model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras_se.errors import InputError
from keras_se.extras import import_extra


@dataclass(frozen=True)
class Tolerance:
    """How far a file's logits may be from its reference's, over all images together."""

    error: float
    """Greatest difference, over the greatest magnitude of a reference logit."""
    sqnr_db: float
    """Least ratio of the signal's power to the error's, in decibels."""
    agreement: float
    """Least share of the images on which both have the same first class."""
    reason: str
    """Why these bounds."""


@dataclass(frozen=True)
class Recipe:
    """One number format. Names follow the quantizer's grammar: static, weights int 8, activations int 8."""

    name: str
    rules: Callable[[], Any] | None
    """The quantizer's rules for every operation; None keeps the float file."""
    calibrated: bool
    """Whether activation ranges are taken from images."""
    tolerance: Tolerance
    """From the float Keras model."""
    between_engines: Tolerance
    """The same file on two engines, where `Engine.steps` holds them to nothing closer."""


_SUMS = Tolerance(1e-4, 80.0, 0.99, "the same arithmetic, summed in another order")
_DYNAMIC = Tolerance(
    0.2, 20.0, 0.95, "weights rounded to 8 bits and, image by image and engine by engine otherwise, activations"
)

_ROUNDINGS = Tolerance(
    0.2, 20.0, 0.97, "XNNPACK and the reference kernels round otherwise, which adds up over the layers"
)


def _quantizer_recipe(name: str) -> Callable[[], Any]:
    return lambda: getattr(import_extra("litert_quantizer.recipe", "edge"), name)()


def _float16() -> Any:
    manager = import_extra("litert_quantizer.recipe_manager", "edge").RecipeManager()
    qtyping = import_extra("litert_quantizer.qtyping", "edge")
    casting = import_extra("litert_quantizer.algorithm_manager", "edge").AlgorithmName.FLOAT_CASTING
    manager.add_weight_only_config(".*", qtyping.TFLOperationName.ALL_SUPPORTED, num_bits=16, algorithm_key=casting)
    return manager.get_quantization_recipe()


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "float32",
            rules=None,
            calibrated=False,
            tolerance=_SUMS,  # BN folded into the convolutions is one order more
            between_engines=_SUMS,
        ),
        Recipe(
            "float16",
            rules=_float16,
            calibrated=False,
            tolerance=Tolerance(1e-2, 50.0, 0.99, "weights rounded to 11 bits: 2^-11 each, 66 dB a layer"),
            between_engines=_SUMS,
        ),
        Recipe(
            "dynamic_wi8_afp32",
            rules=_quantizer_recipe("dynamic_wi8_afp32"),
            calibrated=False,
            tolerance=_DYNAMIC,
            between_engines=_DYNAMIC,
        ),
        Recipe(
            "static_wi8_ai8",
            rules=_quantizer_recipe("static_wi8_ai8"),
            calibrated=True,
            tolerance=Tolerance(0.2, 20.0, 0.95, "weights and activations rounded to 8 bits, ranges fixed"),
            between_engines=_ROUNDINGS,
        ),
        Recipe(
            "static_wi8_ai16",
            rules=_quantizer_recipe("static_wi8_ai16"),
            calibrated=True,
            tolerance=Tolerance(0.1, 25.0, 0.97, "weights rounded to 8 bits; activations to 16, which cost nothing"),
            between_engines=_ROUNDINGS,
        ),
    )
}


def find_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        InputError: there is none.
    """
    if name not in RECIPES:
        raise InputError(f"recipe must be one of {', '.join(RECIPES)}; got {name!r}")
    return RECIPES[name]
