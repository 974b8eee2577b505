"""Bounds on the difference between two runs of a network, and those that do not hold.

In: the logits of a reference and of a candidate, and the tolerance of a recipe. Out: the bounds in words, and a line
for each that is broken. `keras_se.export.evaluation.parity` says which bounds hold when.
"""

from typing import NamedTuple

import numpy as np

from keras_se.export.evaluation.paired_interval import Loss, highest_share
from keras_se.export.quantization.recipes import Tolerance
from keras_se.export.runtimes.base import Outputs
from keras_se.export.tflite.constants import WeightError

PREDICTED_NOISE = 2
"""Times the amplitude of the predicted noise: integer kernels round sums and products too, which is not predicted."""
LEAST_AGREEMENT = 0.9
"""Share of the images with Keras's class, where only the prediction's bounds hold and there are no labels."""
LEAST_SQNR = 3.0
"""Decibels, whatever is predicted: noise of half the signal's power. An int8 output that is one integer for every class
would agree with each of them."""
MOST_LOST = 1.0
"""Points of accuracy, where only the prediction's bounds hold."""

# Of a constant, in steps: half a step, and that the quantizer rounded a float32 quotient.
_ROUNDING = 0.51


class Figures(NamedTuple):
    """Distance of outputs from a reference's."""

    error: float
    """Greatest difference, over the greatest magnitude of a reference logit."""
    sqnr_db: float
    """Power of the reference over power of the difference, in decibels."""
    agreement: float
    """Share of the images on which both have the same first class."""
    images: int


class Verdict(NamedTuple):
    """Bounds that were applied, and those that are broken."""

    tolerance: str
    """Bounds and their reason, in words."""
    failures: tuple[str, ...]
    """A line for each broken bound, with the figure."""


def figures_of(expected: Outputs, outputs: Outputs) -> Figures:
    """Measure outputs against those of a reference, both `(images, classes)`."""
    error = np.abs(outputs.values - expected.values)
    relative = relative_error(float(error.max()), float(np.abs(expected.values).max()))
    noise_db = decibels(np.sum(expected.values**2), np.sum(error**2))
    return Figures(relative, noise_db, _agreement(expected, outputs), len(error))


def _agreement(expected: Outputs, outputs: Outputs) -> float:
    """Return the share of equal first classes; two classes of the same integer agree with either."""
    chosen = np.take_along_axis(outputs.values, expected.values.argmax(1)[:, None], axis=1)[:, 0]
    return float(np.mean(chosen >= outputs.values.max(1)))


def relative_error(error: float, greatest: float) -> float:
    """Return an error over the greatest magnitude of a reference; over 0 it is infinite, unless it is 0 itself."""
    return error / greatest if greatest else (float("inf") if error else 0.0)


def decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal else float("-inf")


def hold(tolerance: Tolerance, figures: Figures) -> Verdict:
    """Hold figures to a recipe's tolerance."""
    error, sqnr_db, agreement, images = figures
    bounds = [
        (sqnr_db >= tolerance.sqnr_db, f"SQNR {sqnr_db:.1f} dB", f"at least {tolerance.sqnr_db:.3g}"),
        (
            highest_share(agreement, images) >= tolerance.agreement,
            f"top-1 agreement {agreement:.3f} of {images} images",
            f"surely below {tolerance.agreement:g}",
        ),
    ]
    stated = (
        f"SQNR at least {tolerance.sqnr_db:.3g} dB, top-1 agreement not surely below {tolerance.agreement:g}: "
        f"{tolerance.reason}"
    )
    if (greatest := tolerance.error) is not None:
        bounds.insert(0, (error <= greatest, f"error {error:.2g} of the largest logit", f"at most {greatest:.2g}"))
        stated = f"error at most {greatest:.2g} of the largest logit, {stated}"
    return Verdict(stated, tuple(f"{figure}, {bound}" for holds, figure, bound in bounds if not holds))


def hold_predicted(tolerance: Tolerance, figures: Figures, predicted: Figures, lost: Loss | None) -> Verdict:
    """Hold a network that its recipe cannot serve as well as most to what the recipe can do for it."""
    labelled = lost is not None
    allowed = Tolerance(
        None,
        min(tolerance.sqnr_db, max(LEAST_SQNR, predicted.sqnr_db - 20 * np.log10(PREDICTED_NOISE))),
        0.0 if labelled else min(tolerance.agreement, LEAST_AGREEMENT),
        f"{PREDICTED_NOISE} times the noise of the float network with the file's roundings, which has "
        f"{predicted.sqnr_db:.1f} dB",
    )
    stated, failures = hold(allowed, figures)
    if not labelled:
        return Verdict(stated, failures)
    if lost.low > MOST_LOST:
        failures += (f"accuracy lost {lost} points, of which {MOST_LOST:g} may be sure",)
    stated += f"; at most {MOST_LOST:g} point of accuracy surely lost, at the interval's lower end"
    return Verdict(stated, failures)


def hold_steps(steps: int, reason: str, max_lsb: float) -> Verdict:
    """Hold a difference in steps of an integer output to the most that an engine may show."""
    # Dequantized values are compared; a hundredth of a step is their rounding.
    failures = () if max_lsb <= steps + 0.01 else (f"{max_lsb:.2f} LSB, at most {steps}",)
    return Verdict(f"at most {steps} LSB: {reason}", failures)


def weight_failures(weights: WeightError) -> tuple[str, ...]:
    """Return a line if the constants are not a float file's own, rounded."""
    if weights.compared == 0:
        return ("no constant has the name of one in the float file",)
    if weights.steps > _ROUNDING:
        return (f"a constant {weights.steps:.3g} steps from the model's, at most {_ROUNDING}: {weights.tensor}",)
    return ()
