"""Sources of images: what is found, how it is divided, and what is refused."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_se.errors import InputError
from keras_se.preprocessing import Preprocessing
from keras_se.training.data import image_files as images
from keras_se.training.data.image_files import EXTENSIONS, read_image, read_pixels
from keras_se.training.data.input_pipeline import sample
from keras_se.training.data.sources import load_source

LOSSLESS = 0
# libjpeg may convert YCbCr and CMYK with other roundings, and interpolate subsampled chroma otherwise, than Pillow's.
JPEG = 3


def picture():
    """A colourful gradient, uint8 `(40, 56, 3)`."""
    y, x = np.mgrid[:40, :56]
    return np.stack([4 * x, 6 * y, 2 * (x + y)], axis=-1).astype(np.uint8)


def as_mode(mode):
    """The picture in one of Pillow's modes."""
    image = Image.fromarray(picture())
    if mode == "RGBA":
        image.putalpha(Image.fromarray(picture()[..., 0]))
        return image
    if mode == "LA":
        return image.convert("L").convert("LA")
    return image.convert(mode)


def truncated_jpeg(path):
    Image.fromarray(picture()).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# Digits.


def test_digits_are_the_1797_of_scikit_learn_in_ten_classes(digits):
    """1,797 images of 8x8: scikit-learn's documentation of load_digits."""
    assert len(digits.train) + len(digits.test) == 1797
    assert digits.classes == tuple("0123456789")
    assert digits.train.images.dtype == np.uint8
    assert digits.train.images.shape[1:] == digits.test.images.shape[1:] == (8, 8, 3)
    assert digits.train.labels.dtype == np.int32


def test_digits_span_black_to_white_in_three_equal_channels(digits):
    images = digits.train.images
    assert (images.min(), images.max()) == (0, 255)
    assert (images == images[..., :1]).all()


def test_digits_give_every_fifth_image_of_a_class_to_the_test(digits):
    in_train, in_test = np.bincount(digits.train.labels), np.bincount(digits.test.labels)
    share = in_test / (in_train + in_test)
    np.testing.assert_allclose(share, 0.2, atol=1 / 174)  # one image of the smallest class


def test_no_digit_is_in_both_parts(digits):
    """Of scikit-learn's 1,797 no two are equal."""
    train, test = ({image.tobytes() for image in split.images} for split in (digits.train, digits.test))
    assert len(train | test) == 1797


def test_a_source_is_divided_alike_each_time(digits):
    again = load_source("digits")
    np.testing.assert_array_equal(again.train.images, digits.train.images)
    np.testing.assert_array_equal(again.test.labels, digits.test.labels)


# Folders.


def test_a_folder_of_class_folders_is_divided_class_by_class(image_folder):
    folder = image_folder.write({"ant": 10, "bee": 25, "cow": 2})
    source = load_source(str(folder))
    assert source.classes == ("ant", "bee", "cow")
    assert np.bincount(source.train.labels).tolist() == [8, 20, 1]
    assert np.bincount(source.test.labels).tolist() == [2, 5, 1]
    assert not set(source.train.images) & set(source.test.images)
    for split in (source.train, source.test):
        named = [source.classes.index(path.split("/")[-2]) for path in split.images]
        np.testing.assert_array_equal(split.labels, named)


@pytest.mark.parametrize("name", ["test", "val", "validation"])
def test_a_folder_that_divides_itself_is_left_as_it_is(image_folder, name):
    image_folder.write({"ant": 4, "bee": 3}, inside="train")
    folder = image_folder.write({"ant": 2, "bee": 1}, inside=name)
    source = load_source(str(folder))
    assert source.classes == ("ant", "bee")
    assert (len(source.train), len(source.test)) == (7, 3)
    assert all(f"/{name}/" in path for path in source.test.images)


def test_images_are_found_in_sub_folders_and_under_capital_suffixes(image_folder):
    folder = image_folder.write({"ant": 3, "bee": 3})
    (folder / "ant" / "more").mkdir()
    (folder / "ant" / "0.png").rename(folder / "ant" / "more" / "X.PNG")
    (folder / "ant" / "notes.txt").write_text("not an image, and not named as one")
    source = load_source(str(folder))
    assert len(source.train) + len(source.test) == 6


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
    monkeypatch.setattr(images, "read_image", lambda one: calls.append(one) or read_image(one))
    np.testing.assert_array_equal(tf.function(read_pixels)(tf.constant(path)), expected)
    assert bool(calls) == by_pillow


