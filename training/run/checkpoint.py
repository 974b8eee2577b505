"""Write the state of a training run in files that appear whole or not at all."""

import contextlib
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from keras_se.atomic_files import write_bytes
from keras_se.errors import InputError
from keras_se.training.run.inventory import LIST, Inventory

_TEXT = "text"
_HASH = "sha256"


@dataclass
class Progress:
    """Position that a run has reached, beside its variables."""

    step: int = 0
    """Updates done; the stream of images goes on after that many batches."""
    history: list[dict[str, float]] = field(default_factory=list)
    """Figures of each finished epoch."""
    best: float = -1.0
    """Best test accuracy of a finished epoch."""
    begun: dict[str, float] = field(default_factory=dict)
    """Figures of the epoch in progress, summed over its updates."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings that a run which goes on from here must have too."""


class Checkpoints:
    """Newest states of a run in a folder, one `.safetensors` file each.

    A file holds every variable of a model (weights, moving statistics, seeds) and of its optimizer (momenta, averages
    of weights, the number of updates), and the progress.
    """

    def __init__(self, folder: Path, inventory: Inventory | None = None, keep: int = 3):
        """Open the checkpoints of a folder.

        Args:
            inventory: of the run, which lists what is its own; None takes every file of such a name for its own.
            keep: how many files stay; with one, nothing is left to fall back on.
        """
        self.folder = folder
        self.inventory = inventory
        self.keep = keep
        self._whole: Path | None = None  # the one that was last written or read

    def files(self) -> list[Path]:
        """List the checkpoints, oldest first."""
        saved = self.folder.glob("step-*.safetensors")
        return sorted(path for path in saved if self.inventory is None or self.inventory.has(path))

    def save(self, model: keras.Model, progress: Progress) -> Path:
        """Write the state, then remove files that are one too many.

        Raises:
            InputError: the folder cannot be written or the disk is full; the checkpoints before are as they were.
        """
        path = self.folder / f"step-{progress.step:09}.safetensors"
        with self.disk_trouble_named(path):
            if self.inventory is not None:
                self.inventory.add(path)
            write_state(path, _variables(model), json.dumps(vars(progress)))
        self._whole = path
        for old in self.files()[: -self.keep]:
            old.unlink(missing_ok=True)
        return path

    def list_events(self) -> None:
        """Have the inventory list what TensorBoard writes."""
        if self.inventory is not None:
            with self.disk_trouble_named(self.folder.with_name(LIST)):
                self.inventory.add_events()

    @contextlib.contextmanager
    def disk_trouble_named(self, path: Path) -> Iterator[None]:
        """Around the writing of a file of the run: says which, and what there is to go on from."""
        try:
            yield
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror}); {self.what_is_left()}") from None

    def what_is_left(self) -> str:
        """Tell a user whose run could not write what remains to go on from."""
        if self._whole is None:
            return "there is no checkpoint yet"
        return f"{self._whole.name} is whole: make room and go on from it with --resume"

    def restore(self, model: keras.Model) -> Progress | None:
        """Give `model` and its optimizer the newest state that is whole, and say which are not.

        Returns:
            The progress; None if there is no checkpoint.
        Raises:
            InputError: every one is damaged, or the newest whole one is of another model.
        """
        for path in reversed(self.files()):
            try:
                arrays, text = read_state(path)
                progress = Progress(**json.loads(text))
            except (InputError, ValueError, TypeError) as error:
                print(f"keras-se: {error}; trying the checkpoint before it", file=sys.stderr)
                continue
            assign(_variables(model), arrays, path)
            self._whole = path
            return progress
        if self.files():
            raise InputError(f"every checkpoint in {self.folder} is damaged; start anew with --overwrite")
        return None


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    held = {"model": model.variables, "optimizer": model.optimizer.variables}
    return {
        f"{owner}/{name}": variable
        for owner, variables in held.items()
        for name, variable in numbered(variables).items()
    }


def numbered(variables: Iterable[keras.Variable]) -> dict[str, keras.Variable]:
    """Return variables by place and the last word of their name: Keras may number the rest otherwise next time."""
    return {f"{number}/{variable.name.rpartition('_')[2]}": variable for number, variable in enumerate(variables)}


def write_state(path: Path, variables: Mapping[str, keras.Variable], text: str = "") -> None:
    """Write the variables' values, `text` and a hash of both to `path`, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    arrays = {name: _array(variable) for name, variable in variables.items()}
    write_bytes(path, safetensors.numpy.save(arrays, {_TEXT: text, _HASH: _digest(arrays, text)}))


def read_state(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """Read what `write_state` wrote.

    Raises:
        InputError: the file is cut short or otherwise damaged.
    """
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata()
            names = file.keys()
            arrays = {name: file.get_tensor(name) for name in names}
        if _digest(arrays, metadata[_TEXT]) != metadata[_HASH]:
            raise ValueError("its contents do not have its hash")
        return arrays, metadata[_TEXT]
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error})") from None


def assign(variables: Mapping[str, keras.Variable], arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Give the variables the values that were read from `path`.

    Raises:
        InputError: their names or shapes are not the same.
    """
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    read = {name: array.shape for name, array in arrays.items()}
    if shapes != read:
        other = min(set(shapes.items()) ^ set(read.items()))[0]
        raise InputError(f"{path} is of another model or optimizer: they differ in {other}")
    for name, variable in variables.items():
        variable.assign(arrays[name])


def _array(variable: keras.Variable) -> np.ndarray:
    return np.array(variable.numpy(), order="C")


def _digest(arrays: Mapping[str, np.ndarray], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()
