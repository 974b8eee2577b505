"""Batches for a network: preprocessing and augmentation in tf.data."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from keras_se.errors import InputError
from keras_se.preprocessing import Preprocessing
from keras_se.progress import track
from keras_se.training.data.image_files import read_pixels
from keras_se.training.data.sources import Split

Augment = Callable[[tf.Tensor, Preprocessing, tf.Tensor], tf.Tensor]


@dataclass(frozen=True)
class Share:
    """Part of every global batch that one of several workers reads, and into how many batches it is cut.

    The parts are of equal size and in the order of the workers; the default is the whole batch in one piece.
    """

    worker: int = 0
    workers: int = 1
    pieces: int = 1

    def has(self, position, batch_size: int):
        """Return True where the image at this position of the stream is in it."""
        return position // (batch_size // self.workers) % self.workers == self.worker

    def piece_size(self, batch_size: int) -> int:
        """Images in each of its batches."""
        return batch_size // self.workers // self.pieces


WHOLE = Share()


def training_batches(
    split: Split,
    preprocessing: Preprocessing,
    *,
    classes: int,
    batch_size: int,
    augmentation: str,
    seed: int,
    start: int = 0,
    share: Share = WHOLE,
    class_weights: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Shuffled, augmented batches without end: `(float32 (batch, height, width, 3), one-hot (batch, classes))`.

    The order and each image's random numbers come from the seed and the place in the stream: every pass over the
    dataset starts alike, on any number of threads.

    Args:
        batch_size: of the global batch.
        start: the position in the stream of the first image: those before it have been seen.
        share: the part of each batch to read.
        class_weights: float `(classes,)`; with them a batch has its images' weights `(batch,)` too.
        classes: 1 for labels `(batch, 1)` of 0 and 1.
    """
    augment = AUGMENTATIONS[augmentation]
    images, labels = _tensor(split.images), tf.constant(split.labels)

    def order(epoch):
        key = tf.stack([tf.constant(seed, tf.int64), epoch])
        return tf.data.Dataset.from_tensor_slices(tf.argsort(tf.random.stateless_uniform([len(split)], key)))

    def example(number, index):
        key = tf.stack([tf.constant(seed, tf.int64), number])
        image = augment(_pixels(tf.gather(images, index)), preprocessing, key)
        label = tf.gather(labels, index)
        pair = _normalise(image, preprocessing), _target(label, classes)
        return pair if class_weights is None else (*pair, tf.gather(tf.constant(class_weights, tf.float32), label))

    epoch, seen = divmod(start, len(split))
    stream: Any = tf.data.Dataset.counter(epoch).flat_map(order).skip(seen).enumerate(start)
    if share.workers > 1:
        stream = stream.filter(lambda number, index: share.has(number, batch_size))
    stream = stream.map(example, num_parallel_calls=tf.data.AUTOTUNE)
    return stream.batch(share.piece_size(batch_size), drop_remainder=True).prefetch(2)


def evaluation_batches(
    split: Split,
    preprocessing: Preprocessing,
    *,
    classes: int,
    batch_size: int,
    whole: bool = False,
    share: Share = WHOLE,
) -> tf.data.Dataset:
    """Return the images in order, each once: `(float32 (batch, height, width, 3), one-hot (batch, classes))`.

    Args:
        batch_size: of the global batch.
        share: the part of each batch to read; of a part, `whole` must be true.
        whole: fill the last batch up with images of no weight, for devices that must each have their share of it,
            and give weights `(batch,)`. The real images weigh so much more than 1 that Keras's mean over all is the
            mean over them.
    """
    missing = -len(split) % batch_size if whole else 0
    indices = np.concatenate([np.arange(len(split)), np.zeros(missing, int)])
    weights = np.full(len(indices), len(indices) / len(split), "float32")
    weights[len(split) :] = 0
    own = share.has(np.arange(len(indices)), batch_size)
    images, labels = _tensor(split.images), tf.constant(split.labels)

    def example(index, weight):
        image = resize(_pixels(tf.gather(images, index)), preprocessing)
        pair = _normalise(image, preprocessing), _target(tf.gather(labels, index), classes)
        return (*pair, weight) if whole else pair

    stream = tf.data.Dataset.from_tensor_slices((indices[own], weights[own]))
    stream = stream.map(example, num_parallel_calls=tf.data.AUTOTUNE)
    return stream.batch(share.piece_size(batch_size), drop_remainder=whole).prefetch(2)


def _target(label: tf.Tensor, classes: int) -> tf.Tensor:
    """Return the output that a network of so many outputs should give for a class."""
    return tf.cast(label[None], tf.float32) if classes == 1 else tf.one_hot(label, classes)


