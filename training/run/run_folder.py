"""Open the folder of a run, write its record, and read a finished one."""

import csv
import dataclasses
import json
import math
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_se.atomic_files import check_writable, read_object, replacing, writable_folder, write_json
from keras_se.errors import InputError, reason_of
from keras_se.layers.image_input import initial_weights_of
from keras_se.preprocessing import RECORD, Preprocessing
from keras_se.training.data.sources import Source
from keras_se.training.distribution.cluster import find_cluster
from keras_se.training.distribution.strategy import Devices
from keras_se.training.recipes import Recipe
from keras_se.training.run.checkpoint_callback import TIMINGS
from keras_se.training.run.inventory import (
    HISTORY,
    LIST,
    MODEL,
    PICTURE,
    Inventory,
    check_own,
    clear_state,
)
from keras_se.versions import installed_versions
from keras_se.weights.declared_size import check_declared_size


@dataclass(frozen=True)
class Run:
    """A finished run: its model with the weights of the best epoch, the figures of each epoch, its folder.

    `train` returns one.
    """

    model: keras.Model
    history: dict[str, list[float]]
    folder: Path
    accuracy: float
    """Accuracy on the test images, with the weights of the best epoch."""


def open_folder(recipe: Recipe, *, overwrite: bool, resume: bool) -> Path:
    """Return the recipe's folder, if it may be written into; it is not made yet.

    Raises:
        InputError: it holds another run, or an unfinished one that is neither to be resumed nor overwritten, or files
            of a run's names that no run has written, or it cannot be written.
    """
    folder = Path(recipe.out)
    if overwrite and resume:
        raise InputError("a run is resumed or overwritten; got both --resume and --overwrite")
    begun, finished = (os.path.lexists(folder / name) for name in (LIST, RECORD))
    if not (resume and finished):  # whose record is read and checked
        check_own(folder)
    if not (overwrite or resume) and finished:
        raise InputError(f"{folder} holds a run already; choose another folder with --out, or pass --overwrite")
    if not (overwrite or resume) and begun:
        raise InputError(f"{folder} holds an unfinished run; go on with --resume, or pass --overwrite")
    return check_writable(folder)


def read_finished(folder: Path, recipe: Recipe) -> Run | None:
    """Read the run that the folder holds, if it is finished.

    Raises:
        InputError: it had another recipe, or a file of it is damaged.
    """
    record = folder / RECORD
    if not os.path.lexists(record):
        return None
    accuracy = _read_record(record, recipe)
    history = _read_history(folder / HISTORY)
    try:
        check_declared_size(folder / MODEL)
        model = keras.models.load_model(folder / MODEL)
    except Exception as error:  # zip, JSON, HDF5 and deserialisation have no common error
        raise _damaged(folder / MODEL, error) from None
    if not isinstance(model, keras.Model):
        raise _damaged(folder / MODEL, TypeError(f"it holds a {type(model).__name__}"))
    if recipe.strategy != "multi_worker" or find_cluster().index == 0:
        clear_state(folder)  # if it was killed before it could
    return Run(model, history, folder, accuracy)


def _read_record(record: Path, recipe: Recipe) -> float:
    """Read the accuracy in the record of a run of that recipe."""
    try:
        fields = read_object(record)
        held = fields.get("recipe")
        if not isinstance(held, dict) or not isinstance(held.get("model_arguments"), dict):
            raise ValueError("it has no recipe")
        accuracy = fields.get("test_accuracy")
        if isinstance(accuracy, bool) or not isinstance(accuracy, int | float) or not 0 <= accuracy <= 1:
            raise ValueError(f"test_accuracy must be in 0..1; it is {accuracy!r:.80}")
        held_settings = settings(Recipe(**held))
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{record} is not the record of a finished run ({reason}); move it away, or choose another folder with "
            "--out"
        ) from None
    check_same_recipe(held_settings, settings(recipe), record.parent)
    return float(accuracy)


