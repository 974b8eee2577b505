"""Initial weights of a model, as data: the arguments and preprocessing that weights bring, and where they are from."""

import dataclasses
import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_se.preprocessing import Preprocessing

CLASSIFIER = "logits"
"""Layer that a model for other classes has of its own."""


@dataclass(frozen=True)
class Weights:
    """Initial weights of a model, and what they ask of it; these are random and ask nothing."""

    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Arguments of `create_model` without which the weights would mean something else."""
    classes: int | None = None
    preprocessing: Preprocessing | None = None
    origin: Mapping[str, Any] | None = None
    """Source of the weights, for records: `weights`, with the hub's commit, and the file's `sha256`."""

    def load(self, model: keras.Model, row: tuple) -> None:
        """Put the weights into `model`, built from `row`."""


def origin_of_file(path: Path) -> dict[str, Any]:
    """Return what a record says of weights in a file."""
    with path.open("rb") as content:
        return {"weights": str(path), "sha256": hashlib.file_digest(content, "sha256").hexdigest()}


def warn_of_classifier(path: Path, name: str, classes: int | None, model: keras.Model) -> None:
    """Log that the classifier `name` of a file was left out, since the model is for other classes."""
    logging.getLogger("keras_se").warning(
        "%s: its classifier %s, of %s classes, is replaced by one of %d, freshly initialised: layer %s",
        path,
        name,
        classes,
        model.output_shape[-1],
        CLASSIFIER,
    )


def first_of(keys: list[str]) -> str:
    """Return the first name, and how many more there are."""
    return keys[0] if len(keys) == 1 else f"{keys[0]} and {len(keys) - 1} more"
