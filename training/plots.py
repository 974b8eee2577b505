"""Pictures of a run and of an evaluation; they need the extra [plot].

In: the figures. Out: an image file of the kind that its name says.
"""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from keras_se.pictures import new_figure, save_figure
from keras_se.training.data.image_files import read_image
from keras_se.training.data.sources import Split
from keras_se.training.evaluation import BINS, Evaluation

_NAMED = 25  # classes whose names fit beside a matrix
_COUNTED = 12  # and whose counts fit into it
_SHOWN = 16  # images


def plot_evaluation(evaluation: Evaluation, path: Path) -> None:
    """Draw the confusion matrix, and how often each score is right.

    Raises:
        InputError: matplotlib is not installed, or cannot write such a file.
    """
    figure = new_figure(12, 5.5)
    matrix, reliability = figure.subplots(1, 2, width_ratios=(1.2, 1))
    _draw_matrix(figure, matrix, evaluation)
    _draw_reliability(reliability, evaluation)
    figure.suptitle(f"{Path(evaluation.name).name}: {evaluation.top1:.1%} of {evaluation.images} images right")
    save_figure(figure, path)


def plot_run(history: Path, evaluation: Evaluation, split: Split, path: Path) -> None:
    """Draw a run: loss, accuracy and learning rate by epoch, the confusion matrix, and the worst mistakes.

    Args:
        history: the run's history.csv.
        evaluation: of the run's model on `split`.
        split: the test images.
        path: of the picture.
    Raises:
        InputError: matplotlib is not installed, or cannot write such a file.
    """
    with history.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    epochs = [int(float(row["epoch"])) + 1 for row in rows]
    figure = new_figure(13, 13)
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.5))
    curves = above.subplots(1, 3)
    for axes, name in zip(curves, ("loss", "accuracy", "learning_rate"), strict=True):
        for column, label in ((name, "training"), (f"val_{name}", "test")):
            if column in rows[0]:
                values = [float(row[column]) for row in rows]
                axes.plot(epochs, values, marker="." if len(rows) < 40 else "", label=label)
        axes.set(title=name.replace("_", " "), xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    curves[0].legend()
    left, right = below.subfigures(1, 2)
    _draw_matrix(figure, left.subplots(), evaluation)
    _draw_mistakes(right, evaluation, split)
    figure.suptitle(f"{evaluation.top1:.1%} of {evaluation.images} test images right")
    save_figure(figure, path)


def worst_mistakes(evaluation: Evaluation, most: int = _SHOWN) -> list[int]:
    """Return the places of the images with the greatest scores for a class that is not theirs, the greatest first."""
    best = evaluation.scores.argmax(1)
    wrong = np.flatnonzero(best != evaluation.labels)
    return wrong[np.argsort(-evaluation.scores[wrong, best[wrong]], kind="stable")][:most].tolist()


def _draw_matrix(figure: Any, axes: Any, evaluation: Evaluation) -> None:
    counts = evaluation.confusion
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(title="share of each class (row) taken for each (column)")
    size = len(counts)
    if size <= _NAMED:
        axes.set_xticks(range(size), evaluation.classes, rotation=90)
        axes.set_yticks(range(size), evaluation.classes)
    if size <= _COUNTED:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    figure.colorbar(image, ax=axes, shrink=0.7)


def _draw_reliability(axes: Any, evaluation: Evaluation) -> None:
    confidences = evaluation.scores.max(1)
    right = evaluation.scores.argmax(1) == evaluation.labels
    number = np.clip(np.ceil(confidences * BINS).astype(int) - 1, 0, BINS - 1)
    images = np.bincount(number, minlength=BINS)
    share = np.bincount(number, weights=right, minlength=BINS) / np.maximum(images, 1)
    middle = (np.arange(BINS) + 0.5) / BINS
    axes.bar(middle[images > 0], share[images > 0], width=0.9 / BINS, color="tab:blue", label="right")
    axes.plot([0, 1], [0, 1], color="black", linestyle="--", label="calibrated")
    for x, y, count in zip(middle, share, images, strict=True):
        if count:
            axes.text(x, y + 0.01, str(count), ha="center", fontsize=7)
    axes.set(
        title=f"expected calibration error {evaluation.calibration_error:.3f}",
        xlabel="greatest score",
        ylabel="share of images right, and their number",
        xlim=(0, 1),
        ylim=(0, 1.08),
    )
    axes.legend(loc="upper left")


def _draw_mistakes(figure: Any, evaluation: Evaluation, split: Split) -> None:
    places = worst_mistakes(evaluation)
    figure.suptitle("the images it is most wrong about" if places else "no test image is wrong")
    if not places:
        return
    grid = figure.subplots(4, 4).flat
    for axes in grid:
        axes.axis("off")
    for axes, place in zip(figure.axes, places, strict=False):
        image = split.images[place]
        axes.imshow(image if isinstance(image, np.ndarray) else read_image(str(image)))
        scores = evaluation.scores[place]
        taken, true = evaluation.classes[scores.argmax()], evaluation.classes[evaluation.labels[place]]
        axes.set_title(f"{true:.18}\nnot {taken:.18} {scores.max():.2f}", fontsize=7)
