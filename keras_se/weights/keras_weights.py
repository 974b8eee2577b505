"""Weights of ours: the `.keras` file of a run, and `.weights.h5` files.

In: such a file's path. Out: its arrays in the layers of the same names of a model, and what the run's record and the
file say of the network.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_se.errors import InputError
from keras_se.layers.image_input import as_json
from keras_se.preprocessing import RECORD, Preprocessing, read_record, recorded_preprocessing
from keras_se.weights.initial_weights import CLASSIFIER, Weights, first_of, origin_of_file, warn_of_classifier
from keras_se.weights.keras_file import KerasFile, Shapes, read_arrays, read_keras_file, variables_by_layer

_RUN = "model.keras"  # in the folder of a run
_NOT_OF_THE_NETWORK = ("weights", "input_shape", "classes", "include_top", "pooling", "classifier_activation")
"""Arguments of `create_model` that say where a network's weights came from, and how it begins and ends."""


@dataclass(frozen=True)
class KerasWeights(Weights):
    """A `.keras` or a `.weights.h5` file of one of our models."""

    path: Path = Path()
    shapes: Mapping[str, Shapes] = dataclasses.field(default_factory=dict)

    def load(self, model: keras.Model, row: tuple) -> None:
        """Put the arrays into the variables: all or, where one does not fit, none.

        A classifier of another number of classes is left at its initialisation, and a warning says so.
        """
        variables = variables_by_layer(model)
        wanted = {name: tuple(tuple(variable.shape) for variable in layer) for name, layer in variables.items()}
        replaced = CLASSIFIER in wanted and self.classes not in (None, model.output_shape[-1])
        unused = {CLASSIFIER} if replaced else set()
        if CLASSIFIER not in wanted:
            unused = {name for name in self.shapes if name == CLASSIFIER or name.startswith("hidden")}
        if replaced:
            del wanted[CLASSIFIER]
        self._check(model, wanted, unused)
        for name, arrays in read_arrays(self.path, wanted).items():
            for variable, array in zip(variables[name], arrays, strict=True):
                variable.assign(array)
        if replaced:
            warn_of_classifier(self.path, CLASSIFIER, self.classes, model)

    def _check(self, model: keras.Model, wanted: Mapping[str, Shapes], unused: set[str]) -> None:
        for name, shapes in wanted.items():
            if name not in self.shapes:
                raise self._refusal(model, f"it has no layer {name}")
            if self.shapes[name] != shapes:
                theirs, ours = (", ".join(map(str, layer)) for layer in (self.shapes[name], shapes))
                raise self._refusal(model, f"its layer {name} has the shapes {theirs}, and the model's has {ours}")
        left_over = [name for name in self.shapes if name not in wanted and name not in unused]
        if left_over:
            raise self._refusal(model, f"the model has no layer for its {first_of(left_over)}")

    def _refusal(self, model: keras.Model, difference: str) -> InputError:
        return InputError(
            f"{self.path} holds another network than this {model.name}: {difference}; make the model with the "
            "arguments that the file's was made with, as r, placement or alpha"
        )


def run_file(weights: str | Path) -> Path | None:
    """Return the `.keras` file that `weights` means: itself, or the one in the folder of a run; None for others.

    Raises:
        InputError: it is a folder without one.
    """
    path = Path(weights)
    if path.is_dir():
        if not (path / _RUN).is_file():
            raise InputError(f"weights of a run are in its folder as {_RUN}; there is none in {path}")
        return path / _RUN
    return path if path.suffix == ".keras" and path.is_file() else None


def model_of_run(path: Path) -> str | None:
    """Return the registry's name of the model that the run of a `.keras` file trained; None without its record.

    Raises:
        InputError: the record is damaged.
    """
    name = _recipe(path).get("model")
    return name if isinstance(name, str) else None


def _recipe(path: Path) -> Mapping[str, Any]:
    record = path.with_name(RECORD)
    return _object(read_record(record), "recipe") if record.is_file() else {}


def _object(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a field that is an object; an empty one where it is missing."""
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def find_keras_weights(path: Path, model: str, requested: Mapping[str, Any]) -> KerasWeights:
    """Find what a `.keras` or `.weights.h5` file holds for a model; the arguments are those of `find_weights`.

    Raises:
        InputError: it is damaged, or of another model, or the given arguments are not those that it was made with.
    """
    file = read_keras_file(path)
    preprocessing, arguments = None, {}
    if path.suffix == ".keras":
        trained = model_of_run(path)
        if trained not in (None, model):
            raise InputError(f"{path} is of {trained}; got model {model!r}")
        preprocessing = recorded_preprocessing(path) or _brought_preprocessing(file)
        arguments = _arguments_of_run(path, file)
    for name in arguments.keys() & requested.keys():
        if as_json(requested[name]) != arguments[name]:
            raise InputError(f"{path} was made with {name}={arguments[name]!r}; got {name}={requested[name]!r}")
    classifier = file.shapes.get(CLASSIFIER)
    classes = classifier[-1][-1] if classifier else None
    return KerasWeights(arguments, classes, preprocessing, origin_of_file(path), path, file.shapes)


def _brought_preprocessing(file: KerasFile) -> Preprocessing | None:
    fields = file.input_layer.get("preprocessing")
    return None if fields is None else Preprocessing.from_dict(fields)


def _arguments_of_run(path: Path, file: KerasFile) -> dict[str, Any]:
    """Return the arguments of a run's network: those that its first weights brought, and those of its recipe."""
    brought = _object(file.input_layer, "initial_weights")
    arguments = {**_object(brought, "arguments"), **_object(_recipe(path), "model_arguments")}
    return {name: value for name, value in arguments.items() if name not in _NOT_OF_THE_NETWORK}
