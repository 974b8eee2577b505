"""Manifest beside an exported file, read back.

In: the path of a .tflite file. Out: its lowering and its preprocessing.
"""

from pathlib import Path
from typing import Any

from keras_se.atomic_files import read_object
from keras_se.errors import InputError
from keras_se.export.conversion.lowering_config import PLAIN, LoweringConfig
from keras_se.export.tflite.model import TFLiteModel
from keras_se.preprocessing import Preprocessing


def lowering_of(file: Path | str) -> LoweringConfig:
    """Return the lowering of an exported file; the plain one where there is no manifest.

    Raises:
        InputError: the manifest is damaged.
    """
    return form_of_manifest(file) or PLAIN


def form_of_manifest(file: Path | str) -> LoweringConfig | None:
    """Return the lowering in the manifest beside an exported file; None without one.

    Raises:
        InputError: the manifest is damaged.
    """
    return _from_manifest(file, lambda manifest: LoweringConfig(**manifest.get("lowering", {})))


def preprocessing_of_file(file: Path | str) -> Preprocessing:
    """Return the preprocessing of an exported file: by its manifest, else pixels in 0..1.

    Raises:
        InputError: the manifest is damaged, or the file takes no image.
    """
    preprocessing = preprocessing_of_manifest(file)
    if preprocessing is not None:
        return preprocessing
    shape = TFLiteModel.load(file).input_shape
    if len(shape) != 4:
        raise InputError(f"{file} must take one image (1, height, width, channels); its input is {shape}")
    return Preprocessing(shape[1], shape[2])


def preprocessing_of_manifest(file: Path | str) -> Preprocessing | None:
    """Return the preprocessing in the manifest beside an exported file; None without one.

    Raises:
        InputError: the manifest is damaged.
    """
    return _from_manifest(file, lambda manifest: Preprocessing.from_dict(manifest["preprocessing"]))


def _from_manifest(file: Path | str, read) -> Any:
    """Return what `read` takes from the manifest beside a file; None if there is none."""
    manifest = Path(file).with_name(f"{Path(file).name}.json")
    if not manifest.is_file():
        return None
    try:
        return read(read_object(manifest))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{manifest} is not a manifest ({error!r}); export the file again") from None