def balanced_weights(split: Split, classes: int) -> np.ndarray:
    """Return the weight of an image of each class, so that all classes weigh alike and the mean image weighs 1."""
    counts = np.bincount(split.labels, minlength=classes)
    return (len(split) / (classes * np.maximum(counts, 1))).astype("float32")


def sample(split: Split, preprocessing: Preprocessing, count: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw `count` images, or all there are, as a network sees them in evaluation, with their labels.

    Returns:
        float32 `(count, height, width, 3)` and int32 `(count,)`.
    Raises:
        InputError: they would not fit into the memory of this machine.
    """
    chosen = np.sort(np.random.default_rng(seed).permutation(len(split))[:count])
    _check_memory(len(chosen), preprocessing)
    chosen_images = [
        _normalise(resize(_pixels(_tensor(split.images[i])), preprocessing), preprocessing).numpy()
        for i in track(chosen, "Reading images", total=len(chosen))
    ]
    return np.stack(chosen_images), split.labels[chosen]


def _check_memory(count: int, preprocessing: Preprocessing) -> None:
    wanted = 2 * 4 * count * preprocessing.height * preprocessing.width * 3  # float32, one by one and as one array
    try:
        there_is = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # no such names on Windows
        return
    if wanted > there_is > 0:
        raise InputError(
            f"{count} images of {preprocessing.height}x{preprocessing.width} take {wanted / 2**30:,.0f} GiB, and this "
            f"machine has {there_is / 2**30:,.0f}; choose fewer images, or a network of a smaller input"
        )


def resize(image: tf.Tensor, preprocessing: Preprocessing) -> tf.Tensor:
    """Return a uint8 image as float32 `(height, width, 3)` in 0..255: shorter side resized, centre cropped."""
    target = tf.constant([preprocessing.height, preprocessing.width], tf.float32)
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    ratio = tf.reduce_max(tf.math.ceil(target / preprocessing.crop) / size)
    resized = tf.maximum(tf.cast(tf.round(size * ratio), tf.int32), tf.cast(target, tf.int32))
    image = _resized(image, resized, preprocessing)
    offset = (resized - tf.cast(target, tf.int32)) // 2
    return image[
        offset[0] : offset[0] + preprocessing.height,
        offset[1] : offset[1] + preprocessing.width,
    ]


def _pixels(image) -> tf.Tensor:
    image = tf.convert_to_tensor(image)
    return read_pixels(image) if image.dtype == tf.string else image


def _tensor(images) -> tf.Tensor:
    """Images, or paths as the bytes that the file system has: a name need not be text."""
    images = np.asarray(images)
    if images.dtype.kind == "U":
        images = np.char.encode(images, "utf-8", "surrogateescape")
    return tf.constant(images)


def _resized(image, size, preprocessing):
    # Half-pixel centres and antialiasing: what Pillow, and so torchvision, computes.
    image = tf.cast(image, tf.float32)  # "nearest" would keep the integers
    resized = tf.image.resize(image, size, method=preprocessing.interpolation, antialias=True)
    return tf.clip_by_value(resized, 0.0, 255.0)  # a cubic kernel overshoots


def _normalise(image, preprocessing):
    image = (image / 255.0 - tf.constant(preprocessing.mean)) / tf.constant(preprocessing.std)
    return tf.ensure_shape(image, (preprocessing.height, preprocessing.width, 3))


def _shift(image, preprocessing, key):
    """Shift an image by up to an eighth of the side each way, over black."""
    reach = max(1, preprocessing.height // 8), max(1, preprocessing.width // 8)
    image = tf.pad(resize(image, preprocessing), [[reach[0]] * 2, [reach[1]] * 2, [0, 0]])
    return tf.image.stateless_random_crop(image, (preprocessing.height, preprocessing.width, 3), key)


def _flip(image, key):
    return tf.image.stateless_random_flip_left_right(image, key + 1)


def _resized_crop(image, preprocessing, key):
    """8 to 100 % of the area at an aspect of 3/4 to 4/3, resized: Szegedy et al., arXiv 1409.4842, section 6."""
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        tf.zeros((1, 0, 4)),
        key,
        min_object_covered=0.0,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        use_image_if_no_bounding_boxes=True,
    )
    crop = tf.slice(image, begin, extent)
    return _resized(crop, (preprocessing.height, preprocessing.width), preprocessing)


AUGMENTATIONS: dict[str, Augment] = {
    "none": lambda image, preprocessing, key: resize(image, preprocessing),
    "shift": _shift,
    "shift_flip": lambda image, preprocessing, key: _flip(_shift(image, preprocessing, key), key),
    "resized_crop_flip": lambda image, preprocessing, key: _flip(_resized_crop(image, preprocessing, key), key),
}
