"""What is known of a run and its files, measured once: the facts of the report and of the model card.

In: a folder with a run, exported files, or both. Out: `Facts`, which JSON can hold.
"""

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_se.atomic_files import read_object
from keras_se.errors import InputError

if TYPE_CHECKING:
    from keras_se.export import Parity

_LAYERS = 12  # of a table of layers
_RECORD = "run.json"


@dataclass(frozen=True)
class FoundFiles:
    """Where a folder has what is reported on."""

    run: Path | None
    """The run's folder."""
    files: tuple[Path, ...]
    """The .tflite files with a manifest."""

    @property
    def names(self) -> dict[Path, str]:
        """Name of each file, by its resolved path; with its folder where another file has the same."""
        counts = Counter(path.name for path in self.files)
        return {
            path.resolve(): path.name if counts[path.name] == 1 else f"{path.resolve().parent.name}/{path.name}"
            for path in self.files
        }


@dataclass
class Facts:
    """What is known of a run and its files."""

    title: str
    record: Mapping[str, Any] | None = None
    """The run's run.json."""
    history: list[dict[str, float]] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    """Of each file: name, recipe, target, bytes, accuracy, milliseconds, manifest, command."""
    parity: list[dict[str, Any]] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)
    """Of the int8 file's operations that lose most or take longest: name, operation, decibels, lost, milliseconds."""
    commands: list[tuple[str, str]] = field(default_factory=list)
    """What it makes, and the command."""
    images: int = 0
    """That parity and accuracy are measured on."""


def find_files(folder: Path) -> FoundFiles:
    """Find a run and exported files in a folder and the folders in it.

    Raises:
        InputError: there is no such folder, it has several runs, or neither a run nor a file.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    records = [path for pattern in (_RECORD, f"*/{_RECORD}") for path in sorted(folder.glob(pattern))]
    runs = [path.parent for path in records if (path.parent / "model.keras").is_file()]
    if len(runs) > 1:
        raise InputError(f"a report is of one run; {folder} has {', '.join(map(str, runs))}: name one of these folders")
    run = runs[0] if runs else None
    around = [folder] if run != folder else [folder, folder.with_name("files")]
    files = [path for place in around for pattern in ("*.tflite", "*/*.tflite") for path in sorted(place.glob(pattern))]
    files = [path for path in files if path.with_name(f"{path.name}.json").is_file()]
    if run is None and not files:
        raise InputError(
            f"{folder} holds neither a run (run.json beside model.keras) nor a .tflite file with its manifest; "
            "keras-se train and keras-se export write them"
        )
    return FoundFiles(run, tuple(dict.fromkeys(files)))


def collect_facts(found: FoundFiles, *, data: str | None = None, images: int = 200, runs: int = 20) -> Facts:
    """Measure what a report says: parity and accuracy, where there are a model and images; latency; layers.

    Args:
        found: the run and the files.
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

    facts = read_facts(found)
    source = data or _source_of(facts.record)
    samples = rows = None
    if found.run is not None and source is not None and found.files:
        preprocessing = recorded_preprocessing(found.run / "model.keras")
        if preprocessing is not None:
            samples = sample(load_source(source, skip_corrupt=True).test, preprocessing, images)
            runnable = [path for path in found.files if _runs_here(path)]
            model = load_model_file(found.run / "model.keras")
            rows = compare_all(model, runnable, samples[0], labels=samples[1]) if runnable else None
    return measure_files(facts, found, rows, samples, runs)


def read_facts(found: FoundFiles) -> Facts:
    """Return what a run and files say of themselves, without measuring anything.

    Raises:
        InputError: the record or a manifest is damaged.
    """
    record, history = None, []
    if found.run is not None:
        record = _read(found.run / _RECORD)
        history = _history(found.run / "history.csv")
    files = [_file(path, found.names[path.resolve()]) for path in found.files]
    name = (record or {}).get("recipe", {}).get("model") or (files[0]["manifest"]["model"] if files else "model")
    facts = Facts(str(name), record, history, files)
    if found.run is not None and record is not None:
        facts.commands.append(("the run", _train_command(record)))
    facts.commands += [(file["name"], file["command"]) for file in files]
    return facts


