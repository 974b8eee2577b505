"""Accuracy of a classifier on labelled images."""

from typing import Any

import numpy as np

from keras_se.errors import InputError
from keras_se.surgery.probe import BATCH


def check_labels(labels: np.ndarray, images: np.ndarray) -> None:
    """Refuse labels that are not one number for each image.

    Raises:
        InputError: they are not.
    """
    if np.shape(labels) != (len(images),):
        raise InputError(f"labels must be one number for each of the {len(images)} images; got {np.shape(labels)}")


def accuracy(model: Any, images: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of images whose label has the greatest score."""
    return right(model.predict(images, batch_size=BATCH, verbose=0), labels)


def right(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of scores `(n, classes)` that are greatest at the label."""
    return float(np.mean(np.asarray(scores).argmax(-1) == labels))