def _read_history(path: Path) -> dict[str, list[float]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        if not rows or None in rows[0] or "val_accuracy" not in rows[0]:
            raise ValueError("it must have a column val_accuracy and a row for each epoch")
        return by_name(rows)
    except (OSError, csv.Error, ValueError, TypeError, KeyError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is damaged or missing ({reason_of(error)}); train again with --overwrite")


def write_run(run: Run, recipe: Recipe, source: Source, preprocessing: Preprocessing, inventory: Inventory) -> None:
    """Write the model and its record, and remove what only an unfinished run needs."""
    with replacing(run.folder / MODEL) as path:
        run.model.save(path)
    inventory.add_events()
    files = sorted({*inventory.of_finished(), RECORD})
    write_json(run.folder / RECORD, {**_record(run, recipe, source, preprocessing), "files": files})
    clear_state(run.folder)


def add_figures(folder: Path, figures: Mapping[str, Any], *, picture: bool) -> None:
    """Add the figures of a run's evaluation to its record, and list its picture, which is then written."""
    record = read_object(folder / RECORD)
    confusion = figures["confusion"] if len(figures["classes"]) <= _MATRIX else None
    files = sorted({*record["files"], *([PICTURE] if picture else [])})
    write_json(folder / RECORD, {**record, "evaluation": {**figures, "confusion": confusion}, "files": files})


_MATRIX = 100
"""Classes of the greatest confusion matrix that a record holds."""


def check_shared(folder: Path, devices: Devices) -> None:
    """Make the folder where it is missing, and refuse one that only some of the workers see. All of them must ask.

    Raises:
        InputError: the chief's file in it is not there for all.
    """
    writable_folder(folder)
    if devices.workers == 1:
        return
    token = folder / f".workers-{int(devices.of_chief(secrets.randbits(48))):012x}"  # no file that was there before
    if devices.chief:
        token.touch(exist_ok=False)
    devices.wait_for_all()
    missing = devices.in_any_worker(not token.exists())
    if devices.chief:
        token.unlink()
    if missing:
        raise InputError(f"--out must be a folder that all workers share; not all of them see what is in {folder}")


def settings(recipe: Recipe) -> dict[str, Any]:
    """Return what decides on the weights in a recipe, as JSON keeps it; strategies divide the work."""
    fields = {**dataclasses.asdict(recipe), "model_arguments": dict(recipe.model_arguments)}
    free = {"out", "strategy", "skip_corrupt", "checkpoint_steps"}
    try:
        return json.loads(json.dumps({name: value for name, value in fields.items() if name not in free}))
    except TypeError as error:
        raise InputError(
            f"model_arguments must be what JSON can hold; got {recipe.model_arguments} ({error})"
        ) from None


def check_same_recipe(held: dict[str, Any], recorded: dict[str, Any], folder: Path) -> None:
    """Refuse to go on with a run that began with other settings.

    Raises:
        InputError: they differ, with the first name and both values.
    """
    for name, value in recorded.items():
        if held.get(name) != value:
            raise InputError(
                f"the run in {folder} has {name}={held.get(name)!r}; got {value!r}: go on with the same, or start anew "
                "with --overwrite"
            )


def by_name(rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Return the rows of a history as lists by the name of what was measured; times are no part of it."""
    names = [name for name in rows[0] if name not in ("epoch", *TIMINGS)]
    return {name: [float(row[name]) for row in rows] for name in names}


def _record(run: Run, recipe: Recipe, source: Source, preprocessing: Preprocessing) -> dict:
    return {
        "recipe": {**dataclasses.asdict(recipe), "model_arguments": dict(recipe.model_arguments)},
        "preprocessing": preprocessing.to_dict(),
        "weights": initial_weights_of(run.model),
        "classes": source.classes,
        "images": {
            "train": len(source.train),
            "test": len(source.test),
            "left_out_as_corrupt": source.corrupt,
            "left_out_as_no_images": dict(source.left_out),
        },
        "parameters": sum(math.prod(variable.shape) for variable in run.model.trainable_variables),
        "test_accuracy": run.accuracy,
        "versions": installed_versions(),
    }
