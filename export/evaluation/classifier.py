"""A .tflite file as a classifier: pixels in, a probability of each class out.

In: a file that `export` wrote, or another that says of itself what it takes. Out: a `Classifier`, as
`keras_se.training.evaluate` and `predict` take it.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_se.atomic_files import read_object
from keras_se.classifier import Classifier, probabilities
from keras_se.errors import InputError
from keras_se.export.manifest import preprocessing_of_manifest
from keras_se.export.runtimes.registry import check_engine, run_content
from keras_se.export.tflite.flatbuffer import CASTS
from keras_se.export.tflite.metadata_reader import FileMetadata, read_metadata
from keras_se.export.tflite.model import TFLiteModel
from keras_se.inference import labels_of
from keras_se.preprocessing import Preprocessing

_CHANNELS = 3


def load_classifier(
    file: Path | str, *, engine: str = "litert", preprocessing: Preprocessing | None = None
) -> Classifier:
    """Return a .tflite file as a classifier that runs in LiteRT, as an app would get its answers.

    Args:
        file: one that `export` wrote, whose manifest says what it takes; or another, with TFLite metadata.
        engine: "litert", "litert_reference", "tflm" or "openvino".
        preprocessing: how an image becomes an input; by default what the manifest or the file itself says.
    Returns:
        A function from images to probabilities, with the file's preprocessing and its classes.
    Raises:
        InputError: there is no such file or engine, the file is no classifier of one image, or nothing says what it
            takes.
    Example:
        >>> load_classifier("files/se_mobilenet.static_wi8_ai8.tflite").preprocessing.size
        (32, 32)
    """
    check_engine(engine)
    model = TFLiteModel.load(file)
    shape = model.input_shape
    if model.io_counts != (1, 1) or len(shape) != 4 or len(model.output_shape) != 2:
        raise InputError(
            f"{file} must take one image (1, height, width, channels) and give one row of scores; it takes {shape} and "
            f"gives {model.output_shape}"
        )
    metadata = read_metadata(model)
    if preprocessing is None:
        preprocessing = stated_preprocessing(file, model)
    described = model.described(file)
    shares = _gives_shares(model)

    def scores(images: np.ndarray) -> np.ndarray:
        values = run_content(engine, model.content, images, described).values
        if metadata.scores is not None:
            return metadata.scores(values)
        if shares and values.shape[1] > 1:
            return values  # a softmax in 8 bits does not sum to 1
        return probabilities(np.clip(values, 0, 1) if shares else values)

    return Classifier(str(file), preprocessing, _classes(Path(file), model, metadata), scores)


def stated_preprocessing(path: Path | str, model: TFLiteModel) -> Preprocessing:
    """Return the input that a file of one image takes: its own normalisation of a float one goes before its manifest's.

    Raises:
        InputError: neither the manifest nor the file itself says it.
    """
    file, metadata = Path(path), read_metadata(model)
    _, height, width, _ = model.input_shape
    manifest = preprocessing_of_manifest(file)
    [kind], _ = model.io_types
    [(scale, zero)], _ = model.io_quantizations
    base = manifest or Preprocessing(height, width)
    if kind == "FLOAT32" and metadata.mean and metadata.std:
        return replace(base, mean=_of_pixels(metadata.mean), std=_of_pixels(metadata.std))
    if manifest is not None:
        return manifest
    if kind == "UINT8":  # raw pixels, by the metadata's own rule
        return replace(base, mean=(zero / 255,) * _CHANNELS, std=(1 / (255 * scale or 1),) * _CHANNELS)
    if metadata.mean and metadata.std:
        return replace(base, mean=_of_pixels(metadata.mean), std=_of_pixels(metadata.std))
    raise InputError(
        f"nothing says what {file} takes for a pixel: it has no manifest {file.name}.json beside it and no TFLite "
        "metadata inside; say --input-range, or --mean and --std"
    )


def _of_pixels(values: tuple[float, ...]) -> tuple[float, float, float]:
    red, green, blue = (value / 255 for value in (values if len(values) == _CHANNELS else values[:1] * _CHANNELS))
    return red, green, blue


def _classes(file: Path, model: TFLiteModel, metadata: FileMetadata) -> tuple[str, ...] | None:
    """Return the classes' names: by the manifest, the file itself, or the record of the run in whose folder it is."""
    outputs = max(2, model.output_shape[1])
    for names in (_of_manifest(file), metadata.labels, labels_of(file)):
        if names is not None and len(names) == outputs:
            return names
    return None


def _of_manifest(file: Path) -> tuple[str, ...] | None:
    manifest = file.with_name(f"{file.name}.json")
    if not manifest.is_file():
        return None
    try:
        classes = read_object(manifest).get("classes")
    except ValueError as error:
        raise InputError(f"{manifest} is not a manifest ({error}); export the file again") from None
    return tuple(map(str, classes)) if isinstance(classes, list) else None


def _gives_shares(model: TFLiteModel) -> bool:
    """Return True for a file that ends in a softmax or a sigmoid."""
    named = [name for name in model.operation_names if name not in CASTS]
    return bool(named) and named[-1] in ("SOFTMAX", "LOGISTIC")
