"""Load labelled images: the name of a data set or a folder in, a training and a test part out."""

import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_se.errors import InputError
from keras_se.optional_packages import import_extra
from keras_se.progress import track
from keras_se.training.data.image_files import EXTENSIONS, entries, find_images, name_left_out, read_pixels

TEST_FOLDERS = ("test", "val", "validation")
TEST_SHARE = 0.2  # of a source that does not divide itself


@dataclass(frozen=True)
class Split:
    """Images and their classes.

    `images`: uint8 `(n, height, width, 3)`, or `(n,)` paths of image files. `labels`: int32 `(n,)`.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Source:
    """Images that a network is trained and tested on."""

    classes: tuple[str, ...]
    train: Split
    test: Split
    corrupt: tuple[str, ...] = ()
    """Files that were left out because they could not be decoded."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Number of files left out as no images, by the ending of their names."""


def load_source(name: str, *, skip_corrupt: bool = False) -> Source:
    """Load the images of a source.

    Args:
        name: "digits", scikit-learn's 1,797 of 8x8 pixels; "mnist", "fashion_mnist", "cifar10" or "cifar100",
            through `keras.datasets`; or a folder, of class folders or of `train` and `test` (or `val`) with class
            folders in each. A source that does not divide itself gives every fifth image of a class to the test.
        skip_corrupt: leave out the files that cannot be decoded.
    Raises:
        MissingExtraError: digits without the extra [digits].
        InputError: there is no such source, a class folder is empty or the only one, or a file cannot be decoded.
    """
    if name in _NAMED:
        return _NAMED[name](name)
    folder = Path(name)
    if not folder.is_dir():
        raise InputError(f"data must be one of {', '.join(_NAMED)} or a folder of class folders; {name} is neither")
    return _folder(folder, skip_corrupt)


def is_source(name: str) -> bool:
    """Tell whether `load_source` may know such images: a name of its own, or a folder that is there."""
    return name in _NAMED or Path(name).is_dir()


def _digits(name: str) -> Source:
    digits: Any = import_extra("sklearn.datasets", "digits").load_digits()
    images = np.round(digits.images * (255 / 16)).astype("uint8")  # 17 grey levels, 0 to 16
    return _divided(_rgb(images), digits.target, tuple(map(str, digits.target_names)))


def _keras_dataset(name: str) -> Source:
    try:
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # whatever the download of the day raises
        raise InputError(f"{name} is not in ~/.keras/datasets and could not be downloaded: {error}") from None
    classes = tuple(str(label) for label in range(int(y_train.max()) + 1))
    return Source(classes, _split(_rgb(x_train), y_train), _split(_rgb(x_test), y_test))


_NAMED: dict[str, Callable[[str], Source]] = {
    "digits": _digits,
    "mnist": _keras_dataset,
    "fashion_mnist": _keras_dataset,
    "cifar10": _keras_dataset,
    "cifar100": _keras_dataset,
}