def test_what_is_left_out_is_named_in_one_line_with_counts_by_ending(image_folder, capsys):
    folder = image_folder.write({"ant": 3, "bee": 3})
    for name in ("ant/a.heic", "ant/b.HEIC", "bee/notes.txt", "bee/README", "labels.csv"):
        (folder / name).write_text("no image")
    for name in (".git/x.png", "ant/.cache/y.png"):
        (folder / name).parent.mkdir()
        (folder / name).write_text("hidden")
    (folder / "ant" / "._0.png").write_text("AppleDouble")
    source = load_source(str(folder))
    assert source.classes == ("ant", "bee")
    assert len(source.train) + len(source.test) == 6
    assert source.left_out == {".heic": 2, ".txt": 1, "": 1, ".csv": 1}
    [line] = capsys.readouterr().err.splitlines()
    assert "5 files that are no images (1 without an ending, 1 .csv, 2 .heic, 1 .txt)" in line


def test_a_second_test_folder_is_named(image_folder, capsys):
    for part in ("train", "test", "val"):
        image_folder.write({"ant": 2, "bee": 2}, inside=part)
    load_source(str(image_folder.root))
    assert "folders beside train and test: val" in capsys.readouterr().err


def test_a_folder_that_a_link_leads_to_again_is_read_once_and_named(image_folder, capsys):
    folder = image_folder.write({"bee": 3, "cat": 3})
    (folder / "ant").symlink_to(folder / "bee")  # before it in the alphabet
    (folder / "cat" / "loop").symlink_to(folder)
    (folder / "cat" / "self").symlink_to("self")
    source = load_source(str(folder))
    assert source.classes == ("bee", "cat")
    assert len(source.train) + len(source.test) == 6
    line = capsys.readouterr().err
    assert f"{folder / 'ant'} leads to {folder / 'bee'}" in line
    assert "cat/loop leads to" in line


def test_a_linked_folder_from_elsewhere_is_read(image_folder, tmp_path):
    folder = image_folder.write({"ant": 3, "bee": 3})
    (folder / "ant").rename(tmp_path / "elsewhere")
    (folder / "ant").symlink_to(tmp_path / "elsewhere")
    (folder / "bee" / "more").symlink_to(tmp_path / "elsewhere")
    source = load_source(str(folder))
    assert np.bincount([*source.train.labels, *source.test.labels]).tolist() == [3, 3]


def test_a_test_part_that_is_the_training_part_is_refused(image_folder):
    folder = image_folder.write({"ant": 2, "bee": 2}, inside="train")
    (folder / "test").symlink_to(folder / "train")
    with pytest.raises(InputError, match="test holds no image"):
        load_source(str(folder))


def test_a_name_that_is_not_utf_8_is_read(image_folder):
    folder = image_folder.write({"ant": 2, "bee": 2})
    os.rename(os.fsencode(folder / "ant" / "0.png"), os.fsencode(folder / "ant") + b"/\xff\xfe.png")
    source = load_source(str(folder))
    images, _ = sample(source.train, Preprocessing(8, 8), 4)
    assert images.shape == (2, 8, 8, 3)


# Corrupt images.


def write_corrupt(folder):
    """Three files that are no images: cut short, a text, and empty."""
    truncated_jpeg(folder / "ant" / "cut.jpg")
    (folder / "bee" / "text.jpg").write_text("not an image")
    (folder / "bee" / "empty.png").touch()
    return {str(folder / name) for name in ("ant/cut.jpg", "bee/text.jpg", "bee/empty.png")}


def test_corrupt_images_are_counted_and_named_and_stop_the_run(image_folder):
    folder = image_folder.write({"ant": 5, "bee": 5})
    corrupt = write_corrupt(folder)
    with pytest.raises(InputError, match="3 of 13 images") as refused:
        load_source(str(folder))
    assert all(path in str(refused.value) for path in corrupt)
    assert "--skip-corrupt" in str(refused.value)


def test_corrupt_images_are_left_out_on_demand_and_recorded(image_folder):
    folder = image_folder.write({"ant": 5, "bee": 5})
    corrupt = write_corrupt(folder)
    source = load_source(str(folder), skip_corrupt=True)
    assert set(source.corrupt) == corrupt
    used = {*source.train.images, *source.test.images}
    assert len(used) == 10
    assert not used & corrupt


def test_of_many_corrupt_images_five_are_named_and_all_counted(image_folder):
    folder = image_folder.write({"ant": 2, "bee": 2})
    for number in range(9):
        (folder / "ant" / f"bad{number}.jpg").write_text("not an image")
    with pytest.raises(InputError, match="9 of 13 images") as refused:
        load_source(str(folder))
    assert str(refused.value).count("bad") == 5


