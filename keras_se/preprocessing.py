"""Record how an image becomes a network's input, as data that travels with the network.

In: a model, its file or its weights. Out: a `Preprocessing`, or the record beside a file. Reading and writing stand
together, as each field must pass through both: hence the length.
"""

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras

from keras_se.atomic_files import read_object, write_json
from keras_se.errors import InputError
from keras_se.layers.image_input import ImageInput, fields_before, fields_for_range, initial_weights_of, wanted_pixels

RECORD = "run.json"  # beside a model file: how it was made, and its preprocessing
INTERPOLATIONS = ("area", "bicubic", "bilinear", "gaussian", "lanczos3", "lanczos5", "mitchellcubic", "nearest")
"""Kernels that `tf.image.resize` has."""
_LARGEST_INPUT = 3e38  # float32's largest is 3.4e38
LARGEST_SIDE = 65_535
"""Pixels of an image's height or width: JPEG's limit."""


@dataclass(frozen=True)
class Preprocessing:
    """Preparation of an image: shorter side resized, centre cropped, `(pixel / 255 - mean) / std`.

    Args:
        height, width: of the network's input, in pixels.
        crop: side of the central crop over the side of the resized image; 0.875 takes 224 from 256.
        interpolation: one of `INTERPOLATIONS`.
        mean, std: of red, green and blue, of pixels in 0..1.
    Raises:
        InputError: a value is of another type or out of its range.
    Example:
        >>> keras_se.Preprocessing(224, 224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)).input_range
        (-1.0, 1.0)
        >>> keras_se.Preprocessing.for_range(224, 224, 0, 255).input_range
        (0.0, 255.0)
    """

    height: int
    width: int
    crop: float = 1.0
    """Side of the central crop over the side of the resized image; 0.875 takes 224 from 256."""
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self):
        for side in self.size:
            if not _is_integer(side):
                raise InputError(f"an image size must be an integer; got {side!r}")
            if not 1 <= side <= LARGEST_SIDE:
                raise InputError(
                    f"an image size must be at least 1 and at most {LARGEST_SIDE}; got {self.height}x{self.width}"
                )
        if not _is_number(self.crop) or not 0 < self.crop <= 1:
            raise InputError(f"crop must be above 0 and at most 1; got crop={self.crop!r}")
        if max(self.size) / self.crop > LARGEST_SIDE:
            raise InputError(
                f"crop must leave an image of at most {LARGEST_SIDE} pixels a side; got crop={self.crop!r} of "
                f"{self.height}x{self.width}"
            )
        if self.interpolation not in INTERPOLATIONS:
            raise InputError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}; got {self.interpolation!r}")
        for name in ("mean", "std"):
            object.__setattr__(self, name, _three_numbers(name, getattr(self, name)))
        if min(self.std) <= 0:
            raise InputError(f"std must be above 0; got std={self.std}")
        if not all(abs(end) <= _LARGEST_INPUT for end in self.input_range):
            raise InputError(f"mean and std must give finite inputs in float32; got mean={self.mean}, std={self.std}")

    @classmethod
    def for_range(cls, height: int, width: int, low: float, high: float) -> "Preprocessing":
        """Return the preprocessing of a network that takes pixels spread over a range, as 0 and 255.

        Raises:
            InputError: the range is empty or infinite.
        """
        return cls(height, width, **fields_for_range(low, high))

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def input_range(self) -> tuple[float, float]:
        """Least and greatest value that an input of the network can take."""
        ends = [(end - m) / s for end in (0.0, 1.0) for m, s in zip(self.mean, self.std, strict=True)]
        return min(ends), max(ends)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Preprocessing":
        """Build the preprocessing that `to_dict` wrote, as JSON gives it back.

        Raises:
            InputError: a field is missing, unknown, of another type or out of its range.
        """
        if not isinstance(fields, Mapping):
            raise InputError(f"preprocessing must be an object of fields; got {fields!r:.80}")
        known = dataclasses.fields(cls)
        unknown = sorted(set(fields) - {field.name for field in known})
        if unknown:
            raise InputError(f"preprocessing must have no other fields than its own; got {unknown[0]!r:.80}")
        missing = [field.name for field in known if field.default is dataclasses.MISSING and field.name not in fields]
        if missing:
            raise InputError(f"preprocessing must have a {missing[0]}; it has none")
        return cls(**fields)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_integer(value) or (isinstance(value, float) and math.isfinite(value))


def _three_numbers(name: str, values: Any) -> tuple[float, float, float]:
    """Return a mean or a standard deviation of red, green and blue; JSON writes 0.0 as 0, and a tuple as a list."""
    if not isinstance(values, Sequence) or len(values) != 3 or not all(map(_is_number, values)):
        raise InputError(f"{name} must be 3 finite numbers, of red, green and blue; got {name}={values!r:.80}")
    try:
        red, green, blue = map(float, values)
    except OverflowError:
        raise InputError(f"{name} must be 3 finite numbers; one has more digits than a float holds") from None
    return red, green, blue


class Origin(NamedTuple):
    """A preprocessing, and what tells of it."""

    preprocessing: Preprocessing
    reason: str | None
    """None where nothing does, and pixels in 0..1 are assumed."""
    recorded: bool = False
    """True where it is what a record beside the model's file says."""


