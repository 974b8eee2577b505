"""A device as a record: what it takes, what it cannot run, and how a quantized file becomes the file for it.

In: a quantized .tflite file with what is known of it. Out: the device's file, and what belongs beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from keras_se.errors import InputError
from keras_se.export.conversion.lowering_config import DECOMPOSED, PLAIN, LoweringConfig
from keras_se.export.quantization.recipes import DEFAULT_RECIPES, INT16, RECIPES, Recipe
from keras_se.export.tflite.model import TFLiteModel
from keras_se.export.tflite.score_calibration import ScoreCalibration
from keras_se.preprocessing import Preprocessing

DILATIONS, DIMENSIONS, INNER_SOFTMAX, LAST_MEAN, NO_OPERATION, RESIZED, SOFTMAXES, VECTORS, WIDE_POOL = USES = (
    "a dilation that differs by direction",
    "a tensor of more than 4 dimensions",
    "SOFTMAX within a network",
    "MEAN over the last axes",
    "no operation of the schema",
    "a resizing by this factor",
    "SOFTMAX at each position",
    "FULLY_CONNECTED on more than one vector",
    "AVERAGE_POOL_2D of more than 8 padded positions",
)
"""Uses of an operation that some device refuses, where it takes the operation otherwise."""

FLOAT_RECIPES = tuple(name for name, recipe in RECIPES.items() if recipe.computes_in_float)
"""Recipes whose files compute in floats somewhere."""


class QuantizedModel(NamedTuple):
    """A quantized file on its way to a target, and what is known of it."""

    file: TFLiteModel
    recipe: Recipe
    name: str
    """Name of the model: a stem for file names."""
    preprocessing: Preprocessing
    labels: tuple[str, ...] | None
    """Names of the classes, where they are known."""
    scores: ScoreCalibration | None = None
    """Calibration that turns the outputs into probabilities, where it is known."""
    io: str | None = None
    """Type of the file's input and output that was asked for; None for the target's own."""


class Deliverable(NamedTuple):
    """Files that a target's tool makes of a quantized file."""

    file: TFLiteModel
    """File in the .tflite format."""
    manifest: Mapping[str, Any] = MappingProxyType({})
    """Fields that the manifest gets."""
    files: Mapping[str, bytes] = MappingProxyType({})
    """Further files, by what follows `NAME.RECIPE` in theirs."""


class AllBut(frozenset):
    """All operations but these; uses of an operation are not in it."""

    def __contains__(self, name: object) -> bool:
        return name not in USES and not super().__contains__(name)


@dataclass(frozen=True)
class Limit:
    """Operations, or uses of one, that a device does not run, or runs slowly.

    Each was seen: in the tool's own refusal, or as more than one partition of XNNPACK's.
    """

    operations: Container[str]
    """Names of the schema, or of `USES`."""
    reason: str
    """Around the operations' names, which stand for `{}`."""
    holds: Callable[[Recipe], bool] = lambda recipe: True
    """Number formats that it holds for."""
    verdict: str = "refused"
    """ "refused" or "slow"."""


class Objection(NamedTuple):
    """Reason of a device to refuse a layer or run it slowly, where its limits by operation do not say so."""

    layer: str
    """Its name; within another model, after that model's name and a slash."""
    kind: str
    """Its class."""
    verdict: str
    """ "refused" or "slow"."""
    reason: str
    instead: str
    """Replacement to write in the model."""


Layers = Sequence[tuple[str, Any]]
"""Layers and operations of a Keras model in the order in which they run, each behind its name."""