def measure_files(
    facts: Facts, found: FoundFiles, rows: "Sequence[Parity] | None", samples: Any, runs: int = 20
) -> Facts:
    """Add to the facts what parity has found and how long the files take."""
    from keras_se.export import benchmark

    rows = rows or []
    names = found.names
    facts.parity = [{**row.to_dict(), "file": names[Path(row.file).resolve()]} for row in rows]
    facts.images = 0 if samples is None else len(samples[0])
    accuracy = {row["file"]: row["accuracy"] for row in facts.parity if _is_of_litert(row)}
    paths = [path for path in found.files if _runs_here(path)]
    benches = benchmark(paths, engines=("litert",), runs=runs) if paths else []
    costs = {names[Path(bench.file).resolve()]: bench for bench in benches}
    for file in facts.files:
        bench = costs.get(file["name"])
        file["accuracy"] = accuracy.get(file["name"])
        file["milliseconds"] = None if bench is None else bench.median_ms
        file["arena_bytes"] = None if bench is None else bench.arena_bytes
    if samples is not None:
        facts.layers = _layers(facts.files, found.files, samples[0])
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


def _file(path: Path, name: str) -> dict[str, Any]:
    manifest = _read(path.with_name(f"{path.name}.json"))
    missing = [name for name in ("model", "recipe", "target", "bytes") if name not in manifest]
    if missing:
        raise InputError(f"{path.name}.json is not a manifest (it has no {missing[0]}); export the file again")
    calibrated = " --data DATA" if manifest.get("calibration") else ""
    command = (
        f"keras-se export run/model.keras{calibrated} --target {manifest['target']} --recipes {manifest['recipe']}"
    )
    return {
        "name": name,
        "path": str(path),
        "recipe": manifest["recipe"],
        "target": manifest["target"],
        "bytes": manifest["bytes"],
        "accuracy": None,
        "milliseconds": None,
        "npu": manifest.get("vela"),
        "manifest": manifest,
        "command": f"{command} --out {path.parent.name or '.'}",
    }


_OPTIONS = ("epochs", "batch_size", "image_size", "learning_rate", "warmup_epochs", "optimizer", "weight_decay")
_OPTIONS += ("label_smoothing", "augmentation", "class_weights", "freeze", "unfreeze_at", "unfrozen_rate", "seed")
"""Fields of a recipe that `keras-se train` has options for."""
_OF_PRESETS = ("crop", "schedule", "step_epochs", "momentum")
"""Fields that a preset alone sets."""


def _train_command(record: Mapping[str, Any]) -> str:
    """The command that trains as the record says, from the first preset that has the same where no option is."""
    from keras_se.training.recipes import PRESETS

    recipe = record.get("recipe", {})
    arguments = dict(recipe.get("model_arguments") or {})
    weights = arguments.pop("weights", None)
    alike = (
        name
        for name, preset in PRESETS.items()
        if all(getattr(preset, field) == recipe.get(field) for field in _OF_PRESETS)
    )
    preset = next(alike, "small_images")
    words = ["keras-se train", f"--model {recipe.get('model')}", f"--data {recipe.get('data')}"]
    words += [f"--weights {weights}"] if weights else []
    words += [f"--recipe {preset}"]
    words += [f"--{name.replace('_', '-')} {recipe[name]}" for name in _OPTIONS if name in recipe]
    words += ["--binary"] if recipe.get("binary") else []
    words += [f"--set {' '.join(f'{name}={value}' for name, value in arguments.items())}"] if arguments else []
    return " ".join([*words, "--out run"])


def _runs_here(path: Path) -> bool:
    """Whether LiteRT runs the file: those that a device's compiler wrote have operations of their own."""
    from keras_se.export.tflite.model import TFLiteModel

    return not TFLiteModel.load(path).custom_operations


def _source_of(record: Mapping[str, Any] | None) -> str | None:
    from keras_se.training.data.sources import is_source

    data = (record or {}).get("recipe", {}).get("data")
    return data if isinstance(data, str) and is_source(data) else None


def _history(path: Path) -> list[dict[str, float]]:
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file, strict=True)]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{path} is damaged ({error}); train again with --overwrite") from None
    _check_finite(rows, path)
    return rows


def _read(path: Path) -> dict[str, Any]:
    try:
        document = read_object(path)
    except ValueError as error:
        raise InputError(f"{path} cannot be read ({error}); make it again") from None
    _check_finite(document, path)
    return document


def _check_finite(document: Any, path: Path, name: str = "") -> None:
    """Refuse figures that are no numbers: a page would show them as if they were.

    Raises:
        InputError: there is one, with its name.
    """
    if isinstance(document, float) and not math.isfinite(document):
        raise InputError(f"{path} has a figure that is no number ({name}: {document}); make it again")
    if isinstance(document, dict):
        for key, child in document.items():
            _check_finite(child, path, key)
    elif isinstance(document, list):
        for child in document:
            _check_finite(child, path, name)
