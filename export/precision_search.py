"""Search for the file with the fewest operations out of int8 that keeps a bound on the loss of accuracy.

In: a float file, its ranges, and images with labels. Out: a `Search`, with the file and each step on the way to it.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_se.errors import InputError
from keras_se.export.evaluation.layer_errors import diagnose_files
from keras_se.export.evaluation.paired_interval import METHOD, Loss, loss
from keras_se.export.quantization.calibration import Ranges
from keras_se.export.quantization.op_scopes import adjacent_ops
from keras_se.export.quantization.quantizer import quantize
from keras_se.export.quantization.quantizer_recipes import PRECISIONS
from keras_se.export.quantization.recipes import FLOAT32, INT16, MIXED_PRECISION, Recipe, SearchedOverride
from keras_se.export.runtimes.registry import run_file
from keras_se.export.tflite.model import TFLiteModel

# Of a uniform value that 8 bits round: 20 log10(256). What an operation loses above it, the next would lose anyway.
_EIGHT_BITS_DB = 48.2
_NUMBERS = {"fp32": FLOAT32, "ai16": INT16}  # of PRECISIONS
_DIAGNOSED = 20  # images; a rank needs no more, and the reference kernels are slow


@dataclass(frozen=True)
class Step:
    """One file that was tried."""

    ops_in_higher_precision: int
    """Ranked operations that are out of int8, each with its adjacent operations."""
    accuracy: float
    """Share of the images that the file classifies right, on LiteRT."""
    drop: float
    """Percentage points by which that is less than for the float file."""
    low: float
    """Lower end of the drop's 95 % interval (see `keras_se.export.evaluation.paired_interval`)."""
    high: float
    """Upper end of that interval: the drop that the images exclude."""


@dataclass(frozen=True)
class Search:
    """Result of a search: the file within the bound that has the fewest operations in higher precision."""

    file: TFLiteModel
    float_accuracy: float
    max_drop: float
    """Percentage points."""
    higher_precision: str
    ops_in_higher_precision: tuple[str, ...]
    """Operations that are not int8, as scopes (see `keras_se.export.quantization.op_scopes`)."""
    steps: tuple[Step, ...]
    """Steps of the search, the first one first."""
    loss: Loss
    """Loss of accuracy of this file."""

    @property
    def drop(self) -> float:
        """Percentage points that this file loses on the images."""
        return self.loss.points

    @property
    def reached(self) -> bool:
        """True if the images show that the file is within the bound: the upper end of the interval is."""
        return self.loss.high <= self.max_drop

    @property
    def images_needed(self) -> int | None:
        """Images that would show that this file is within the bound, if they came out as these; None if none would."""
        return self.loss.images_for(self.max_drop)

    def to_dict(self) -> dict[str, Any]:
        """Return all but the file itself."""
        fields = {name: value for name, value in vars(self).items() if name != "file"}
        return {
            **fields,
            "steps": [dataclasses.asdict(step) for step in self.steps],
            "loss": dataclasses.asdict(self.loss),
            "interval": METHOD,
            "drop": self.drop,
            "reached": self.reached,
            "images_needed": self.images_needed,
        }


