"""Number formats of a file: what is quantized to what, and how far the result may be from the float model.

A recipe is fields; its name is made from them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from keras_se.errors import find_named
from keras_se.export.quantization.op_scopes import first_and_last, se_branch_ops
from keras_se.export.quantization.quantizer_recipes import Rules, float16_weights, with_higher_precision
from keras_se.export.tflite.model import TFLiteModel


@dataclass(frozen=True)
class Tolerance:
    """Greatest distance of a file's logits from its reference's, over all images together.

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


class Numbers(NamedTuple):
    """A number format."""

    kind: str
    """ "i" for integers, "fp" for floats."""
    bits: int

    def __str__(self) -> str:
        return f"{self.kind}{self.bits}"


INT8, INT16, FLOAT16, FLOAT32 = Numbers("i", 8), Numbers("i", 16), Numbers("fp", 16), Numbers("fp", 32)


@dataclass(frozen=True)
class Override:
    """Some operations of a static recipe, in more bits than the others."""

    scope: str
    """Name of the operations in one word: a part of the recipe's name."""
    activations: Numbers
    """INT16, with weights of 8 bits; or FLOAT32, which leaves the operations in float."""
    operations: Callable[[TFLiteModel], Iterable[str]]
    """Function that lists the operations of a float file, as scopes (see `keras_se.export.quantization.op_scopes`)."""

    @property
    def precision(self) -> str:
        """Name of the format in `PRECISIONS` of `keras_se.export.quantization.quantizer_recipes`."""
        return f"a{self.activations}" if self.activations.kind == "i" else str(self.activations)

    def __str__(self) -> str:
        return f"{self.scope}_{self.precision}"


@dataclass(frozen=True)
class SearchedOverride(Override):
    """Operations that a search has chosen, in the precision that it was given."""

    def __str__(self) -> str:
        return self.scope


@dataclass(frozen=True)
class Recipe:
    """One number format of a whole file.

    Example:
        >>> RECIPES["static_wi8_ai8"].weights, RECIPES["static_wi8_ai8"].activations
        (Numbers(kind='i', bits=8), Numbers(kind='i', bits=8))
    """

    weights: Numbers
    activations: Numbers
    tolerance: Tolerance
    """Tolerance against the float Keras model."""
    between_engines: Tolerance
    """Tolerance between two engines on the same file, where `Engine.max_lsb` holds them to nothing closer."""
    mode: str = ""
    """ "static": ranges of the activations are taken from images; "dynamic": each image gives its own; "weight_only":
    weights are turned into floats before they are used; "" for a file of floats."""
    overrides: tuple[Override, ...] = ()
    """Operations in more bits than the others."""

    @property
    def name(self) -> str:
        """Name in the quantizer's grammar: `static_wi8_ai8` has weights and activations of 8-bit integers."""
        if not self.mode:
            return f"float{self.weights.bits}"
        return "_".join([self.mode, f"w{self.weights}", f"a{self.activations}", *map(str, self.overrides)])

    @property
    def calibrated(self) -> bool:
        """True if activation ranges are taken from images."""
        return self.mode == "static"

    @property
    def rounds_weights(self) -> bool:
        """True if weights have 8 bits."""
        return self.weights == INT8

    @property
    def rounds_activations(self) -> bool:
        """True if activations have 8 bits."""
        return self.activations == INT8

    @property
    def computes_in_float(self) -> bool:
        """True if a part of the file computes in floats."""
        return FLOAT32 in (self.activations, *(override.activations for override in self.overrides))

    @property
    def rules(self) -> Rules | None:
        """Rules of the quantizer for the operations of a float file; None keeps that file."""
        if self.weights == FLOAT32:
            return None
        if self.weights == FLOAT16:
            return float16_weights
        plain = f"{self.mode}_w{self.weights}_a{self.activations}"
        return with_higher_precision(plain, [(each.precision, each.operations) for each in self.overrides])


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
            FLOAT32,
            FLOAT32,
            tolerance=_SUMS,  # BN folded into the convolutions is one order more
            between_engines=_SUMS,
        ),
        Recipe(
            FLOAT16,
            FLOAT32,
            tolerance=Tolerance(1e-2, 50.0, 0.99, "weights rounded to 11 bits: 2^-11 each, 66 dB a layer"),
            between_engines=_SUMS,
        ),
        Recipe(
            INT8,
            FLOAT32,
            mode="dynamic",
            tolerance=_DYNAMIC,
            between_engines=_DYNAMIC,
        ),
        Recipe(
            INT8,
            FLOAT32,
            mode="weight_only",
            tolerance=Tolerance(0.1, 25.0, 0.97, "weights rounded to 8 bits and computed with in float"),
            between_engines=_SUMS,
        ),
        Recipe(
            INT8,
            INT8,
            mode="static",
            tolerance=_INT8,
            between_engines=_ROUNDINGS,
        ),
        Recipe(
            INT8,
            INT16,
            mode="static",
            tolerance=Tolerance(0.1, 25.0, 0.97, "weights rounded to 8 bits; activations to 16, which cost nothing"),
            between_engines=_ROUNDINGS,
        ),
        Recipe(
            INT8,
            INT8,
            mode="static",
            overrides=(Override("se", INT16, se_branch_ops),),
            tolerance=_MIXED,
            between_engines=_ROUNDINGS,
        ),
        Recipe(
            INT8,
            INT8,
            mode="static",
            overrides=(Override("se", FLOAT32, se_branch_ops),),
            tolerance=_MIXED,
            between_engines=_MIXED_ROUNDINGS,
        ),
        Recipe(
            INT8,
            INT8,
            mode="static",
            overrides=(Override("first_last", FLOAT32, first_and_last),),
            tolerance=_MIXED,
            between_engines=_MIXED_ROUNDINGS,
        ),
    )
}

DEFAULT_RECIPES = ("float32", "float16", "dynamic_wi8_afp32", "static_wi8_ai8", "static_wi8_ai16")
"""Recipes that the command line exports by default."""

MIXED_PRECISION = Recipe(
    INT8,
    INT8,
    mode="static",
    overrides=(SearchedOverride("mixed", FLOAT32, lambda float_file: ()),),  # those of the search
    tolerance=_MIXED,
    between_engines=_MIXED_ROUNDINGS,
)
"""Recipe of a file in which other operations than those of a scope are not in int8."""


def find_recipe(name: str) -> Recipe:
    """Return the recipe of that name.

    Raises:
        InputError: there is none.
    """
    return find_named("recipe", RECIPES, name)
