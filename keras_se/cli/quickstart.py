"""Command `keras-se quickstart`: the whole path once, offline, in minutes."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from keras_se.atomic_files import check_writable
from keras_se.cli.command import Command
from keras_se.cli.report import check_page, write_report
from keras_se.cli.report_facts import find_files, read_facts
from keras_se.cli.report_figures import measure_files
from keras_se.cli.tables import Rows, parity_rows
from keras_se.cli.train_result import finish_run


@dataclass(frozen=True)
class Quickstart(Command):
    """Train a small SE-MobileNet on real digits, export it in five formats, and prove that the files agree."""

    example: ClassVar[str] = "keras-se quickstart --out quickstart"

    out: Path = Path("keras-se-quickstart")
    """Folder for the model, the files and the report; an earlier quickstart there is replaced."""

    def run(self) -> Rows:
        return run_quickstart(self.out)


def run_quickstart(out: Path) -> Rows:
    """Train a small SE-MobileNet on scikit-learn's digits, export it in five formats and compare the files.

    Writes into `out` the run folder, the .tflite files with their manifests, and `report.html` with its figures in
    `report.json`.
    """
    from keras_se.export import export
    from keras_se.export.artifacts import check_replaceable
    from keras_se.export.evaluation.parity import compare_all
    from keras_se.export.quantization.recipes import DEFAULT_RECIPES
    from keras_se.preprocessing import preprocessing_of
    from keras_se.training import PRESETS, train
    from keras_se.training.data.input_pipeline import sample
    from keras_se.training.data.sources import load_source

    check_writable(out)
    recipe = dataclasses.replace(PRESETS["digits"], out=str(out / "run"))
    check_page(out)
    for name in DEFAULT_RECIPES:
        check_replaceable(out, f"{recipe.model}.{name}")
    run = train(recipe, overwrite=True)
    source, model_file = load_source(recipe.data), run.folder / "model.keras"
    finish_run(run, source, recipe.data)
    preprocessing = preprocessing_of(run.model, model_file)
    calibration, _ = sample(source.train, preprocessing, 500)
    artifacts = export(model_file, out, recipes=DEFAULT_RECIPES, calibration=calibration)
    images, labels = sample(source.test, preprocessing, len(source.test))
    rows = compare_all(run.model, [artifact.path for artifact in artifacts], images, labels=labels)
    measured = {row.file: row for row in rows if (row.engine, row.reference) == ("litert", "keras")}
    verdicts = {row.file: "pass" for row in rows} | {row.file: "fail" for row in rows if row.failures}
    document = {
        "float_accuracy": run.accuracy,
        "artifacts": [
            {
                "path": str(artifact.path),
                "recipe": artifact.recipe,
                "bytes": artifact.manifest["bytes"],
                "accuracy": measured[str(artifact.path)].accuracy,
                "loss": measured[str(artifact.path)].to_dict()["loss"],
                "verdict": verdicts[str(artifact.path)],
            }
            for artifact in artifacts
        ],
        "parity": [row.to_dict() for row in rows],
    }
    parity = parity_rows(rows)
    reported = find_files(out)
    page = write_report(measure_files(read_facts(reported), reported, rows, (images, labels)), out)
    closing = f"float accuracy {run.accuracy:.4f} on {len(images)} test digits; the report is {page}"
    return dataclasses.replace(parity, document=document, notes=(*parity.notes, closing))
