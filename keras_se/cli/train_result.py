"""Result of `keras-se train`: figures, files and next steps of a run, or what a dry run foresees.

In: a run and the images it was trained on, or a plan. Out: rows, and lines for people.
"""

import dataclasses
import importlib.util
from typing import TYPE_CHECKING

from keras_se.cli.evaluate import summary_lines
from keras_se.cli.tables import Rows

if TYPE_CHECKING:
    from keras_se.training import Evaluation, Run
    from keras_se.training.data.sources import Source
    from keras_se.training.dry_run import Plan


def finish_run(run: "Run", source: "Source", data: str) -> tuple["Evaluation", tuple[str, ...]]:
    """Evaluate a run, add the figures to its record and draw its picture.

    Returns:
        The evaluation, and lines that say how the run ended and what comes next.
    """
    from keras_se.classifier import classifier_of
    from keras_se.training import evaluate
    from keras_se.training.plots import plot_run
    from keras_se.training.run.run_folder import add_figures

    classifier = dataclasses.replace(classifier_of(run.folder), name=str(run.folder))
    evaluation = evaluate(classifier, source)
    drawing = importlib.util.find_spec("matplotlib") is not None
    add_figures(run.folder, evaluation.to_dict(), picture=drawing)
    if drawing:
        plot_run(run.folder / "history.csv", evaluation, source.test, run.folder / "report.png")
    accuracies = run.history["val_accuracy"]
    best = accuracies.index(max(accuracies)) + 1
    worst = [f"{row.name} {row.recall:.2f}" for row in evaluation.worst_classes() if row.recall is not None]
    pairs = [f"{true} taken for {taken} ({count})" for true, taken, count in evaluation.most_confused()]
    picture = "report.png has its curves and mistakes" if drawing else "pip install 'keras-se[plot]' draws report.png"
    return evaluation, (
        f"best epoch {best} of {len(accuracies)}",
        *summary_lines(evaluation),
        *([f"recognised least: {', '.join(worst)}"] if worst else []),
        *([f"confused most: {', '.join(pairs)}"] if pairs else []),
        f"everything is in {run.folder}; {picture}",
        f"next: keras-se predict {run.folder} IMAGE",
        f"next: keras-se export {run.folder / 'model.keras'} --data {data} --out {run.folder.with_name('files')}",
    )


def result_rows(run: "Run", evaluation: "Evaluation | None", lines: tuple[str, ...]) -> Rows:
    """Return a finished run as rows: its model, and the figures where it was evaluated."""
    model = str(run.folder / "model.keras")
    figures = {} if evaluation is None else {"evaluation": evaluation.to_dict()}
    return Rows(
        document={"model": model, "folder": str(run.folder), "accuracy": run.accuracy, **figures},
        columns=("file", "test accuracy"),
        cells=[(model, f"{run.accuracy:.4f}")],
        notes=lines,
    )


def plan_rows(planned: "Plan") -> Rows:
    """Return what a dry run foresees as rows."""
    rates, counts = planned.learning_rates, planned.classes.values()
    shown = sorted({*range(0, len(rates), max(1, len(rates) // 6)), len(rates) - 1})
    cells = [
        ("classes", f"{len(planned.classes)}, of {min(counts)} to {max(counts)} images to train on"),
        ("images", f"{sum(counts):,} to train on, {planned.test_images:,} to test on"),
        ("input", f"{planned.image_size[0]}x{planned.image_size[1]} pixels"),
        ("parameters", f"{planned.parameters:,}"),
        ("multiply-accumulates", f"{planned.macs / 1e9:.3f} G an image"),
        ("updates", f"{planned.steps:,} an epoch, {planned.epochs:,} epochs"),
        ("learning rate", ", ".join(f"{rates[place]:.4g}" for place in shown)),
        ("memory", f"{planned.memory_bytes / 2**30:.1f} GiB so far"),
        ("time", f"{planned.seconds_per_step:.3f} s an update, {_duration(planned.seconds)} in all, tests on top"),
    ]
    return Rows(document=planned.to_dict(), columns=("dry run", ""), cells=cells, notes=("nothing was written",))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