@dataclass(frozen=True)
class Target:
    """A device and the runtime on it."""

    name: str
    what: str
    """Description of the device."""
    higher_precision: str = "fp32"
    """Default precision that a search lifts an operation to: a name from PRECISIONS of
    `keras_se.export.quantization.quantizer_recipes`."""
    unsupported_recipes: Mapping[str, str] = field(default_factory=dict)
    """Recipes whose files it cannot run, each with the reason."""
    float_config: LoweringConfig = PLAIN
    """Lowering of a network for recipes that compute in float."""
    integer_config: LoweringConfig = DECOMPOSED
    """Lowering of a network for recipes that compute in integers."""
    limits: tuple[Limit, ...] = ()
    """Operations that it does not run, beside those of `FORMAT_LIMITS`; the first that is met tells."""
    object_to: Callable[[Layers, Recipe, Target], Iterator[Objection]] | None = None
    """Objections to a network in a recipe that `limits` cannot express, as to its last layer; None for no more."""
    channels: int | None = None
    """Channels of the one image that its apps give; None for any."""
    arena: int | None = None
    """Bytes of activations that its tool is tried with at most; None for any."""
    xnnpack: bool = False
    """LiteRT runs its files there, with XNNPACK."""
    computes_in_float16: bool = False
    """It computes float32 files in float16 unless an app forbids it."""
    calibrates_scores: bool = False
    """Its apps apply a score calibration that the file brings."""
    io: tuple[str, ...] = ()
    """Types that `package` can give a file's input and output on request."""
    one_image: bool = False
    """Its files take one image at a time."""
    package: Callable[[QuantizedModel, Target], Deliverable] | None = None
    """Compiler, metadata, types of input and output; None where the device takes the file as it is. It raises
    InputError where the device refuses."""
    check_tool: Callable[[Target], None] | None = None
    """Raises InputError where what `package` needs is not installed; None where it needs nothing more."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Settings of this target for `package`."""

    @property
    def default_recipes(self) -> tuple[str, ...]:
        """Return the recipes that the command line makes unless told otherwise."""
        return tuple(name for name in DEFAULT_RECIPES if name not in self.unsupported_recipes)

    def lowering(self, recipe: Recipe) -> LoweringConfig:
        """Return how a network is written for a recipe."""
        return self.integer_config if recipe.calibrated else self.float_config

    def check_batch(self, batch: int) -> None:
        """Refuse more images at a time than the device takes.

        Raises:
            InputError: it takes one.
        """
        if self.one_image and batch != 1:
            raise InputError(f"{self.name} takes one image at a time; got a batch of {batch}; export with batch 1")

    def package_for_target(self, quantized: QuantizedModel) -> Deliverable:
        """Return the file as the device takes it.

        Raises:
            InputError: the target's tool is missing, or it refuses the file.
        """
        self.check_batch(quantized.file.input_shape[0])
        return Deliverable(quantized.file) if self.package is None else self.package(quantized, self)


FORMAT_LIMITS = (
    Limit({NO_OPERATION}, "it becomes {}"),
    Limit({"WHILE"}, "a static recipe takes no loop", lambda recipe: recipe.calibrated),
)
"""Limits of the file format and of the quantizer, for every device."""

NO_FLOATS = Limit(
    frozenset(
        {
            *("ABS", "ELU", "EXP", "GREATER", "LEAKY_RELU", "LOG", "LOG_SOFTMAX", "MINIMUM", "NEG", "PRELU"),
            *("REDUCE_MAX", "REVERSE_V2", "SELECT", "SELECT_V2", "SQUARE", "TILE", "TOPK_V2"),
        }
    ),
    "{} has no integer form, and the target has no floats",
)
"""Limit of devices without floats: what litert-quantizer 0.11 leaves in float in a static recipe."""


def is_int16(recipe: Recipe) -> bool:
    """Return True for a recipe whose activations have 16 bits."""
    return recipe.activations == INT16


def check_labels(quantized: QuantizedModel, target: Target) -> None:
    """Refuse labels of another number than that of the classes.

    Raises:
        InputError: they are, as when the record beside the model is of another network.
    """
    classes = quantized.file.output_shape[-1]
    if quantized.labels is not None and len(quantized.labels) != classes:
        raise InputError(
            f"{target.name} shows a label for each of the {classes} classes; the run.json beside the model has "
            f"{len(quantized.labels)}: move it away, or put that of this network there"
        )
