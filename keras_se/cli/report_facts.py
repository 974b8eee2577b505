"""Facts that a run and its files tell of themselves, for the report and the model card.

In: a folder with a run, exported files, or both. Out: `Facts`, which JSON can hold.
"""

import csv
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_se.atomic_files import read_object
from keras_se.errors import InputError

if TYPE_CHECKING:
    pass

_RECORD = "run.json"


@dataclass(frozen=True)
class ReportedFiles:
    """Run and files of a folder, which the report is about."""

    run: Path | None
    """Folder of the run."""
    files: tuple[Path, ...]
    """TFLite files that have a manifest."""

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
    """Facts of a run and its files."""

    title: str
    record: Mapping[str, Any] | None = None
    """Content of the run's run.json."""
    history: list[dict[str, float]] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    """A row for each file: name, recipe, target, bytes, accuracy, milliseconds, manifest, command."""
    parity: list[dict[str, Any]] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)
    """Operations of the int8 file that lose most or take longest: name, operation, decibels, lost, milliseconds."""
    commands: list[tuple[str, str]] = field(default_factory=list)
    """Pairs of what a command makes, and the command."""
    images: int = 0
    """Number of images that parity and accuracy are measured on."""


def find_files(folder: Path) -> ReportedFiles:
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
    return ReportedFiles(run, tuple(dict.fromkeys(files)))


def read_facts(reported: ReportedFiles) -> Facts:
    """Return what a run and files say of themselves, without measuring anything.

    Raises:
        InputError: the record or a manifest is damaged.
    """
    record, history = None, []
    if reported.run is not None:
        record = _read(reported.run / _RECORD)
        history = _history(reported.run / "history.csv")
    files = [_file(path, reported.names[path.resolve()]) for path in reported.files]
    name = (record or {}).get("recipe", {}).get("model") or (files[0]["manifest"]["model"] if files else "model")
    facts = Facts(str(name), record, history, files)
    if reported.run is not None and record is not None:
        facts.commands.append(("the run", _train_command(record)))
    facts.commands += [(file["name"], file["command"]) for file in files]
    return facts


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
    """Return the command that trains as the record says, from the first preset that has the same where no option is."""
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
