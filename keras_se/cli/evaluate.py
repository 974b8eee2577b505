"""Command `keras-se evaluate`: a model or a file and labelled images in, how often it is right out."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from tyro.conf import Positional, arg

from keras_se.cli.classifiers import ClassifierOptions
from keras_se.cli.command import left_out
from keras_se.cli.elsewhere import Elsewhere
from keras_se.cli.tables import Rows
from keras_se.errors import InputError
from keras_se.pictures import check_picture

if TYPE_CHECKING:
    from keras_se.training import Evaluation


@dataclass(frozen=True)
class Evaluate(Elsewhere, ClassifierOptions):
    """Measure a model or a .tflite file on labelled images: top-1, top-5, each class, what is confused, calibration."""

    example: ClassVar[str] = "keras-se evaluate files/net.tflite --data photos/ --plot matrix.png"

    model: Positional[Path]
    """Folder of a run, a .keras file, or a .tflite file."""
    data: Annotated[str, arg(metavar="SOURCE")]
    """Where the images come from, as in `train`; their classes must be among the model's."""
    part: Literal["test", "train", "all"] = "test"
    """Part of the images: those that training tests on, those that it trains on, or all."""
    most: int = 20
    """Classes to show, those that are recognised least; with --json all."""
    plot: Annotated[Path | None, left_out("no picture", metavar="PATH")] = None
    """An image file for the confusion matrix and the calibration; needs the extra [plot]."""

    def run_there(self) -> Rows:
        from keras_se.training import evaluate

        if self.most < 1:
            raise InputError(f"most must be at least 1; got {self.most}")
        if self.plot is not None:
            check_picture(self.plot)
        classifier = self.classifier(self.model)
        evaluation = evaluate(classifier, self.data, part=self.part, skip_corrupt=self.skip_corrupt)
        if self.plot is not None:
            from keras_se.training.plots import plot_evaluation

            plot_evaluation(evaluation, self.plot)
        return evaluation_rows(evaluation, self.most)


def evaluation_rows(evaluation: "Evaluation", most: int) -> Rows:
    """Return the classes that are recognised least, what they were taken for, and the figures of all images."""
    shown = [row for row in evaluation.per_class if row.images]
    shown = sorted(shown, key=lambda row: 1.0 if row.recall is None else row.recall)[:most]
    return Rows(
        document=evaluation.to_dict(),
        columns=("class", "images", "recall", "precision", "taken for"),
        cells=[
            (
                row.name[:24],
                str(row.images),
                _share(row.recall),
                _share(row.precision),
                _taken_for(evaluation, row.name),
            )
            for row in shown
        ],
        notes=summary_lines(evaluation),
    )


def summary_lines(evaluation: "Evaluation") -> tuple[str, ...]:
    """Return the figures of all images, a line each."""
    top5 = "" if evaluation.top5 is None else f", top-5 {evaluation.top5:.4f}"
    return (
        f"top-1 {evaluation.top1:.4f}{top5}, of {evaluation.images} images",
        f"expected calibration error {evaluation.calibration_error:.4f}: scores against the share that is right",
    )


def _taken_for(evaluation: "Evaluation", name: str, most: int = 2) -> str:
    row = evaluation.confusion[evaluation.classes.index(name)]
    counts = {other: int(count) for other, count in zip(evaluation.classes, row, strict=True) if other != name}
    wrong = sorted((other for other in counts if counts[other]), key=lambda other: -counts[other])
    return ", ".join(f"{other[:12]} {counts[other]}" for other in wrong[:most])


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
