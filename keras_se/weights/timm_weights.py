"""Weights of timm's networks, from safetensors files.

In: a state dict in one of timm's namings. Out: its tensors in our variables, and the arguments and preprocessing that
make our network compute what timm's does.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_se.errors import InputError
from keras_se.preprocessing import Preprocessing
from keras_se.weights.initial_weights import Weights, first_of, warn_of_classifier
from keras_se.weights.state_dict import tensors
from keras_se.weights.timm_mapping import ARCHITECTURES, NAMINGS, usual_preprocessing

ARCHITECTURE, PREPROCESSING = "timm_architecture", "preprocessing"  # in the metadata of files that we write
_FLOATS = ("F16", "F32", "F64")


@dataclass(frozen=True)
class TimmWeights(Weights):
    """A safetensors file with the state dict of one of timm's networks."""

    path: Path = Path()
    architecture: str = ""
    shapes: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)

    def load(self, model: keras.Model, row: tuple) -> None:
        """Put the tensors into the variables: all or, where one does not fit, none.

        A classifier of another number of classes is left at its initialisation, and a warning says so.
        """
        naming = NAMINGS[ARCHITECTURES[self.architecture].naming]
        wanted = list(tensors(model, naming.names(row), naming))
        classifier = [f"{naming.head[-1]}.weight", f"{naming.head[-1]}.bias"]
        classified = any(tensor.key in classifier for tensor in wanted)
        replaced = classified and self.classes not in (None, model.output_shape[-1])
        unused = {key for key in self.shapes if key.endswith(".num_batches_tracked")}
        if replaced:
            wanted = [tensor for tensor in wanted if tensor.key not in classifier]
            unused.update(classifier)
        if not classified:
            unused.update(key for key in self.shapes if key.startswith(tuple(f"{name}." for name in naming.head)))
        self._check({tensor.key: tensor.shape for tensor in wanted}, unused)
        with _opened(self.path) as file:
            for tensor in wanted:
                tensor.variable.assign(tensor.to_ours(file.get_tensor(tensor.key)))
        if replaced:
            warn_of_classifier(self.path, naming.head[-1], self.classes, model)

    def _check(self, wanted: dict[str, tuple[int, ...]], unused: set[str]) -> None:
        this = f"{self.path} is no checkpoint of {self.architecture} as asked for"
        missing = [key for key in wanted if key not in self.shapes]
        if missing:
            raise InputError(f"{this}: it lacks {first_of(missing)}")
        for key, shape in wanted.items():
            if self.shapes[key] != shape:
                raise InputError(f"{this}: {key} must have the shape {shape}; got {self.shapes[key]}")
        left_over = [key for key in self.shapes if key not in wanted and key not in unused]
        if left_over:
            raise InputError(f"{this}: nothing takes its {first_of(left_over)}")


def find_timm_weights(
    path: Path,
    model: str,
    requested: Mapping[str, Any],
    origin: Mapping[str, Any],
    *,
    architecture: str | None = None,
    preprocessing: Preprocessing | None = None,
) -> TimmWeights:
    """Find what a safetensors file holds for a model.

    Args:
        model, given: as for `find_weights`.
        origin: of `Weights`.
        architecture, preprocessing: timm's name of the network, and what it takes; None if only the file can tell.
    Raises:
        InputError: it is damaged, or of another network, or the given arguments are not those of the weights.
    """
    shapes, metadata = _header(path)
    if architecture is None:
        architecture = _architecture(path, shapes, metadata.get(ARCHITECTURE), model, requested)
    arguments = ARCHITECTURES[architecture].arguments
    for name in arguments.keys() & requested.keys():
        if requested[name] != arguments[name]:
            raise InputError(
                f"weights of {architecture} take {name}={arguments[name]!r}; got {name}={requested[name]!r}"
            )
    if preprocessing is None and PREPROCESSING in metadata:
        preprocessing = _recorded_preprocessing(path, metadata[PREPROCESSING])
    classifier = NAMINGS[ARCHITECTURES[architecture].naming].head[-1]
    return TimmWeights(
        arguments,
        shapes.get(f"{classifier}.weight", (None,))[0],
        preprocessing or usual_preprocessing(architecture),
        origin,
        path,
        architecture,
        shapes,
    )


def _architecture(path, shapes, recorded, model, requested) -> str:
    """Find the network of timm's that a file is of: by its own record, else by the naming of its keys."""
    if recorded in ARCHITECTURES:
        if ARCHITECTURES[recorded].model != model:
            raise InputError(f"{path} is of {ARCHITECTURES[recorded].model} ({recorded}); got model {model!r}")
        return recorded
    marks = {name: next((key for key in shapes if key.startswith(row.mark)), None) for name, row in NAMINGS.items()}
    naming = next((name for name, key in marks.items() if key), None)
    if naming is None:
        raise InputError(f"{path} is of no network known here: nothing takes its {first_of(list(shapes))}")
    fitting = [name for name, row in ARCHITECTURES.items() if (row.model, row.naming) == (model, naming)]
    if not fitting:
        loading = sorted({row.model for row in ARCHITECTURES.values() if row.naming == naming})
        raise InputError(f"{path} has {marks[naming]}, as only {', '.join(loading)} have; got model {model!r}")

    def agrees(name):
        arguments = ARCHITECTURES[name].arguments
        return all(requested[argument] == arguments[argument] for argument in arguments.keys() & requested.keys())

    return next((name for name in fitting if agrees(name)), fitting[0])


def _recorded_preprocessing(path, fields: str) -> Preprocessing:
    try:
        return Preprocessing.from_dict(json.loads(fields))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} has a damaged {PREPROCESSING} in its metadata ({error})") from None


def _header(path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Read each tensor's shape and the metadata, after looking at all that could keep the file from being read."""
    with _opened(path) as file:
        shapes = {}
        for key in file.keys():  # noqa: SIM118, it is no dictionary
            part = file.get_slice(key)
            if part.get_dtype() not in _FLOATS and not key.endswith(".num_batches_tracked"):
                raise InputError(f"{path}: {key} must be of {', '.join(_FLOATS)}; got {part.get_dtype()}")
            shapes[key] = tuple(part.get_shape())
        return shapes, file.metadata() or {}


def _opened(path):
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="numpy")
    except SafetensorError as error:
        cut = _first_cut(path)
        problem = f"truncated before the end of {cut}" if cut else f"not a safetensors file, or cut short ({error})"
        raise InputError(f"{path} is {problem}; fetch it again") from None


def _first_cut(path: Path) -> str | None:
    """Return the first tensor that ends behind the end of the file."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8:start])
        ends = {key: start + row["data_offsets"][1] for key, row in header.items() if key != "__metadata__"}
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None
    return next((key for key in sorted(ends, key=ends.__getitem__) if ends[key] > len(content)), None)
