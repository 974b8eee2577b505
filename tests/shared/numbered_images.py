"""Photographs that NumPy draws, each with a class of its own, and batches of them."""

import itertools

import numpy as np

from keras_se.preprocessing import Preprocessing
from keras_se.training.data.input_pipeline import (
    evaluation_batches,
    training_batches,
)
from keras_se.training.data.sources import Split

FLOAT32 = 1e-6  # of a value up to 1, and a few roundings


SIDE = 32


SQUARE = Preprocessing(SIDE, SIDE)


def photograph(height, width, seed=0):
    """Smooth gradients, edges and noise, uint8 `(height, width, 3)`."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 5)], axis=-1)
    noise = np.random.default_rng(seed).normal(0, 20, (height, width, 3))
    edge = np.where((x > width // 3) & (y > height // 4), 40, -40)[..., None]
    return np.clip(128 + 70 * waves + noise + edge, 0, 255).astype(np.uint8)


def numbered(count, side=SIDE):
    """Images of which each has a class of its own."""
    images = np.stack([photograph(side, side, seed) for seed in range(count)])
    return Split(images, np.arange(count, dtype=np.int32))


def take(dataset, count):
    """`count` batches as `(images, classes)`, arrays."""
    batches = [(images.numpy(), labels.numpy().argmax(1)) for images, labels in itertools.islice(dataset, count)]
    return tuple(np.stack(part) for part in zip(*batches, strict=True))


def training(split, *, seed=0, batch_size=4, augmentation="none", **arguments):
    return training_batches(
        split, SQUARE, classes=len(split), batch_size=batch_size, augmentation=augmentation, seed=seed, **arguments
    )


def evaluation(split, preprocessing=SQUARE, *, batch_size=4, **arguments):
    return evaluation_batches(split, preprocessing, classes=len(split), batch_size=batch_size, **arguments)
