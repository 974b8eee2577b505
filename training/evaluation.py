"""Figures of a classifier on labelled images.

In: a Keras model, its file, or a `Classifier`, and a source of images. Out: an `Evaluation`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from keras_se.classifier import Classifier
from keras_se.errors import InputError
from keras_se.training.data.sources import Source, Split, load_source
from keras_se.training.prediction import as_classifier, scores_of

Part = Literal["test", "train", "all"]

BINS = 15
"""Bins of the scores, each as wide as the others: Guo et al., arXiv 1706.04599, section 2."""


@dataclass(frozen=True)
class ClassFigures:
    """Precision and recall of a classifier on one class."""

    name: str
    images: int
    precision: float | None
    """Share of the images taken for this class that are of it; None where none was taken for it."""
    recall: float | None
    """Share of the class's images that were recognised; None where there are none."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Figures of a classifier on labelled images; `evaluate` returns one."""

    name: str
    """Name of the model or file."""
    classes: tuple[str, ...]
    top1: float
    """Share of the images whose class has the greatest score."""
    top5: float | None
    """Share of the images whose class is among the five greatest; None for five classes or fewer."""
    calibration_error: float
    """Expected calibration error: how far the greatest score is from the share of right answers, in the mean."""
    confusion: np.ndarray
    """Images by their class, row, and by the class of the greatest score, column: int `(classes, classes)`."""
    scores: np.ndarray
    """Scores of each image, float `(n, classes)`."""
    labels: np.ndarray
    """Class of each image as its place in `classes`, int `(n,)`."""

    @property
    def images(self) -> int:
        return len(self.labels)

    @property
    def per_class(self) -> list[ClassFigures]:
        right, of_class, taken_for = np.diag(self.confusion), self.confusion.sum(1), self.confusion.sum(0)
        return [
            ClassFigures(name, int(of_class[i]), _share(right[i], taken_for[i]), _share(right[i], of_class[i]))
            for i, name in enumerate(self.classes)
        ]

    def worst_classes(self, most: int = 3) -> list[ClassFigures]:
        """Return the classes of the lowest recall, but those that are always recognised."""
        missed = [row for row in self.per_class if row.recall is not None and row.recall < 1]
        return sorted(missed, key=lambda row: row.recall or 0.0)[:most]

    def most_confused(self, most: int = 3) -> list[tuple[str, str, int]]:
        """Return triples of a class, the class it was taken for, and how many images of it: the most first."""
        wrong = self.confusion - np.diag(np.diag(self.confusion))
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        pairs = [np.unravel_index(place, wrong.shape) for place in order if wrong.flat[place]]
        return [(self.classes[i], self.classes[j], int(wrong[i, j])) for i, j in pairs]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON holds them, without the scores of the single images."""
        return {
            "name": self.name,
            "images": self.images,
            "top1": self.top1,
            "top5": self.top5,
            "calibration_error": self.calibration_error,
            "classes": [vars(row) for row in self.per_class],
            "confusion": self.confusion.tolist(),
        }


def evaluate(
    model: keras.Model | Path | str | Classifier,
    source: str | Path | Source,
    *,
    part: Part = "test",
    skip_corrupt: bool = False,
) -> Evaluation:
    """Measure a classifier on labelled images.

    Args:
        model: a Keras model; a `.keras` file or the folder of a run, whose record gives the preprocessing and the
            names of the classes; or a `Classifier`, as `keras_se.export.load_classifier` makes of a .tflite file.
        source: a name or folder as of `Recipe.data`, or a `Source`. Its classes must be among the model's.
        part: "test", as training divides the source; "train"; or "all".
        skip_corrupt: leave out the files that cannot be decoded.
    Returns:
        Top-1 and top-5 accuracy, precision and recall of each class, confusion matrix, calibration.
    Raises:
        InputError: the model or the images cannot be read, or the source has a class that the model has not.
    Example:
        >>> model = keras_se.create_model("se_mobilenet", input_shape=(32, 32, 3), classes=10, alpha=0.25)
        >>> figures = evaluate(model, "digits")
        >>> figures.images, figures.confusion.shape
        (355, (10, 10))
    Source: arXiv 1706.04599, equation 5, for the calibration error.
    """
    if part not in ("test", "train", "all"):
        raise InputError(f"part must be test, train or all; got {part!r}")
    classifier = as_classifier(model)
    images = source if isinstance(source, Source) else load_source(str(source), skip_corrupt=skip_corrupt)
    return evaluate_classifier(classifier, images, part)


def evaluate_classifier(classifier: Classifier, source: Source, part: Part = "test") -> Evaluation:
    """Measure a classifier on images that are loaded."""
    split = whole(source) if part == "all" else getattr(source, part)
    places = _places(classifier, source)
    scores = np.concatenate(list(scores_of(classifier, split)))
    if places is None:
        if scores.shape[1] != len(source.classes):
            raise InputError(
                f"{classifier.name} gives {scores.shape[1]} scores, and no record names its classes; the images have "
                f"{len(source.classes)}: {_listed(source.classes)}"
            )
        return measure(scores, split.labels, source.classes, name=classifier.name)
    if classifier.classes is None:
        raise AssertionError  # places say that it has
    return measure(scores, places[split.labels], classifier.classes, name=classifier.name)


def measure(scores: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], *, name: str) -> Evaluation:
    """Return the figures of scores `(n, classes)` that a classifier gave to images of known classes `(n,)`."""
    best = scores.argmax(1)
    confusion = np.zeros((len(classes), len(classes)), int)
    np.add.at(confusion, (labels, best), 1)
    order = np.argsort(-scores, axis=1, kind="stable")  # of equal scores the first, as argmax
    places = (order == labels[:, None]).argmax(1)
    return Evaluation(
        name=name,
        classes=tuple(classes),
        top1=float(np.mean(best == labels)),
        top5=float(np.mean(places < 5)) if len(classes) > 5 else None,
        calibration_error=calibration_error(scores.max(1), best == labels),
        confusion=confusion,
        scores=scores,
        labels=labels,
    )


def calibration_error(confidences: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Return the expected calibration error: |share right - mean confidence|, by bins, in the mean over the images.

    Args:
        confidences: `(n,)` in 0..1, the greatest score of each image.
        right: bool `(n,)`.
    Source: arXiv 1706.04599, equation 5.
    """
    number = np.clip(np.ceil(np.asarray(confidences) * bins).astype(int) - 1, 0, bins - 1)  # (low, high]
    surplus = np.bincount(number, weights=np.asarray(right, float) - confidences, minlength=bins)
    return float(np.abs(surplus).sum() / len(confidences))


def whole(source: Source) -> Split:
    """Join the training and test images of a source."""
    parts = source.train, source.test
    return Split(np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts]))


def _places(classifier: Classifier, source: Source) -> np.ndarray | None:
    """Return each source class's place among the classifier's; None where the classifier's have no names."""
    if classifier.classes is None:
        return None
    unknown = [name for name in source.classes if name not in classifier.classes]
    if unknown:
        raise InputError(
            f"the images have classes that {classifier.name} has not: it knows {_listed(classifier.classes)}; the "
            f"images are of {_listed(source.classes)}"
        )
    return np.array([classifier.classes.index(name) for name in source.classes])


def _listed(names: Sequence[str], most: int = 12) -> str:
    more = f", … ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _share(part: Any, of: Any) -> float | None:
    return float(part / of) if of else None