def search(
    float_file: TFLiteModel,
    ranges: Ranges,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    max_drop: float = 0.5,
    higher_precision: str = "fp32",
) -> Search:
    """Put as few operations into a higher precision as the bound asks for.

    Operations are ranked by the decibels that are lost in what they give. One is taken together with the operations
    beside it: what it gives would be rounded again before an int8 reader; and where the channels of what it takes
    differ by much, its noise comes from the operation before, whose own output the widest channel makes look right. The
    number of ranked operations is doubled until the bound holds and then bisected. It holds where the upper end of the
    drop's 95 % interval is within it: what these images lose, others lose more or less. The bound is known to hold for
    the file that is returned, not that one operation less breaks it: a drop need not shrink with every one. Of the
    several files that are tried on the same images the accepted one may owe its place to them, which the interval of
    one file does not count.

    Args:
        ranges: of `calibrate`.
        images: float32 `(n, height, width, channels)`, as the network sees them, other than those of the calibration.
        labels: int `(n,)`.
        max_drop: percentage points of top-1; at least 0.
        higher_precision: "fp32", or "ai16" for int16 activations.
    Returns:
        If not even all of them keep the bound, the file with the least drop.
    Raises:
        InputError: `max_drop` is negative, `higher_precision` is unknown, there are no images or not a label for each,
            or too few to show the bound even for a file that gives each image the class of the float file.
    """
    check_search(max_drop, higher_precision, images, labels)
    right = _right(float_file, images, labels)
    ranked: list[list[str]] = []
    tried: dict[int, tuple[Step, Loss, TFLiteModel]] = {}

    def holds(count: int) -> bool:
        if count not in tried:
            file = quantize(float_file, _recipe(higher_precision, _union(ranked[:count])), ranges)
            quantized_right = _right(file, images, labels)
            lost = loss(right, quantized_right)
            tried[count] = Step(count, float(quantized_right.mean()), lost.points, lost.low, lost.high), lost, file
        return tried[count][0].high <= max_drop

    if not holds(0):
        ranked += _ranked(float_file, tried[0][2], images[:_DIAGNOSED])
        below, above = 0, 1
        while not holds(above) and above < len(ranked):
            below, above = above, min(2 * above, len(ranked))
        while above - below > 1 and holds(above):
            middle = (below + above) // 2
            below, above = (below, middle) if holds(middle) else (middle, above)
    within = [count for count, (step, *_) in tried.items() if step.high <= max_drop]
    best = min(within) if within else min(tried, key=lambda count: tried[count][0].drop)
    _, lost, file = tried[best]
    steps = tuple(step for step, *_ in tried.values())
    return Search(file, float(right.mean()), max_drop, higher_precision, tuple(_union(ranked[:best])), steps, lost)


def check_search(max_drop: float, higher_precision: str, images: np.ndarray, labels: np.ndarray) -> None:
    """Refuse, before anything is converted, a search that could not show its bound.

    Raises:
        InputError: as of `search`.
    """
    if not max_drop >= 0:
        raise InputError(f"max_drop must be at least 0 percentage points; got {max_drop}")
    if higher_precision not in PRECISIONS:
        raise InputError(f"higher_precision must be one of {', '.join(PRECISIONS)}; got {higher_precision!r}")
    if len(images) == 0 or np.shape(labels) != (len(images),):
        raise InputError(f"a search needs images with a label each; got {len(images)} and labels {np.shape(labels)}")
    alike = np.ones(len(images), bool)
    if (least := loss(alike, alike)).high > max_drop:
        needed = least.images_for(max_drop)
        remedy = "no number of images shows that nothing is lost" if needed is None else f"give {needed:,} or more"
        raise InputError(
            f"max_drop must be more than what {len(images)} images leave open, {least.high:.2f} points even where no "
            f"image changes its class; got {max_drop:g}: {remedy}, or a larger max_drop"
        )


def _recipe(higher_precision: str, scopes: list[str]) -> Recipe:
    override = SearchedOverride("mixed", _NUMBERS[higher_precision], lambda float_file: scopes)
    return dataclasses.replace(MIXED_PRECISION, overrides=(override,))


def _right(file: TFLiteModel, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the images that the file classifies right, as booleans."""
    try:
        outputs = run_file("litert", file, images, "a file that was tried")
    except InputError:  # XNNPACK refuses scales that differ too much
        return np.zeros(len(labels), bool)
    return outputs.values.argmax(1) == labels


def _ranked(float_file: TFLiteModel, int8_file: TFLiteModel, images: np.ndarray) -> list[list[str]]:
    """Return each operation with its adjacent ones, that of the greatest harm first."""
    around = adjacent_ops(float_file)
    diagnoses = diagnose_files(float_file.without_softmax, int8_file.without_softmax, images)
    # Nothing is measured before the first.
    before = [np.inf, *(diagnosis.sqnr_db + diagnosis.lost_db for diagnosis in diagnoses[1:])]
    harm = {
        diagnosis.tensor: min(decibels, _EIGHT_BITS_DB) - diagnosis.sqnr_db
        for diagnosis, decibels in zip(diagnoses, before, strict=True)
    }
    return [around[tensor] for tensor in sorted(harm, key=lambda tensor: -harm[tensor]) if tensor in around]


def _union(groups: list[list[str]]) -> list[str]:
    return list(dict.fromkeys(_flat(groups)))


def _flat(groups: list[list[str]]) -> Iterator[str]:
    for group in groups:
        yield from group