def _folder(folder: Path, skip_corrupt: bool) -> Source:
    tests = [folder / name for name in TEST_FOLDERS if (folder / name).is_dir()]
    divided = (folder / "train").is_dir() and bool(tests)
    parts = [folder / "train", tests[0]] if divided else [folder]
    classes = _class_names(parts[0])
    if divided:
        unknown = sorted(set(_class_names(tests[0])) - set(classes))
        if unknown:
            raise InputError(f"{tests[0]} has a class that {folder / 'train'} has not: {unknown[0]}")
    tops = [part / name for part in parts for name in classes if (part / name).is_dir()]
    listing = find_images(folder, tops)
    aliases = {
        top for top in tops if not listing.files[top] and any(f"{top} leads to " in note for note in listing.repeated)
    }
    if not divided:  # a class that is a second name of another
        classes = tuple(name for name in classes if folder / name not in aliases)
        if len(classes) < 2:
            raise InputError(f"{folder} must hold at least 2 classes of their own; {'; '.join(listing.repeated)}")
    splits = [_files(part, classes, listing.files, may_lack=number > 0) for number, part in enumerate(parts)]
    corrupt = _corrupt([path for split in splits for path in split.images], folder, skip_corrupt)
    splits = [_without(split, corrupt, part.name) for split, part in zip(splits, parts, strict=True)]
    unread = [path.name for path in entries(folder) if divided and path.is_dir() and path not in parts]
    left_out = dict(listing.left_out)
    for part in {folder, *parts}:
        for path in entries(part):
            if not path.is_dir():
                left_out[path.suffix.lower()] = left_out.get(path.suffix.lower(), 0) + 1
    note = name_left_out(left_out, listing.repeated, unread)
    if note:
        print(f"keras-se: of {folder} is left out: {note}", file=sys.stderr)
    if divided:
        return Source(classes, splits[0], splits[1], corrupt, left_out)
    divided = _divided(splits[0].images, splits[0].labels, classes)
    return Source(classes, divided.train, divided.test, corrupt, left_out)


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(path.name for path in entries(folder) if path.is_dir())
    if len(names) < 2:
        raise InputError(f"{folder} must hold a folder for each of at least 2 classes; it has {len(names)}")
    return names


def _files(folder: Path, classes: tuple[str, ...], files: Mapping[Path, list[str]], *, may_lack: bool) -> Split:
    paths, labels = [], []
    for label, name in enumerate(classes):
        of_class = files.get(folder / name, [])
        if not of_class and not may_lack:
            raise InputError(f"{folder / name} holds no image ({', '.join(EXTENSIONS)}); fill it or remove it")
        paths += of_class
        labels += [label] * len(of_class)
    if not paths:
        raise InputError(f"{folder} holds no image ({', '.join(EXTENSIONS)}) in the folders of its classes")
    return _split(np.array(paths), labels)


def _corrupt(paths: list[str], folder: Path, skip_corrupt: bool) -> tuple[str, ...]:
    """Return the files that the decoder refuses.

    Raises:
        InputError: there are any, and they are not to be skipped.
    """
    with ThreadPoolExecutor() as pool:
        checks = track(pool.map(_decodes, paths), f"Checking {len(paths)} images", total=len(paths))
        corrupt = tuple(path for path, good in zip(paths, checks, strict=True) if not good)
    if corrupt and not skip_corrupt:
        named = ", ".join(corrupt[:5]) + (", …" if len(corrupt) > 5 else "")
        raise InputError(
            f"{len(corrupt)} of {len(paths)} images in {folder} cannot be decoded: {named}; "
            "mend or remove them, or pass --skip-corrupt"
        )
    return corrupt


def _decodes(path: str) -> bool:
    try:
        return read_pixels(os.fsencode(path)).ndim == 3
    except (OSError, ValueError, tf.errors.OpError):  # the first two by Pillow, outside of a graph
        return False


def _without(split: Split, corrupt: tuple[str, ...], part: str) -> Split:
    keep = ~np.isin(split.images, corrupt)
    if not keep.any():
        raise InputError(f"no image of {part} can be decoded; mend or replace them")
    return Split(split.images[keep], split.labels[keep])


def _divided(images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> Source:
    """Every fifth image of each class to the test, or the last of fewer; the same ones on every machine."""
    labels = np.asarray(labels)
    every = round(1 / TEST_SHARE)
    place = np.zeros(len(labels), int)  # of each image among those of its class
    for label, name in enumerate(classes):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise InputError(
                f"class {name} must have at least 2 images, to train and to test on; it has {len(members)}"
            )
        place[members] = np.arange(len(members))
        if len(members) < every:
            place[members[-1]] = every - 1
    test = place % every == every - 1
    return Source(classes, _split(images[~test], labels[~test]), _split(images[test], labels[test]))


def _split(images, labels) -> Split:
    return Split(images, np.asarray(labels, "int32").reshape(-1))


def _rgb(images: np.ndarray) -> np.ndarray:
    return images if images.ndim == 4 else np.repeat(images[..., None], 3, axis=-1)