def preprocessing_of(model: keras.Model, path: Path | str | None = None) -> Preprocessing:
    """Return what is made of an image before `model` takes it.

    Args:
        model: a Keras model of one image input.
        path: of its file; the record beside that goes before what the model's own layers tell.
    Returns:
        The preprocessing; that of pixels in 0..1 where nothing tells of another.
    Raises:
        InputError: the record is damaged, the model takes no image of known size, or what no preprocessing gives.
    Example:
        >>> model = keras_se.create_model("se_mobilenet", input_shape=(32, 48, 3), classes=10, alpha=0.25)
        >>> keras_se.preprocessing_of(model).size
        (32, 48)
    """
    return find_preprocessing(model, path).preprocessing


def find_preprocessing(model: keras.Model, path: Path | str | None = None) -> Origin:
    """Find how an image becomes an input of `model`, and what says so.

    It is in the record beside its file; else the model's own layers tell it, also through models within it: what the
    weights brought that `create_model` loaded, layers that scale, or those of `keras.applications`. A model of which
    nothing tells takes pixels in 0..1.

    What weights brought belongs to the input layer of the very network: it is kept by `model.save`, and by
    `keras.models.clone_model` for networks inside the cloned one, whose own input Keras makes anew.

    Raises:
        InputError: the record is damaged, or the model takes no image of known size, or what no preprocessing gives.
    """
    recorded = None if path is None else recorded_preprocessing(path)
    if recorded is not None:
        return Origin(recorded, f"the model's {RECORD}", recorded=True)
    height, width, _ = image_shape(model)
    wanted = wanted_pixels(model)
    if wanted is None:
        return Origin(Preprocessing(height, width), None)
    fields = {**wanted.fields, "height": height, "width": width}
    return Origin(Preprocessing.from_dict(fields), wanted.reason)


def recorded_preprocessing(path: Path | str) -> Preprocessing | None:
    """Return the preprocessing in the record beside a model's file; None without one.

    Raises:
        InputError: the record is damaged.
    """
    record = Path(path).with_name(RECORD)
    if not record.is_file():
        return None
    fields = read_record(record)
    try:
        return Preprocessing.from_dict(fields.get("preprocessing", {}))
    except InputError as error:
        raise _no_record(record, error) from None


def read_record(record: Path) -> dict[str, Any]:
    """Read the fields of the record beside a model's file.

    Raises:
        InputError: it cannot be read, or is not a JSON object.
    """
    try:
        return read_object(record)
    except ValueError as error:
        raise _no_record(record, error) from None


def _no_record(record: Path, error: ValueError) -> InputError:
    return InputError(f"{record} is not the record of a run ({error}); remove it or train again")


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
        raise InputError(
            f"the model must give one output; it gives {len(model.outputs)}; export one of them as "
            "keras.Model(model.input, model.outputs[0])"
        )
    return shape[1], shape[2], shape[3]


def bring_preprocessing(
    model: keras.Model,
    preprocessing: Preprocessing,
    initial_weights: Mapping[str, Any] | None = None,
    *,
    image: Any = None,
) -> keras.Model:
    """Return `model` on an input that carries `preprocessing`, at its own height and width where they are known.

    The layers are the same objects. The preprocessing is saved and loaded with them, and found in any model that is
    built on them.

    Args:
        initial_weights: of `ImageInput`.
        image: the tensor that the network takes, if the model has layers before it; they must do no more than scale,
            or nothing is carried, and a warning says so.
    Raises:
        InputError: the input carries another preprocessing already.
    """
    fields = preprocessing.to_dict()
    before = fields if image is None or image is model.inputs[0] else None
    if before is None and len(model.inputs) == 1:
        before = fields_before(keras.Model(model.inputs[0], image), fields)
    if before is None:
        logging.getLogger("keras_se").warning(
            "%s: what is before the network is more than scaling, so its weights' preprocessing is not kept with the "
            "model; save_record(model, path, preprocessing=...) keeps what it takes",
            model.name,
        )
        return model
    [source] = model.inputs
    height, width = (own or usual for own, usual in zip(source.shape[1:3], preprocessing.size, strict=True))
    fields = Preprocessing.from_dict({**before, "height": height, "width": width}).to_dict()
    layer = source._keras_history.operation
    if isinstance(layer, ImageInput):
        if Preprocessing.from_dict(layer.preprocessing).to_dict() != fields:
            raise InputError(
                f"the input {layer.name} takes {layer.preprocessing}, by the weights of another network on it, and "
                f"{model.name} takes {fields}; give each its own input, or call it as a layer behind a Rescaling"
            )
        return model
    ImageInput(fields, initial_weights, input_tensor=source, name=source.name)
    return keras.Model(source, model.outputs[0], name=model.name)


def save_record(model: keras.Model, path: Path | str, *, preprocessing: Preprocessing | None = None) -> Path:
    """Write the record with the preprocessing of `model` beside its file, so that it holds for the file too.

    Args:
        path: of the file that `model` was or will be saved to.
        preprocessing: what the model takes; by default what `find_preprocessing` finds.
    Returns:
        The record's path.
    Raises:
        InputError: the folder has the record of another preprocessing, or cannot be written.
    Example:
        >>> model = keras_se.create_model("se_mobilenet", input_shape=(32, 32, 3), classes=10, alpha=0.25)
        >>> model.save("model.keras")
        >>> keras_se.save_record(model, "model.keras").name
        'run.json'
    """
    record = Path(path).with_name(RECORD)
    if preprocessing is None:
        preprocessing = preprocessing_of(model)
    if record.is_file():
        if preprocessing_of(model, path) != preprocessing:
            raise InputError(
                f"a folder has one record, and {record} is of another preprocessing; choose another folder"
            )
        return record
    fields = {"model": model.name, "preprocessing": preprocessing.to_dict(), "weights": initial_weights_of(model)}
    write_json(record, fields)
    return record
