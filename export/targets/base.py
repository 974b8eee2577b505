"""What goes into a target's finish, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from keras_se.errors import InputError
from keras_se.export.tflite import flatbuffer

if TYPE_CHECKING:
    from keras_se.export.quantization.recipes import Recipe
    from keras_se.export.targets.registry import Target
    from keras_se.export.tflite.score_calibration import ScoreCalibration
    from keras_se.preprocessing import Preprocessing  # imports Keras, which a process that runs a file needs not


class Content(NamedTuple):
    """A quantized file on its way to a target, and what is known of it."""

    content: bytes
    recipe: Recipe
    name: str
    """Of the model: a stem for file names."""
    preprocessing: Preprocessing
    labels: tuple[str, ...] | None
    """The classes' names, where they are known."""
    scores: ScoreCalibration | None = None
    """How the outputs become probabilities, where that is known."""


class Product(NamedTuple):
    """What a target's finish makes of a file."""

    content: bytes
    """The .tflite file."""
    manifest: Mapping[str, Any] = MappingProxyType({})
    """What the manifest says further."""
    files: Mapping[str, bytes] = MappingProxyType({})
    """Further files, by what follows `NAME.RECIPE` in theirs."""


def check_labels(content: Content, target: Target) -> None:
    """Refuse labels of another number than that of the classes.

    Raises:
        InputError: they are, as when the record beside the model is of another network.
    """
    classes = flatbuffer.output_shape(content.content)[-1]
    if content.labels is not None and len(content.labels) != classes:
        raise InputError(
            f"{target.name} shows a label for each of the {classes} classes; the run.json beside the model has "
            f"{len(content.labels)}: move it away, or put that of this network there"
        )
