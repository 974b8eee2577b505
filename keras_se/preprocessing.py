"""How an image becomes a network's input, as data that travels with the network."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_se.atomic import write_json
from keras_se.errors import InputError

_BROUGHT = "_preprocessing_of_weights"
RECORD = "run.json"  # beside a model file: how it was made, and its preprocessing


@dataclass(frozen=True)
class Preprocessing:
    """Resize the shorter side, crop the centre, normalise: `(pixel / 255 - mean) / std`."""

    height: int
    width: int
    crop: float = 1.0
    """Side of the central crop over the side of the resized image; 0.875 takes 224 from 256."""
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self):
        if self.height < 1 or self.width < 1:
            raise InputError(f"an image size must be at least 1; got {self.height}x{self.width}")
        if not 0 < self.crop <= 1:
            raise InputError(f"crop must be above 0 and at most 1; got crop={self.crop}")

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def input_range(self) -> tuple[float, float]:
        """The least and the greatest value that an input of the network can take."""
        ends = [(end - m) / s for end in (0.0, 1.0) for m, s in zip(self.mean, self.std, strict=True)]
        return min(ends), max(ends)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Preprocessing":
        return cls(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])})


def preprocessing_of(model: keras.Model, path: Path | str | None = None) -> Preprocessing:
    """What `model` wants: what is in the record beside its file; else what its weights brought; else pixels in 0..1.

    What weights brought is an attribute of the very object that `create_model` made, which neither `model.save` nor
    `keras.models.clone_model` keeps: `save_record` writes it beside the file.

    Raises:
        InputError: the record is damaged, or the model takes no image of known size.
    """
    record = None if path is None else Path(path).with_name(RECORD)
    if record is not None and record.is_file():
        try:
            return Preprocessing.from_dict(json.loads(record.read_text())["preprocessing"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{record} is not the record of a run ({error!r}); remove it or train again") from None
    brought = brought_preprocessing(model)
    if brought is not None:
        return brought
    height, width, _ = image_shape(model)
    return Preprocessing(height, width)


def brought_preprocessing(model: keras.Model) -> Preprocessing | None:
    """What the weights that `create_model` loaded want; None if there were none, or they are of unknown origin."""
    return getattr(model, _BROUGHT, None)


def image_shape(model: keras.Model) -> tuple[int, int, int]:
    """Height, width and channels of the model's one image input.

    Raises:
        InputError: it has another input, or one of unknown size or for several images at a time, or several outputs,
            or has not been built.
    """
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or None in shape[1:]:
        raise InputError(f"the model must take one image (batch, height, width, channels) of known size; got {shape}")
    if shape[0] not in (None, 1):
        raise InputError(
            f"the model must take one image at a time; got a batch of {shape[0]}; build it on keras.Input({shape[1:]})"
        )
    if len(model.outputs) != 1:
        raise InputError(f"the model must give one output; it gives {len(model.outputs)}")
    return shape[1], shape[2], shape[3]


def bring_preprocessing(model: keras.Model, preprocessing: Preprocessing) -> None:
    """Make `preprocessing` that of `model`, at its own height and width where they are known."""
    height, width = (own or usual for own, usual in zip(model.input_shape[1:3], preprocessing.size, strict=True))
    setattr(model, _BROUGHT, dataclasses.replace(preprocessing, height=height, width=width))


def save_record(model: keras.Model, path: Path | str) -> Path:
    """Write the record with the preprocessing of `model` beside its file, so that it holds for the file too.

    Args:
        path: of the file that `model` was or will be saved to.
    Returns:
        The record's path.
    Raises:
        InputError: the folder has the record of another preprocessing, or cannot be written.
    """
    record = Path(path).with_name(RECORD)
    preprocessing = preprocessing_of(model)
    if record.is_file():
        if preprocessing_of(model, path) != preprocessing:
            raise InputError(
                f"a folder has one record, and {record} is of another preprocessing; choose another folder"
            )
        return record
    write_json(record, {"model": model.name, "preprocessing": preprocessing.to_dict()})
    return record
