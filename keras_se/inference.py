"""Images into a network and names out of it, by what the network or its run's record says.

In: pixels, or scores. Out: what the network takes, or the names of the classes with their scores.
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_se.errors import InputError
from keras_se.preprocessing import RECORD, Preprocessing, preprocessing_of, read_record, recorded_preprocessing
from keras_se.weights.keras_weights import run_file

_KERNELS = ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5")  # that keras.ops has
_IMAGENET = 1000


def preprocess_input(model: keras.Model | Path | str, images: Any) -> np.ndarray:
    """Make of images what a network takes: shorter side resized, centre cropped, pixels normalised.

    Args:
        model: a Keras model; or a `.keras` file or the folder of a run, whose record is read.
        images: `(n, height, width, channels)` or one of `(height, width, channels)`, of any size, in 0..255: uint8, or
            floating point. Or a sequence of such single images, of different sizes.
    Returns:
        float32 `(n, height, width, channels)`, as training evaluates them.
    Raises:
        InputError: an image has another shape or range, the file is no model's, or the model's interpolation is one
            that Keras has not.
    Example:
        >>> model = keras_se.create_model("se_mobilenet", input_shape=(32, 32, 3), classes=10, alpha=0.25)
        >>> photographs = np.full((2, 60, 80, 3), 255, "uint8")
        >>> images = keras_se.preprocess_input(model, photographs)
        >>> images.shape, float(images.max())
        ((2, 32, 32, 3), 1.0)
    """
    preprocessing = _preprocessing(model)
    if preprocessing.interpolation not in _KERNELS:
        raise InputError(
            f"preprocess_input resizes by one of {', '.join(_KERNELS)}; the model takes {preprocessing.interpolation}"
        )
    if getattr(images, "ndim", None) == 3:
        images = [images]
    prepared = [_prepared(np.asarray(image), preprocessing) for image in images]
    if not prepared:
        raise InputError("preprocess_input needs at least one image; got none")
    return np.stack(prepared)


def decode_predictions(
    model: keras.Model | Path | str, scores: np.ndarray, top: int = 5
) -> list[list[tuple[str, float]]]:
    """Name the classes of the greatest scores.

    Args:
        model: a `.keras` file or the folder of a run, whose record names the classes; or a Keras model of ImageNet's
            1000 classes, whose names Keras fetches.
        scores: `(n, classes)`, what the model gives.
        top: how many classes of each image, at least 1.
    Returns:
        For each image its classes, the best first, with their scores.
    Raises:
        InputError: the scores have another shape, `top` is below 1, or nothing names the classes.
    Example:
        >>> with open("run.json", "w") as record:
        ...     print('{"classes": ["cat", "dog"]}', file=record)
        >>> keras_se.decode_predictions("model.keras", np.array([[0.25, 0.75]]), top=1)
        [[('dog', 0.75)]]
    """
    scores = np.asarray(scores)
    if top < 1:
        raise InputError(f"top must be at least 1; got {top}")
    if scores.ndim != 2:
        raise InputError(f"scores must be (n, classes); got the shape {scores.shape}")
    names = None if isinstance(model, keras.Model) else labels_of(run_file(model) or model)
    if names is None:
        return _of_imagenet(model, scores, top)
    if scores.shape[1] != len(names):
        raise InputError(f"scores must be of the {len(names)} classes of {model}; got {scores.shape[1]}")
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return [[(names[i], float(row[i])) for i in chosen] for row, chosen in zip(scores, best, strict=True)]


def labels_of(model_file: Path | str) -> tuple[str, ...] | None:
    """Return the names of the classes, as the record of the run that made a model's file has them; None without one.

    Raises:
        InputError: the record is damaged.
    """
    record = Path(model_file).with_name(RECORD)
    if not record.is_file():
        return None
    classes = read_record(record).get("classes")
    if classes is None:
        return None
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise InputError(
            f"{record} is not the record of a run (classes must be a list of names; got {classes!r:.80}); "
            "remove it or train again"
        )
    for name in classes:
        if not name.isprintable():  # a label is a line of a text file
            raise InputError(f"the names of classes must be text in one line; got {name!r:.80}; mend it in {record}")
    return tuple(classes)


def _preprocessing(model: keras.Model | Path | str) -> Preprocessing:
    if isinstance(model, keras.Model):
        return preprocessing_of(model)
    path = run_file(model)
    if path is None:
        raise InputError(f"model must be a Keras model, a .keras file or the folder of a run; got {str(model)!r}")
    recorded = recorded_preprocessing(path)
    if recorded is not None:
        return recorded
    loaded: Any = keras.models.load_model(path, compile=False)
    return preprocessing_of(loaded)


def _prepared(image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    if image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
        raise InputError(f"an image must be (height, width, channels), of 1 or 3 channels; got the shape {image.shape}")
    if image.min() < 0 or image.max() > 255 or (image.dtype.kind == "f" and 0 < image.max() <= 1):
        raise InputError(f"pixels must be in 0..255; got {image.dtype} from {image.min():g} to {image.max():g}")
    target = np.array(preprocessing.size, np.float32)
    size = np.array(image.shape[:2], np.float32)
    ratio = np.max(np.ceil(target / np.float32(preprocessing.crop)) / size)
    height, width = (int(side) for side in np.maximum(np.round(size * ratio), target))
    # Half-pixel centres and antialiasing, as in training.
    resized = keras.ops.image.resize(
        image.astype("float32"),
        (height, width),
        interpolation=preprocessing.interpolation,
        antialias=True,
        data_format="channels_last",
    )
    top, left = (height - preprocessing.height) // 2, (width - preprocessing.width) // 2
    pixels: Any = keras.ops.convert_to_numpy(resized)
    pixels = np.clip(pixels, 0, 255)  # a cubic kernel overshoots
    pixels = pixels[top : top + preprocessing.height, left : left + preprocessing.width]
    mean, std = (np.array(values, np.float32)[: image.shape[2]] for values in (preprocessing.mean, preprocessing.std))
    return (pixels / np.float32(255) - mean) / std


def _of_imagenet(model: Any, scores: np.ndarray, top: int) -> list[list[tuple[str, float]]]:
    if scores.shape[1] != _IMAGENET:
        raise InputError(
            f"the classes' names are in the record of a run: give its folder or its .keras file; got {model!r:.80}, "
            f"without a record, and {scores.shape[1]} classes"
        )
    try:
        decoded = keras.applications.imagenet_utils.decode_predictions(scores, top)
    except Exception as error:  # of the download
        raise InputError(f"the names of ImageNet's classes cannot be fetched ({error!r:.200})") from None
    return [[(name, float(score)) for _, name, score in best] for best in decoded]
