"""What is quantized to what, and how far each result may be from the float model."""

from dataclasses import dataclass

from keras_se.errors import find_named
from keras_se.export.quantization.op_scopes import first_and_last, se_branch_ops
from keras_se.export.quantization.quantizer_recipes import Rules, float16_weights, uniform, with_higher_precision


@dataclass(frozen=True)
class Tolerance:
    """How far a file's logits may be from its reference's, over all images together.

    Most networks keep it; `keras_se.export.evaluation.parity` says what holds for those whose depth or margins do not
    allow it.
    """

    error: float | None
    """Greatest difference, over the greatest magnitude of a reference logit; None where it is not held."""
    sqnr_db: float
    """Least ratio of the signal's power to the error's, in decibels."""
    agreement: float
    """Least share of images on which both have the same first class; held by the upper end of its 95 % interval."""
    reason: str
    """Why these bounds."""


@dataclass(frozen=True)
class Recipe:
    """One number format. Names follow the quantizer's grammar: static, weights int 8, activations int 8."""

    name: str
    rules: Rules | None
    """The quantizer's rules for the operations of a float file; None keeps that file."""
    calibrated: bool
    """Whether activation ranges are taken from images."""
    tolerance: Tolerance
    """From the float Keras model."""
    between_engines: Tolerance
    """The same file on two engines, where `Engine.max_lsb` holds them to nothing closer."""

    @property
    def rounds_weights(self) -> bool:
        """Whether weights have 8 bits, by the grammar of the name."""
        return "wi8" in self.name.split("_")

    @property
    def rounds_activations(self) -> bool:
        """Whether activations have 8 bits, by the grammar of the name."""
        return "ai8" in self.name.split("_")


_SUMS = Tolerance(1e-4, 80.0, 0.99, "the same arithmetic, summed in another order")
_DYNAMIC = Tolerance(
    0.2, 20.0, 0.95, "weights rounded to 8 bits and, image by image and engine by engine otherwise, activations"
)

_INT8 = Tolerance(0.2, 20.0, 0.95, "weights and activations rounded to 8 bits, ranges fixed")
_MIXED = Tolerance(0.2, 20.0, 0.95, "all but a part of the network rounded to 8 bits, ranges fixed")

_ROUNDINGS = Tolerance(
    0.2, 20.0, 0.97, "XNNPACK and the reference kernels round otherwise, which adds up over the layers"
)

_MIXED_ROUNDINGS = Tolerance(
    0.2, 20.0, 0.95, "as between roundings, and float parts, which tell apart what two engines round to the same"
)


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
            rules=float16_weights,
            calibrated=False,
            tolerance=Tolerance(1e-2, 50.0, 0.99, "weights rounded to 11 bits: 2^-11 each, 66 dB a layer"),
            between_engines=_SUMS,
        ),
        Recipe(
            "dynamic_wi8_afp32",
            rules=uniform("dynamic_wi8_afp32"),
            calibrated=False,
            tolerance=_DYNAMIC,
            between_engines=_DYNAMIC,
        ),
        Recipe(
            "weight_only_wi8_afp32",
            rules=uniform("weight_only_wi8_afp32"),
            calibrated=False,
            tolerance=Tolerance(0.1, 25.0, 0.97, "weights rounded to 8 bits and computed with in float"),
            between_engines=_SUMS,
        ),
        Recipe(
            "static_wi8_ai8",
            rules=uniform("static_wi8_ai8"),
            calibrated=True,
            tolerance=_INT8,
            between_engines=_ROUNDINGS,
        ),
        Recipe(
            "static_wi8_ai16",
            rules=uniform("static_wi8_ai16"),
            calibrated=True,
            tolerance=Tolerance(0.1, 25.0, 0.97, "weights rounded to 8 bits; activations to 16, which cost nothing"),
            between_engines=_ROUNDINGS,
        ),
        Recipe(
            "static_wi8_ai8_se_ai16",
            rules=with_higher_precision("ai16", se_branch_ops),
            calibrated=True,
            tolerance=_MIXED,
            between_engines=_ROUNDINGS,
        ),
        Recipe(
            "static_wi8_ai8_se_fp32",
            rules=with_higher_precision("fp32", se_branch_ops),
            calibrated=True,
            tolerance=_MIXED,
            between_engines=_MIXED_ROUNDINGS,
        ),
        Recipe(
            "static_wi8_ai8_first_last_fp32",
            rules=with_higher_precision("fp32", first_and_last),
            calibrated=True,
            tolerance=_MIXED,
            between_engines=_MIXED_ROUNDINGS,
        ),
    )
}

DEFAULT_RECIPES = ("float32", "float16", "dynamic_wi8_afp32", "static_wi8_ai8", "static_wi8_ai16")
"""What the command line makes unless told otherwise."""

MIXED_PRECISION = Recipe(
    "static_wi8_ai8_mixed",
    rules=None,  # those of the search
    calibrated=True,
    tolerance=_MIXED,
    between_engines=_MIXED_ROUNDINGS,
)
"""Of a file in which other operations than a role's are lifted out of int8."""


def find_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        InputError: there is none.
    """
    return find_named("recipe", RECIPES, name)
