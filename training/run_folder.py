"""The folder of a run: what is in it, and whom it is free for."""

import csv
import dataclasses
import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_se.atomic import remove_unfinished, replacing, writable_folder, write_json
from keras_se.errors import InputError
from keras_se.preprocessing import RECORD, Preprocessing
from keras_se.training.data import Source
from keras_se.training.distribution import Devices
from keras_se.training.recipes import Recipe
from keras_se.versions import installed_versions

MODEL = "model.keras"
BEST = "best.safetensors"
"""The weights of the best epoch so far, of an unfinished run."""
CHECKPOINTS = "checkpoints"
HISTORY = "history.csv"
TENSORBOARD = "tensorboard"
_TOKEN = ".workers"


@dataclass(frozen=True)
class Run:
    """A finished run: its model with the weights of the best epoch, the figures of each epoch, its folder."""

    model: keras.Model
    history: dict[str, list[float]]
    folder: Path
    accuracy: float
    """On the test images, with the weights of the best epoch."""


def open_folder(recipe: Recipe, *, overwrite: bool, resume: bool) -> Path:
    """The recipe's folder, if it may be written into.

    Raises:
        InputError: it holds another run, or an unfinished one that is neither to be resumed nor overwritten, or it
            cannot be written.
    """
    folder = Path(recipe.out)
    if overwrite and resume:
        raise InputError("a run is resumed or overwritten; got both --resume and --overwrite")
    begun, finished, model = ((folder / name).exists() for name in (CHECKPOINTS, RECORD, MODEL))
    if not (overwrite or resume) and (finished or model):
        raise InputError(f"{folder} holds a run already; choose another folder with --out, or pass --overwrite")
    if not (overwrite or resume) and begun:
        raise InputError(f"{folder} holds an unfinished run; go on with --resume, or pass --overwrite")
    if resume and model and not (begun or finished):
        raise InputError(f"{folder} holds a model and nothing to resume; choose another folder, or pass --overwrite")
    return writable_folder(folder)


def read_finished(folder: Path, recipe: Recipe) -> Run | None:
    """The run that the folder holds, if it is finished.

    Raises:
        InputError: it had another recipe, or its record is damaged.
    """
    record = folder / RECORD
    if not record.exists():
        return None
    try:
        fields = json.loads(record.read_text())
        check_same_recipe(settings(Recipe(**fields["recipe"])), settings(recipe), folder)
        with (folder / HISTORY).open(newline="") as file:
            history = by_name(list(csv.DictReader(file)))
        run = Run(keras.models.load_model(folder / MODEL), history, folder, fields["test_accuracy"])
    except (KeyError, TypeError, OSError, json.JSONDecodeError) as error:
        raise InputError(f"{folder} does not hold a whole run ({error!r}); train again with --overwrite") from None
    clear_state(folder)  # if it was killed before it could
    return run


def write_run(run: Run, recipe: Recipe, source: Source, preprocessing: Preprocessing) -> None:
    """Write the model and its record, and remove what only an unfinished run needs."""
    with replacing(run.folder / MODEL) as path:
        run.model.save(path)
    write_json(run.folder / RECORD, _record(run, recipe, source, preprocessing))
    clear_state(run.folder)


def check_shared(folder: Path, devices: Devices) -> None:
    """Refuse a folder that only some of the workers see. All of them must ask.

    Raises:
        InputError: the chief's file in it is not there for all.
    """
    token = folder / _TOKEN
    if devices.chief:
        token.touch()
    devices.wait_for_all()
    missing = devices.in_any_worker(not token.exists())
    if devices.chief:
        token.unlink()
    if missing:
        raise InputError(f"--out must be a folder that all workers share; not all of them see what is in {folder}")


def settings(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe decides on the weights, as JSON keeps it; strategies divide the work."""
    fields = {**dataclasses.asdict(recipe), "model_arguments": dict(recipe.model_arguments)}
    free = {"out", "strategy", "skip_corrupt", "checkpoint_steps"}
    try:
        return json.loads(json.dumps({name: value for name, value in fields.items() if name not in free}))
    except TypeError as error:
        raise InputError(
            f"model_arguments must be what JSON can hold; got {recipe.model_arguments} ({error})"
        ) from None


def check_same_recipe(held: dict[str, Any], given: dict[str, Any], folder: Path) -> None:
    """Refuse to go on with a run that began with other settings.

    Raises:
        InputError: they differ, with the first name and both values.
    """
    for name, value in given.items():
        if held.get(name) != value:
            raise InputError(
                f"the run in {folder} has {name}={held.get(name)!r}; got {value!r}: go on with the same, or start anew "
                "with --overwrite"
            )


def by_name(rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    """The rows of a history as lists by the name of what was measured."""
    return {name: [float(row[name]) for row in rows] for name in rows[0] if name != "epoch"}


def clear_unfinished_files(folder: Path) -> None:
    """Remove what a process that was killed while it wrote has left."""
    remove_unfinished(folder, folder / CHECKPOINTS)


def clear(folder: Path) -> None:
    """Remove an earlier run, once nothing can be refused any more."""
    for name in (RECORD, MODEL, HISTORY):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / TENSORBOARD, ignore_errors=True)
    clear_state(folder)


def clear_state(folder: Path) -> None:
    """Remove what an unfinished run needs."""
    (folder / BEST).unlink(missing_ok=True)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def _record(run: Run, recipe: Recipe, source: Source, preprocessing: Preprocessing) -> dict:
    return {
        "recipe": {**dataclasses.asdict(recipe), "model_arguments": dict(recipe.model_arguments)},
        "preprocessing": preprocessing.to_dict(),
        "classes": source.classes,
        "images": {"train": len(source.train), "test": len(source.test), "left_out_as_corrupt": source.corrupt},
        "parameters": sum(math.prod(variable.shape) for variable in run.model.trainable_variables),
        "test_accuracy": run.accuracy,
        "versions": installed_versions(),
    }
