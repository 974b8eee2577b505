"""Read the files that Keras writes, as arrays by the name of their layer.

In: a `.weights.h5` file, or a `.keras` file, which holds one. Out: each layer's shapes and arrays. No class that a file
names is built and no code of it is run.
"""

import contextlib
import io
import json
import signal
import subprocess
import sys
import zipfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_se.errors import InputError, reason_of
from keras_se.layers.squeeze_excite import SqueezeExcite
from keras_se.weights.declared_size import check_declared_size

Shapes = tuple[tuple[int, ...], ...]

_WALK = Path(__file__).with_name("hdf5_walk.py")


@dataclass(frozen=True)
class KerasFile:
    """Names and shapes in a file, without its arrays."""

    path: Path
    shapes: Mapping[str, Shapes]
    """Shapes of each layer's variables, by its name; a layer within a layer is `OUTER/INNER`."""
    input_layer: Mapping[str, Any]
    """Configuration of the model's first layer; empty in a `.weights.h5` file."""


def read_keras_file(path: Path) -> KerasFile:
    """Read the names and shapes of a `.keras` or `.weights.h5` file.

    Raises:
        InputError: it is damaged, or names no layers, or declares far more than it holds.
    """
    _check_walk(path)
    check_declared_size(path)
    with _opened(path) as file:
        shapes = {name: tuple(tuple(array.shape) for array in stored) for name, stored in _layers(file["layers"])}
        return KerasFile(path, shapes, _input_layer(path))


def read_arrays(path: Path, names: Collection[str]) -> dict[str, list[np.ndarray]]:
    """Read the arrays of the named layers of a `.keras` or `.weights.h5` file.

    Raises:
        InputError: it is damaged.
    """
    with _opened(path) as file:
        return {name: [array[()] for array in stored] for name, stored in _layers(file["layers"]) if name in names}


def variables_by_layer(model: keras.Model) -> dict[str, list[Any]]:
    """Return the variables of a model of ours by the names that `read_keras_file` gives their layers."""
    variables = {}
    for layer in model.layers:
        if isinstance(layer, SqueezeExcite):
            variables[f"{layer.name}/reduce"] = layer.reduce.weights
            variables[f"{layer.name}/expand"] = layer.expand.weights
        elif layer.weights:
            variables[layer.name] = layer.weights
    return variables


def _check_walk(path: Path) -> None:
    """Refuse a file whose groups and attributes HDF5 cannot read, as a process of its own finds out."""
    walk = subprocess.run([sys.executable, "-P", str(_WALK), str(path)], capture_output=True, text=True)
    if walk.returncode < 0:
        reason = f"HDF5 ended by {signal.Signals(-walk.returncode).name}"
    else:
        reason = (walk.stderr.strip().splitlines() or ["HDF5 cannot read it"])[-1]
    if walk.returncode:
        raise InputError(f"{path} is damaged, or Keras has not written it ({reason}); save the model again")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import h5py

    try:
        with h5py.File(_weights_of(path) if path.suffix == ".keras" else path) as file:
            yield file
    except Exception as error:  # zip, HDF5 and h5py have no common error
        raise InputError(
            f"{path} is damaged, or Keras has not written it ({reason_of(error)}); save the model again"
        ) from None


def _weights_of(path: Path) -> io.BytesIO:
    with zipfile.ZipFile(path) as archive:
        return io.BytesIO(archive.read("model.weights.h5"))


def _input_layer(path: Path) -> dict[str, Any]:
    if path.suffix != ".keras":
        return {}
    with zipfile.ZipFile(path) as archive:
        layers = json.loads(archive.read("config.json"))["config"].get("layers", [])
    return next((layer["config"] for layer in layers if layer["class_name"] in ("InputLayer", "ImageInput")), {})


def _layers(group: Any, within: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Yield each layer of a group that has variables, and the layers within it."""
    for key, layer in group.items():
        # A model within the model keeps its layers in a group of that name; they are another's.
        if key in ("vars", "layers") or key.startswith("seed_generator"):
            continue
        stored = layer["vars"]
        name = within + str(stored.attrs["name"])
        if len(stored):
            yield name, [stored[number] for number in sorted(stored, key=int)]
        yield from _layers(layer, f"{name}/")
