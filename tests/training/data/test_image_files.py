"""Image files of every format against Pillow's reading."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_se.training.data import image_files as images
from keras_se.training.data.image_files import EXTENSIONS, read_image, read_pixels
from keras_se.training.data.sources import load_source

LOSSLESS = 0


# libjpeg may convert YCbCr and CMYK with other roundings, and interpolate subsampled chroma otherwise, than Pillow's.
JPEG = 3


def picture():
    """A colourful gradient, uint8 `(40, 56, 3)`."""
    y, x = np.mgrid[:40, :56]
    return np.stack([4 * x, 6 * y, 2 * (x + y)], axis=-1).astype(np.uint8)


def as_mode(mode):
    """Return the picture in one of Pillow's modes."""
    image = Image.fromarray(picture())
    if mode == "RGBA":
        image.putalpha(Image.fromarray(picture()[..., 0]))
        return image
    if mode == "LA":
        return image.convert("L").convert("LA")
    return image.convert(mode)


@pytest.mark.parametrize(
    ("mode", "suffix", "tolerance"),
    [
        ("RGB", "png", LOSSLESS),
        ("L", "png", LOSSLESS),
        ("LA", "png", LOSSLESS),
        ("1", "png", LOSSLESS),
        ("P", "png", LOSSLESS),
        ("RGBA", "png", LOSSLESS),
        ("P", "gif", LOSSLESS),
        ("L", "gif", LOSSLESS),
        ("RGB", "jpg", JPEG),
        ("L", "jpg", JPEG),
        ("CMYK", "jpg", JPEG),
    ],
)
def test_an_image_is_read_as_the_rgb_that_pillow_sees(mode, suffix, tolerance, tmp_path):
    path = tmp_path / f"image.{suffix}"
    as_mode(mode).save(path)
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"), int)
    image = read_image(str(path))
    assert image.dtype == np.uint8
    assert image.shape == (40, 56, 3)
    assert np.abs(image - expected).max() <= tolerance


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "png"), ("L", "jpg"), ("P", "png"), ("RGBA", "png"), ("CMYK", "jpg")]
)
def test_a_folder_may_mix_kinds_of_images(mode, suffix, image_folder):
    folder = image_folder.write({"ant": 3, "bee": 3})
    as_mode(mode).save(folder / "ant" / f"other.{suffix}")
    source = load_source(str(folder))
    assert len(source.train) + len(source.test) == 7
    assert source.corrupt == ()


@pytest.mark.parametrize("suffix", ["bmp", "webp", "tiff", "tif", "ppm", "avif", "jpg", "png", "gif"])
def test_every_format_of_pillow_is_read(suffix, image_folder):
    if f".{suffix}" not in EXTENSIONS:
        pytest.skip("this Pillow was built without it")
    folder = image_folder.write({"ant": 2, "bee": 0})
    for number in range(2):
        as_mode("RGB").save(folder / "bee" / f"{number}.{suffix}")
    source = load_source(str(folder))
    assert len(source.train) + len(source.test) == 4
    error = np.abs(read_image(str(folder / "bee" / f"0.{suffix}")).astype(int) - picture())
    assert error.mean() < 12  # a wrong order of channels or a wrong palette is off by 60; .gif has 256 colours


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_of_sixteen_bits_the_upper_eight_are_read(suffix, tmp_path):
    path = tmp_path / f"deep.{suffix}"
    values = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    Image.fromarray(values).save(path)
    np.testing.assert_array_equal(read_image(str(path)), np.repeat((values >> 8)[..., None], 3, axis=-1))


@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
def test_an_image_is_turned_as_its_exif_says(suffix, tmp_path):
    """6: the top of the scene is the right-hand column of the file."""
    path = tmp_path / f"turned.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = 6
    further = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(picture()).save(path, exif=exif, **further)
    np.testing.assert_array_equal(read_image(str(path)), np.rot90(picture(), -1))


TURNED = Image.Exif()
TURNED[0x0112] = 6


@pytest.mark.parametrize(
    ("mode", "suffix", "options", "by_pillow"),
    [
        ("RGB", "jpg", {}, False),
        ("RGB", "jpg", {"quality": 95, "subsampling": 0}, False),
        ("RGB", "jpg", {"quality": 30, "subsampling": 1}, False),
        ("RGB", "jpg", {"progressive": True}, False),
        ("L", "jpg", {}, False),
        ("RGB", "png", {}, False),
        ("L", "png", {}, False),
        ("RGB", "png", {"transparency": (0, 0, 0)}, False),
        ("RGB", "jpg", {"exif": TURNED}, True),
        ("RGB", "jpg", {"xmp": b'<x tiff:Orientation="6"/>'}, True),
        ("RGB", "png", {"exif": TURNED}, True),
        ("CMYK", "jpg", {}, True),
        ("P", "png", {}, True),
        ("RGBA", "png", {}, True),
        ("RGB", "bmp", {}, True),
    ],
)
def test_tensorflow_reads_plain_files_to_the_bit_as_pillow(mode, suffix, options, by_pillow, tmp_path, monkeypatch):
    path, calls = str(tmp_path / f"image.{suffix}"), []
    as_mode(mode).save(path, **options)
    expected = read_image(path)
    monkeypatch.setattr(images, "read_image", lambda path: calls.append(path) or read_image(path))
    np.testing.assert_array_equal(tf.function(read_pixels)(tf.constant(path)), expected)
    assert bool(calls) == by_pillow
