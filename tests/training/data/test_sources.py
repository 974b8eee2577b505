"""Sources of images: the classes and images of each, how they are divided, and what is refused."""

import os
import sys

import keras
import numpy as np
import pytest

from keras_se.errors import InputError, MissingExtraError
from keras_se.preprocessing import Preprocessing
from keras_se.training.data.image_files import EXTENSIONS
from keras_se.training.data.input_pipeline import sample
from keras_se.training.data.sources import load_source


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
    """No two of scikit-learn's 1,797 are equal."""
    train, test = ({image.tobytes() for image in split.images} for split in (digits.train, digits.test))
    assert len(train | test) == 1797


def test_a_source_is_divided_alike_each_time(digits):
    again = load_source("digits")
    np.testing.assert_array_equal(again.train.images, digits.train.images)
    np.testing.assert_array_equal(again.test.labels, digits.test.labels)


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


def test_without_scikit_learn_the_extra_of_the_digits_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.delitem(sys.modules, "sklearn.datasets", raising=False)
    with pytest.raises(MissingExtraError, match=r"sklearn.* is not installed; pip install 'keras-se\[digits\]'"):
        load_source("digits")
