"""Ranges of a float file's activations, from images.

In: a float file and images. Out: the least and greatest value of each activation, by a method's rule.
"""

import hashlib
import itertools
import logging
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from keras_se.errors import InputError
from keras_se.export.quantization.observers import LEAST_RANGE, find_method
from keras_se.export.runtimes.tensors import each_images_tensors
from keras_se.export.sandbox import runner
from keras_se.export.tflite.layer_names import layers_by_tensor
from keras_se.export.tflite.model import TFLiteModel
from keras_se.progress import track

Ranges = dict[str, dict[str, np.ndarray]]  # tensor name -> {"min", "max"}


MOST_IMAGES = 5_000
"""Taken of what may have no end, as a generator or a dataset that repeats."""


def check_calibration(images: Any, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the calibration images as float32, after checking that they can be used.

    Args:
        images: an array; or a tf.data.Dataset, a list or another iterable of images or batches, alone or as the first
            of a tuple with their labels, of which at most `MOST_IMAGES` are taken.
        shape: of an image, as the network takes it.
    Raises:
        InputError: there are none, or they are not finite floating point `(n, height, width, channels)`.
    """
    if isinstance(images, Iterable) and not isinstance(images, np.ndarray):
        images = _collected(images, shape)
    if images is None or len(images) == 0:
        raise InputError("a static recipe needs calibration images, and there are none; give some with --data")
    if images.shape[1:] != shape:
        raise InputError(
            f"calibration images must have the shape (n, {', '.join(map(str, shape))}); got {images.shape}"
        )
    if not np.issubdtype(images.dtype, np.floating):
        raise InputError(f"calibration images must be floats, as the network sees them; got {images.dtype}")
    if not np.isfinite(images).all():
        raise InputError("calibration images must be finite; there is a NaN or an infinity among them")
    return images.astype("float32", copy=False)


def _collected(source: Iterable[Any], shape: tuple[int, int, int]) -> np.ndarray:
    images = list(itertools.islice(_each_image(source, shape), MOST_IMAGES + 1))
    if len(images) > MOST_IMAGES:
        images.pop()
        logging.getLogger("keras_se").warning("calibration takes the first %d images of more", MOST_IMAGES)
    return np.stack(images) if images else np.empty((0, *shape), "float32")


def _each_image(source: Iterable[Any], shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    for element in source:
        batch = np.asarray(element[0] if isinstance(element, tuple) else element)
        batch = batch[None] if batch.ndim == len(shape) else batch
        if batch.shape[1:] != shape:
            raise InputError(
                f"calibration images must have the shape ({', '.join(map(str, shape))}), or a batch of it; got "
                f"{batch.shape}"
            )
        yield from batch


def calibrate(
    float_file: TFLiteModel,
    images: np.ndarray,
    input_range: tuple[float, float] | None = None,
    *,
    method: str = "min_max",
) -> Ranges:
    """Measure the range of each activation over the images, which run in a child process.

    Args:
        images: float32 `(n, height, width, channels)`, as the network sees them.
        input_range: the range of every image that there could be, for the input itself; the images' own when None.
        method: a name from `keras_se.export.quantization.observers.METHODS`. The least and greatest value of all
            images by default: the quantizer's own rule, a moving average of each image's extremes, clips what few
            images reach, which cost a trained SE-MobileNet 1.8 points of accuracy.
    Raises:
        InputError: there is no such method, the file has loops, or an activation is not finite.
    """
    if "WHILE" in float_file.operation_names:
        raise InputError("a static recipe takes no loop; use unroll=True in an LSTM or GRU, or choose float32")
    find_method(method)
    observed = runner.call(
        f"{__name__}:observe",
        by="calibration",
        file="the float file",
        steps=len(images),
        content=float_file.content,
        images=images,
        method=method,
    )
    ranges = {name: _widened(*ends) for name, ends in zip(observed["names"], observed["ranges"].tolist(), strict=True)}
    if input_range is not None:
        ranges[float_file.input_name] = _as_arrays(*input_range)
    return ranges


def observe(content: bytes, images: np.ndarray, method: str) -> dict[str, Any]:
    """Observe the activations: their "names", and for each the method's range; to be run in a child process.

    Raises:
        InputError: an activation is not finite.
    """
    make, file = find_method(method).observer, TFLiteModel(content)
    observers = {name: make() for name in file.activation_names}
    padded = file.written_by("PADV2")  # before a maximum, with minus infinity
    runs = each_images_tensors(content, images, observers, resolver="BUILTIN")
    for tensors in track(runs, f"Calibrating on {len(images)} images", total=len(images)):
        for name, tensor in tensors.items():
            if not (np.isfinite(tensor.values).all() or name in padded):
                raise _not_finite(file, name)
            observers[name].add(tensor.values)
    ranges = np.array([observer.range() for observer in observers.values()], "float64")
    return {"names": list(observers), "ranges": ranges}


def magnitudes(float_file: TFLiteModel, images: np.ndarray) -> dict[str, float]:
    """Measure the greatest magnitude that each operation of a float file gives, in a child process.

    Args:
        images: float32 `(n, height, width, channels)`, as the network sees them.
    Raises:
        InputError: the file's output is not finite.
    """
    measured = runner.call(
        "keras_se.export.runtimes.tensors:greatest_magnitudes",
        by="LiteRT",
        file="the float file",
        content=float_file.content,
        images=images,
    )
    names, greatest = measured["names"], measured["magnitudes"].tolist()
    if names and not np.isfinite(greatest[-1]):
        raise _not_finite(float_file, names[int(np.argmax(np.isinf(greatest)))])
    return dict(zip(names, greatest, strict=True))


def noise(float_file: TFLiteModel, low: float, high: float) -> np.ndarray:
    """Return images for a first run where there are no others: uniform noise, and the greatest value throughout."""
    shape = float_file.input_shape[1:]
    random = np.random.default_rng(0).uniform(low, high, (1, *shape))
    return np.concatenate([random, np.full((1, *shape), high)]).astype("float32")


def _not_finite(file: TFLiteModel, tensor: str) -> InputError:
    layer = layers_by_tensor(file.graph).get(tensor, tensor)
    return InputError(
        f"activations must be finite; {layer} gives a NaN or an infinity: its weights or those before it are too large"
    )


def _widened(low: float, high: float) -> dict[str, np.ndarray]:
    return _as_arrays(low, high if max(high, -low) >= LEAST_RANGE else LEAST_RANGE)


def _as_arrays(low: float, high: float) -> dict[str, np.ndarray]:
    return {"min": np.full((1, 1, 1, 1), low, "float32"), "max": np.full((1, 1, 1, 1), high, "float32")}


def calibration_sha256(images: np.ndarray) -> str:
    """Hash the images' values and order."""
    return hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()
