"""Image files: which are read, and each as the RGB that a viewer shows."""

import os
import stat
import warnings
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps, features

from keras_se.errors import InputError

_OPTIONAL = {"WEBP": "webp", "AVIF": "avif"}  # what Pillow may have been built without
FORMATS = tuple(
    name
    for name in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM", "WEBP", "AVIF")
    if name not in _OPTIONAL or features.check(_OPTIONAL[name])
)
EXTENSIONS = tuple(sorted(end for end, name in Image.registered_extensions().items() if name in FORMATS))

# Whole files of grey or RGB in 8 bits, in whose bytes nothing may turn the picture or give it other colours or frames.
_JPEG = b"\xff\xd8\xff", b"\xff\xd9"  # how they begin and end
_PNG = r"\CPNG\r\n\x1a\n\C{4}IHDR\C{8}\x08[\x00\x02]\x00\x00\x00", r"\C{4}IEND\C{4}"
_FURTHER = r"\C*(?i:exif|adobe|orientation|actl)\C*"


def read_pixels(path: tf.Tensor | bytes) -> tf.Tensor:
    """Read an image in tf.data to the bit as `read_image`: plain JPEG and PNG files by TensorFlow's decoders.

    Those run side by side, while calls of Pillow from TensorFlow wait for Python's lock.

    Raises:
        tf.errors.OpError: the file is no whole image.
    """
    content = tf.io.read_file(path)

    def by_pillow() -> tf.Tensor:
        return tf.numpy_function(_read, [path], tf.uint8, stateful=False)

    def jpeg() -> tf.Tensor:
        def decoded():  # by the transform that Pillow takes; the default is faster and some levels off
            return tf.io.decode_jpeg(content, 3, dct_method="INTEGER_ACCURATE")

        return tf.cond(tf.io.extract_jpeg_shape(content)[2] < 4, decoded, by_pillow)

    def png() -> tf.Tensor:
        return tf.io.decode_png(content, 3)

    match = tf.strings.regex_full_match
    begin, end = tf.strings.substr(content, 0, 29), tf.strings.substr(content, -12, 12)
    is_jpeg = (tf.strings.substr(begin, 0, 3) == _JPEG[0]) & (tf.strings.substr(end, -2, 2) == _JPEG[1])
    is_png = match(begin, _PNG[0]) & match(end, _PNG[1])
    plain = (is_jpeg | is_png) & ~match(content, _FURTHER)
    pixels = tf.cond(plain, lambda: tf.cond(is_jpeg, jpeg, png), by_pillow)
    return tf.ensure_shape(pixels, (None, None, 3))


def _read(path) -> np.ndarray:
    return read_image(np.asarray(path).item())  # outside of a graph TensorFlow gives an array


def read_image(path: str | bytes) -> np.ndarray:
    """Read the first picture in an image file, turned as its EXIF says, as uint8 RGB `(height, width, 3)`.

    Grey, palette and CMYK images are converted; transparency is dropped; of 16 bits the upper 8 are taken.

    Raises:
        OSError, ValueError: the file is no whole image, or of values without a range (32 bits).
    """
    path = os.fsdecode(path)
    if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for ever
        raise OSError(f"{path} is no file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of large images and odd metadata
        try:
            with Image.open(path, formats=FORMATS) as file:
                ImageOps.exif_transpose(file, in_place=True)
                image = _rgb(file)
            del file  # an image of 179 million pixels, the most that Pillow reads, takes 0.7 GB
            return np.asarray(image)
        except (OSError, ValueError, MemoryError):
            raise
        except Exception as error:  # Pillow's readers have no common one
            raise ValueError(f"{path} cannot be decoded ({error})") from None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    elif image.mode == "I" and image.format in (None, "PNG", "PPM") and image.getextrema()[1] > 255:  # type: ignore
        image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("values of 32 bits have no range that is known")
    return image if image.mode == "RGB" else image.convert("RGB")


@dataclass
class ImageListing:
    """Contents of folders of images."""

    files: dict[Path, list[str]] = field(default_factory=dict)
    """Images of each folder that was asked for, in the order of their names."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Files that are no images, by the ending of their names."""
    repeated: list[str] = field(default_factory=list)
    """Folders that a symbolic link leads to a second time, and were read once."""


def find_images(root: Path, tops: list[Path]) -> ImageListing:
    """List the images in the folders `tops` and those below them; hidden files and folders are passed over.

    Symbolic links are followed once everything else has been seen, and lead nowhere twice.
    """
    listing = ImageListing({top: [] for top in tops})
    seen = {_identity(folder): folder for folder in (root.resolve(), *root.resolve().parents)}
    folders = deque((top, top) for top in tops if not top.is_symlink())
    links = deque((top, top) for top in tops if top.is_symlink())
    while folders or links:
        top, folder = folders.popleft() if folders else links.popleft()
        identity = _identity(folder)
        if identity in seen:
            listing.repeated.append(f"{folder} leads to {seen[identity]}")
            continue
        seen[identity] = folder
        for path in entries(folder):
            if path.is_dir():
                (links if path.is_symlink() else folders).append((top, path))
            elif path.suffix.lower() in EXTENSIONS:
                listing.files[top].append(str(path))
            else:
                listing.left_out[path.suffix.lower()] += 1
    for files in listing.files.values():
        files.sort()
    return listing


def entries(folder: Path) -> list[Path]:
    """List what is in a folder, without what is hidden or what macOS keeps beside files.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name != "__MACOSX")
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror})") from None


def name_left_out(left_out: Mapping[str, int], repeated: list[str], unread: list[str]) -> str:
    """Return one line of what is not used; empty if all is."""
    counts = [f"{count} {ending or 'without an ending'}" for ending, count in sorted(left_out.items())]
    parts = [
        *([f"{sum(left_out.values())} files that are no images ({', '.join(counts)})"] if counts else []),
        *([f"folders beside train and test: {', '.join(unread)}"] if unread else []),
        *([f"read once: {'; '.join(repeated)}"] if repeated else []),
    ]
    return "; ".join(parts)


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