def test_corrupt_images_are_found_in_the_test_part_too(image_folder):
    image_folder.write({"ant": 3, "bee": 3}, inside="train")
    folder = image_folder.write({"ant": 2, "bee": 2}, inside="test")
    truncated_jpeg(folder / "test" / "ant" / "cut.jpg")
    with pytest.raises(InputError, match=r"1 of 11 images.*cut\.jpg"):
        load_source(str(folder))


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_part_of_which_no_image_is_left_is_refused(image_folder, part):
    for name in ("train", "test"):
        image_folder.write({"ant": 1, "bee": 1}, inside=name)
    folder = image_folder.root
    for path in (folder / part).rglob("*.png"):
        path.write_text("not an image")
    with pytest.raises(InputError, match=part):
        load_source(str(folder), skip_corrupt=True)


# What is refused.


def test_an_empty_class_folder_is_named(image_folder):
    folder = image_folder.write({"ant": 3, "bee": 0})
    with pytest.raises(InputError, match="holds no image") as refused:
        load_source(str(folder))
    assert str(folder / "bee") in str(refused.value)


def test_a_class_folder_of_other_files_is_empty(image_folder):
    folder = image_folder.write({"ant": 3, "bee": 0})
    (folder / "bee" / "bee.txt").write_text("a bee")
    with pytest.raises(InputError, match="holds no image") as refused:
        load_source(str(folder))
    assert all(suffix in str(refused.value) for suffix in EXTENSIONS)


@pytest.mark.parametrize("classes", [{}, {"ant": 3}])
def test_fewer_than_two_classes_are_refused_with_their_number(image_folder, classes):
    folder = image_folder.write(classes)
    folder.mkdir(exist_ok=True)
    with pytest.raises(InputError, match=f"at least 2 classes; it has {len(classes)}") as refused:
        load_source(str(folder))
    assert str(folder) in str(refused.value)


def test_a_class_of_one_image_cannot_be_divided(image_folder):
    folder = image_folder.write({"ant": 3, "bee": 1})
    with pytest.raises(InputError, match=r"class bee must have at least 2 images.*it has 1"):
        load_source(str(folder))


def test_a_class_that_only_the_test_part_has_is_named(image_folder):
    image_folder.write({"ant": 2, "bee": 2}, inside="train")
    folder = image_folder.write({"ant": 2, "cow": 2}, inside="test")
    with pytest.raises(InputError, match="cow"):
        load_source(str(folder))


def test_a_missing_folder_is_named(tmp_path):
    missing = str(tmp_path / "nowhere")
    with pytest.raises(InputError, match="folder of class folders") as refused:
        load_source(missing)
    assert missing in str(refused.value)


def test_an_unknown_source_gets_the_list_of_the_known():
    with pytest.raises(InputError, match="emnist") as refused:
        load_source("emnist")
    assert all(name in str(refused.value) for name in ("digits", "mnist", "cifar10", "cifar100", "fashion_mnist"))


# keras.datasets.


@pytest.mark.parametrize(
    ("name", "shape", "column"),
    [
        ("mnist", (28, 28), False),
        ("fashion_mnist", (28, 28), False),
        ("cifar10", (32, 32, 3), True),
        ("cifar100", (32, 32, 3), True),
    ],
)
def test_a_dataset_of_keras_becomes_rgb_images_and_flat_labels(name, shape, column, monkeypatch):
    """The shapes are those of keras.datasets: grey without a channel axis, CIFAR's labels in a column."""

    def part(count):
        images = np.arange(count * np.prod(shape)).reshape(count, *shape).astype(np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 3
        return images, labels[:, None] if column else labels

    monkeypatch.setattr(getattr(keras.datasets, name), "load_data", lambda: (part(9), part(4)))
    source = load_source(name)
    assert source.classes == ("0", "1", "2")
    assert source.train.images.shape == (9, *shape[:2], 3)
    assert source.train.images.dtype == np.uint8
    np.testing.assert_array_equal(source.test.images[..., 0], part(4)[0].reshape(4, *shape[:2], -1)[..., 0])
    np.testing.assert_array_equal(source.test.labels, [0, 1, 2, 0])


def test_a_dataset_that_cannot_be_downloaded_is_refused_with_the_reason(monkeypatch):
    def load_data():
        raise OSError("no route to host")

    monkeypatch.setattr(keras.datasets.cifar10, "load_data", load_data)
    with pytest.raises(InputError, match=r"cifar10 .*could not be downloaded: no route to host"):
        load_source("cifar10")
