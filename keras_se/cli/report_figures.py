"""Figures of a report that are measured: parity and accuracy, latency, and the costs of single operations.

In: a run, its files and `Facts` that were read of them. Out: the same `Facts` with the figures.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_se.cli.report_facts import Facts, ReportedFiles, read_facts

if TYPE_CHECKING:
    from keras_se.export import Parity

_LAYERS = 12  # of a table of layers


def collect_facts(reported: ReportedFiles, *, data: str | None = None, images: int = 200, runs: int = 20) -> Facts:
    """Measure what a report says: parity and accuracy, where there are a model and images; latency; layers.

    Args:
        reported: the run and the files.
        data: the images' source; by default what the run was trained on, if it is still there.
        images: how many test images.
        runs: how often each file is timed.
    Raises:
        InputError: a file or its manifest is damaged, or the images cannot be read.
    """
    from keras_se.export import compare_all
    from keras_se.preprocessing import recorded_preprocessing
    from keras_se.training.data.input_pipeline import sample
    from keras_se.training.data.sources import load_source
    from keras_se.weights.model_file import load_model_file

    facts = read_facts(reported)
    source = data or _source_of(facts.record)
    samples = rows = None
    if reported.run is not None and source is not None and reported.files:
        preprocessing = recorded_preprocessing(reported.run / "model.keras")
        if preprocessing is not None:
            samples = sample(load_source(source, skip_corrupt=True).test, preprocessing, images)
            runnable = [path for path in reported.files if _runs_here(path)]
            model = load_model_file(reported.run / "model.keras")
            rows = compare_all(model, runnable, samples[0], labels=samples[1]) if runnable else None
    return measure_files(facts, reported, rows, samples, runs)


def measure_files(
    facts: Facts, reported: ReportedFiles, rows: "Sequence[Parity] | None", samples: Any, runs: int = 20
) -> Facts:
    """Add to the facts what parity has found and how long the files take."""
    from keras_se.export import benchmark

    rows = rows or []
    names = reported.names
    facts.parity = [{**row.to_dict(), "file": names[Path(row.file).resolve()]} for row in rows]
    facts.images = 0 if samples is None else len(samples[0])
    accuracy = {row["file"]: row["accuracy"] for row in facts.parity if _is_of_litert(row)}
    paths = [path for path in reported.files if _runs_here(path)]
    benches = benchmark(paths, engines=("litert",), runs=runs) if paths else []
    costs = {names[Path(bench.file).resolve()]: bench for bench in benches}
    for file in facts.files:
        bench = costs.get(file["name"])
        file["accuracy"] = accuracy.get(file["name"])
        file["milliseconds"] = None if bench is None else bench.median_ms
        file["arena_bytes"] = None if bench is None else bench.arena_bytes
    if samples is not None:
        facts.layers = _layers(facts.files, reported.files, samples[0])
    return facts


def _is_of_litert(row: Mapping[str, Any]) -> bool:
    return (row["engine"], row["reference"]) == ("litert", "keras")


def _layers(files: Sequence[Mapping[str, Any]], paths: Sequence[Path], images: Any) -> list[dict[str, Any]]:
    """Error and time of the operations of the first int8 file that has a float file of the same form."""
    from keras_se.export import benchmark, diagnose

    by_recipe = {(file["recipe"], file["target"]): path for file, path in zip(files, paths, strict=True)}
    forms = {(file["recipe"], file["target"]): file["manifest"].get("lowering") for file in files}
    for target in dict.fromkeys(file["target"] for file in files):
        float_key, int8_key = ("float32", target), ("static_wi8_ai8", target)
        if float_key in by_recipe and int8_key in by_recipe and forms[float_key] == forms[int8_key]:
            diagnoses = diagnose(by_recipe[float_key], by_recipe[int8_key], images[:20])
            [bench] = benchmark([by_recipe[int8_key]], engines=("litert",), runs=5, profile=True)
            times = {row["tensor"]: row["median_ms"] for row in bench.profile or ()}
            rows = [
                {
                    "name": diagnosis.name,
                    "operation": diagnosis.operation,
                    "decibels": diagnosis.to_dict()["sqnr_db"],
                    "lost": diagnosis.to_dict()["lost_db"],
                    "milliseconds": times.get(diagnosis.tensor),
                }
                for diagnosis in diagnoses
            ]
            worst = sorted(rows, key=lambda row: -(row["lost"] or 0))[: _LAYERS // 2]
            longest = sorted(rows, key=lambda row: -(row["milliseconds"] or 0))[: _LAYERS // 2]
            return [row for row in rows if row in worst or row in longest]
    return []


def _runs_here(path: Path) -> bool:
    """Tell whether LiteRT runs the file: those that a device's compiler wrote have operations of their own."""
    from keras_se.export.tflite.model import TFLiteModel

    return not TFLiteModel.load(path).custom_operations


def _source_of(record: Mapping[str, Any] | None) -> str | None:
    from keras_se.training.data.sources import is_source

    data = (record or {}).get("recipe", {}).get("data")
    return data if isinstance(data, str) and is_source(data) else None
