"""How good a classifier is on labelled images, and what it says of single ones.

In: a Keras model, its file, or a `Classifier`, and images. Out: an `Evaluation`, or the best classes of each image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from keras_se.classifier import Classifier, classifier_of
from keras_se.errors import InputError
from keras_se.progress import track
from keras_se.training.data.image_files import EXTENSIONS, find_images, read_image
from keras_se.training.data.input_pipeline import evaluation_batches, sample
from keras_se.training.data.sources import Source, Split, load_source

Part = Literal["test", "train", "all"]

BINS = 15
"""Of the scores, each as wide as the others: Guo et al., arXiv 1706.04599, section 2."""
_PIXELS = 1 << 22  # of a batch: 50 MB in float32


@dataclass(frozen=True)
class ClassFigures:
    """How a classifier does on one class."""

    name: str
    images: int
    precision: float | None
    """Share of the images taken for this class that are of it; None where none was taken for it."""
    recall: float | None
    """Share of the class's images that were recognised; None where there are none."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How good a classifier is on labelled images; `evaluate` returns one."""

    name: str
    """Of the model or file."""
    classes: tuple[str, ...]
    top1: float
    """Share of the images whose class has the greatest score."""
    top5: float | None
    """Share of the images whose class is among the five greatest; None for five classes or fewer."""
    calibration_error: float
    """Expected calibration error: how far the greatest score is from the share of right answers, in the mean."""
    confusion: np.ndarray
    """int `(classes, classes)`: images by their class, row, and by the class of the greatest score, column."""
    scores: np.ndarray
    """float `(n, classes)`."""
    labels: np.ndarray
    """int `(n,)`, as places in `classes`."""

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
        """The classes of the lowest recall, but those that are always recognised."""
        missed = [row for row in self.per_class if row.recall is not None and row.recall < 1]
        return sorted(missed, key=lambda row: row.recall or 0.0)[:most]

    def most_confused(self, most: int = 3) -> list[tuple[str, str, int]]:
        """A class, the class it was taken for, and how many images of it: the most first."""
        wrong = self.confusion - np.diag(np.diag(self.confusion))
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        pairs = [np.unravel_index(place, wrong.shape) for place in order if wrong.flat[place]]
        return [(self.classes[i], self.classes[j], int(wrong[i, j])) for i, j in pairs]

    def to_dict(self) -> dict[str, Any]:
        """The figures, as JSON holds them; without the scores of the single images."""
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
    """
    if part not in ("test", "train", "all"):
        raise InputError(f"part must be test, train or all; got {part!r}")
    classifier = _classifier(model)
    images = source if isinstance(source, Source) else load_source(str(source), skip_corrupt=skip_corrupt)
    return evaluate_classifier(classifier, images, part)


def evaluate_classifier(classifier: Classifier, source: Source, part: Part = "test") -> Evaluation:
    """`evaluate`, of a classifier and images that are loaded."""
    split = whole(source) if part == "all" else getattr(source, part)
    places = _places(classifier, source)
    scores = np.concatenate(list(_scores(classifier, split)))
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
    classifier = _classifier(model)
    scores = np.concatenate(list(_scores(classifier, Split(np.array(paths), np.zeros(len(paths), "int32")))))
    names = classifier.classes or tuple(map(str, range(scores.shape[1])))
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return [[(names[i], float(row[i])) for i in order] for row, order in zip(scores, best, strict=True)]


def images_in(paths: Sequence[Path]) -> list[Path]:
    """Return the image files that paths name: themselves, and those in folders and below.

    Raises:
        InputError: a path leads nowhere, or a folder holds no image.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = find_images(path.resolve().parent, [path]).files[path]
            if not inside:
                raise InputError(f"{path} holds no image ({', '.join(EXTENSIONS)})")
            found += map(Path, inside)
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"there is no image {path}")
    return found


def whole(source: Source) -> Split:
    """All images of a source, to train on and to test on."""
    parts = source.train, source.test
    return Split(np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts]))


def _classifier(model: Any) -> Classifier:
    if isinstance(model, Classifier):
        return model
    if not isinstance(model, keras.Model) and str(model).endswith(".tflite"):
        raise InputError(
            f"a .tflite file runs in LiteRT: pass keras_se.export.load_classifier({str(model)!r}), which reads it"
        )
    return classifier_of(model)


def _places(classifier: Classifier, source: Source) -> np.ndarray | None:
    """The place of each class of the source among the classifier's; None where the classifier's have no names."""
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


def _scores(classifier: Classifier, split: Split) -> Iterator[np.ndarray]:
    """The classifier's scores of the images, batch by batch."""
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


def _share(part: Any, of: Any) -> float | None:
    return float(part / of) if of else None
