"""Scores that a classifier gives to images, and the best classes of each.

In: a Keras model, its file, or a `Classifier`, and images. Out: scores `(n, classes)`, or names with scores.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_se.classifier import Classifier, classifier_of
from keras_se.errors import InputError
from keras_se.progress import track
from keras_se.training.data.image_files import EXTENSIONS, find_images, read_image
from keras_se.training.data.input_pipeline import evaluation_batches, sample
from keras_se.training.data.sources import Split

_PIXELS = 1 << 22  # of a batch: 50 MB in float32


def predict(
    model: keras.Model | Path | str | Classifier, images: Sequence[Path | str], *, top: int = 5
) -> list[list[tuple[str, float]]]:
    """Name the most probable classes of image files.

    Args:
        model: as of `evaluate`.
        images: paths of image files of any size and of any format that training reads.
        top: how many classes of each, at least 1.
    Returns:
        For each image its classes, the best first, with their scores; a class without a name is its number.
    Raises:
        InputError: the model or an image cannot be read.
    Example:
        >>> model = keras_se.create_model("se_mobilenet", input_shape=(32, 32, 3), classes=10, alpha=0.25)
        >>> keras.utils.save_img("photograph.png", np.full((60, 80, 3), 255, "uint8"))
        >>> [[(name, score)]] = predict(model, ["photograph.png"], top=1)
        >>> 0.1 <= score <= 1
        True
    """
    if top < 1:
        raise InputError(f"top must be at least 1; got {top}")
    if not images:
        raise InputError("predict needs at least one image; got none")
    paths = [check_image(path) for path in images]
    classifier = as_classifier(model)
    scores = np.concatenate(list(scores_of(classifier, Split(np.array(paths), np.zeros(len(paths), "int32")))))
    names = classifier.classes or tuple(map(str, range(scores.shape[1])))
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return [[(names[i], float(row[i])) for i in order] for row, order in zip(scores, best, strict=True)]


def images_in(paths: Sequence[Path]) -> list[Path]:
    """Return the image files that paths name: themselves, and those in folders and below.

    Raises:
        InputError: a path leads nowhere, or a folder holds no image.
    """
    images: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = find_images(path.resolve().parent, [path]).files[path]
            if not inside:
                raise InputError(f"{path} holds no image ({', '.join(EXTENSIONS)})")
            images += map(Path, inside)
        elif path.exists():
            images.append(path)
        else:
            raise InputError(f"there is no image {path}")
    return images


def as_classifier(model: Any) -> Classifier:
    """Return the classifier of a Keras model or of its file, or the one that is given.

    Raises:
        InputError: the file cannot be read, or is a .tflite file.
    """
    if isinstance(model, Classifier):
        return model
    if not isinstance(model, keras.Model) and str(model).endswith(".tflite"):
        raise InputError(
            f"a .tflite file runs in LiteRT: pass keras_se.export.load_classifier({str(model)!r}), which reads it"
        )
    return classifier_of(model)


def scores_of(classifier: Classifier, split: Split) -> Iterator[np.ndarray]:
    """Yield the classifier's scores of the images, batch by batch."""
    height, width = classifier.preprocessing.size
    size = max(1, min(len(split), _PIXELS // (height * width)))
    if size == len(split):
        images, _ = sample(split, classifier.preprocessing, size)
        yield classifier.scores(images)
        return
    batches = evaluation_batches(split, classifier.preprocessing, classes=1, batch_size=size)
    for images, _ in track(batches, f"Evaluating {len(split)} images", total=-(-len(split) // size)):
        yield classifier.scores(np.asarray(images))


def check_image(path: Path | str) -> str:
    """Return the path, if an image can be read there; the reader of batches would name no file.

    Raises:
        InputError: none can.
    """
    try:
        read_image(str(path))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path} is no image that can be read ({reason:.200})") from None
    return str(path)
