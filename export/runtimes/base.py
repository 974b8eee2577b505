"""A runtime as a record, and the loop that all of them run images in. It imports no Keras.

In: a file and float images. Out: one row of outputs an image, dequantized, with the step of an integer output.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from keras_se.progress import track


class Outputs(NamedTuple):
    """Results of an engine.

    `values`: float64 `(n, classes)`. `lsb`: the step of an integer output, None for a float one. `note`: how the
    runtime computes otherwise on this processor than on others with int8 activations, and what to do about it.
    """

    values: np.ndarray
    lsb: float | None
    note: str = ""


STEPS_OF_INT16 = 256
"""Of 65,536, one step of 8 bits: roundings of a step add up from layer to layer, in a network trained for a minute to
54."""


class Engine(NamedTuple):
    """A runtime, and how its results relate to those of LiteRT's reference kernels on the same file."""

    run: Callable[[bytes, np.ndarray], Outputs]
    max_lsb: Mapping[str, int] = {}
    """Greatest difference from the reference kernels, in steps of the output, by recipe; where a recipe has none,
    its own tolerance between engines holds."""
    reason: str = ""
    unsupported_recipes: frozenset[str] = frozenset()
    """Recipes whose files it cannot run."""
    extra: str = "edge"
    """Extra of the package that installs it."""


def run_each(infer, images, dtype, input_scale, output_scale, *, batch=1) -> Outputs:
    """Run the images in batches of the file's own size, quantized on the way in and dequantized on the way out.

    Args:
        input_scale, output_scale: scale and zero point of either end; a scale of 0 means float.
        batch: images that the file takes at a time; the last batch is filled up with images that are left out again.
    """
    starts = range(0, len(images), batch)
    inputs = (quantized_input(_batch(images, start, batch), dtype, *input_scale) for start in starts)
    rows = [np.array(infer(images)).reshape(batch, -1) for images in track(inputs, "Running images", total=len(starts))]
    values = np.concatenate(rows)[: len(images)].astype("float64")
    scale, zero = output_scale
    return Outputs(values, None) if scale == 0 else Outputs((values - zero) * scale, scale)


def _batch(images: np.ndarray, start: int, size: int) -> np.ndarray:
    return images[np.minimum(np.arange(start, start + size), len(images) - 1)]


def quantized_input(image: np.ndarray, dtype: Any, scale: float, zero: int) -> np.ndarray:
    """Quantize images for an input of that type, scale and zero point."""
    if np.issubdtype(dtype, np.floating):
        return image.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.round(image / scale) + zero, limits.min, limits.max).astype(dtype)
