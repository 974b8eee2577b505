"""Checks that images and labels fit the preprocessing that a file will name.

In: images, labels, a model and its preprocessing. Out: the preprocessing and where it comes from, or an error.
"""

import logging
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_se.errors import InputError
from keras_se.preprocessing import Origin, Preprocessing, find_preprocessing

_SLACK = 0.01
"""Share of the range by which images may leave it, as by a cubic kernel's overshoot or noise added to them."""
_MOST_IMAGES = 100  # that a preprocessing's accuracy is measured on
_HALF = 0.5
_ASSUMED = "the rule for networks that tell nothing"
_REMEDY = (
    "scale them, or say what it takes: preprocessing=Preprocessing.for_range(height, width, low, high), input_range= "
    "or --input-range"
)
_SIGMAS = 3.0
_GAIN = 0.25
"""Share of the images that another range must classify right beyond this one: untrained networks gain a tenth by
chance."""
_OTHERS = {"0 255": (0.0, 255.0), "0 1": (0.0, 1.0), "-1 1": (-1.0, 1.0)}


def origin_of(preprocessing: Preprocessing | None, model: keras.Model, path: Any = None) -> Origin:
    """Return the preprocessing that was asked for, or else the one that the model's record or layers tell of."""
    if preprocessing is not None:
        return Origin(preprocessing, "the preprocessing that was asked for")
    return find_preprocessing(model, None if isinstance(path, keras.Model) else path)


def check_range(images: np.ndarray, origin: Origin, *, what: str = "calibration images", remedy: str = _REMEDY) -> None:
    """Hold images against the range of the pixels that the network takes.

    Raises:
        InputError: they leave that range, or are of one that is far smaller.
    """
    low, high = origin.preprocessing.input_range
    least, most = float(images.min()), float(images.max())
    slack = _SLACK * (high - low)
    greatest = max(abs(least), abs(most))
    if least < low - slack or most > high + slack or (least < most and greatest <= 1 and max(-low, high) > 16):
        raise InputError(
            f"{what} must lie in the range of what the network takes, {low:g}..{high:g} by "
            f"{origin.reason or _ASSUMED}; got {least:g}..{most:g}; {remedy}"
        )
    if low < 0 <= least and most <= 1 < 2 * high and origin.reason is not None and least < most:
        logging.getLogger("keras_se").warning(
            "%s lie in %g..%g, and the network takes %g..%g by %s: if it takes 0..1, say so with preprocessing=",
            *(what, least, most, low, high, origin.reason),
        )


def check_accuracy(model: keras.Model, images: np.ndarray, labels: np.ndarray, origin: Origin) -> None:
    """Refuse a preprocessing with which the model is right far less often than with another range of pixels.

    A record that training wrote is not doubted.

    Args:
        images: float32 `(n, height, width, channels)`, by that preprocessing.
        labels: int `(n,)`.
    Raises:
        InputError: there is a range with which it is right more than twice as often, by three standard deviations and
            a quarter of the images.
    """
    if origin.recorded or not _classifies(model, labels):
        return
    images, labels = images[:_MOST_IMAGES], labels[:_MOST_IMAGES]
    right = _right(model, images, labels)
    if right.mean() >= _HALF:
        return
    ends = origin.preprocessing.mean, origin.preprocessing.std
    mean, std = (np.resize(np.array(values, "float32"), images.shape[-1]) for values in ends)
    pixels = images * std + mean  # in 0..1
    for name, (low, high) in _OTHERS.items():
        other = _right(model, pixels * np.float32(high - low) + np.float32(low), labels)
        gained, lost = int(np.sum(other & ~right)), int(np.sum(right & ~other))
        least = max(_SIGMAS * np.sqrt(gained + lost), _GAIN * len(labels))
        if other.sum() > 2 * right.sum() and gained - lost > least:
            span = "{:g}..{:g}".format(*origin.preprocessing.input_range)
            raise InputError(
                f"the model must be given the pixels that it was trained on; with {span}, by "
                f"{origin.reason or _ASSUMED}, it classifies {right.sum()} of "
                f"{len(labels)} images right, and with {low:g}..{high:g} {other.sum()}; say --input-range {name}"
            )


def agreed_preprocessing(files: Mapping[str, Preprocessing], origin: Origin) -> Origin:
    """Return a model's preprocessing, which its files' manifests must share; theirs if nothing else tells of one.

    Raises:
        InputError: they have another.
    """
    if origin.reason is None and files:
        first, *_ = files.values()
        origin = Origin(first, f"the manifest of {next(iter(files))}")
    for file, preprocessing in files.items():
        ends = preprocessing.input_range, origin.preprocessing.input_range
        if not np.allclose(*ends, rtol=1e-4):
            low, high = ends[0]
            raise InputError(
                f"the images must be of one range; {file} takes {low:g}..{high:g} by its manifest, and "
                f"{origin.reason} says {ends[1][0]:g}..{ends[1][1]:g}; export it again, or say --input-range"
            )
    return origin


def _classifies(model: keras.Model, labels: np.ndarray) -> bool:
    shape = model.output_shape
    return isinstance(shape, tuple) and len(shape) == 2 and shape[1] > max(1, int(labels.max()))


def _right(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict(images, verbose=0)).argmax(1) == labels  # pyright: ignore[reportArgumentType]
