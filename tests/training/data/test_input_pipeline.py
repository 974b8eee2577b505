"""Preprocessing against Pillow, and the batches of training and evaluation."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_se.errors import InputError
from keras_se.preprocessing import Preprocessing
from keras_se.training.data.input_pipeline import (
    resize,
    sample,
)
from keras_se.training.data.sources import Split
from numbered_images import FLOAT32, SIDE, SQUARE, evaluation, numbered, photograph, take, training

# Pillow rounds to whole levels after each of its two passes, half a level at most each; TensorFlow does not round.
LEVELS = 1.01


def by_pillow(pixels, preprocessing):
    """Resize the shorter side to `ceil(side / crop)` with antialiasing, and crop the centre; float, 0..255."""
    height, width = pixels.shape[:2]
    target = np.array([preprocessing.height, preprocessing.width])
    ratio = max(np.ceil(target / preprocessing.crop) / [height, width])
    tall, wide = np.round(np.array([height, width]) * ratio).astype(int)
    resized = np.asarray(Image.fromarray(pixels).resize((wide, tall), Image.Resampling.BILINEAR), float)
    top, left = (tall - target[0]) // 2, (wide - target[1]) // 2
    return resized[top : top + target[0], left : left + target[1]]


@pytest.mark.parametrize(
    ("size", "preprocessing"),
    [
        ((100, 140), Preprocessing(32, 32, crop=0.875)),
        ((140, 100), Preprocessing(32, 32, crop=0.875)),
        ((300, 200), Preprocessing(32, 32)),
        ((61, 47), Preprocessing(32, 32)),
        ((33, 33), Preprocessing(32, 32)),
        ((90, 90), Preprocessing(24, 40, crop=0.9)),
        ((8, 8), Preprocessing(32, 32)),
        ((20, 31), Preprocessing(64, 64, crop=0.875)),
    ],
    ids=lambda value: "x".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_resizing_and_cropping_are_what_pillow_computes(size, preprocessing):
    pixels = photograph(*size)
    image = resize(tf.constant(pixels), preprocessing).numpy()
    assert image.shape == (preprocessing.height, preprocessing.width, 3)
    np.testing.assert_allclose(image, by_pillow(pixels, preprocessing), atol=LEVELS)


def test_resizing_without_antialiasing_would_be_seen():
    """The bound above tells the two apart."""
    pixels = photograph(300, 200)
    aliased = tf.image.resize(pixels, (48, 32)).numpy()[8:40]
    assert np.abs(aliased - by_pillow(pixels, SQUARE)).max() > 10 * LEVELS


def test_a_cubic_kernel_stays_within_the_levels():
    pixels = (photograph(50, 50) > 128).astype(np.uint8) * 255
    image = resize(tf.constant(pixels), Preprocessing(SIDE, SIDE, interpolation="bicubic")).numpy()
    assert image.min() >= 0
    assert image.max() <= 255


def test_a_network_trained_here_sees_the_pixel_over_255():
    split = numbered(3)
    images, _ = take(evaluation(split, batch_size=3), 1)
    np.testing.assert_allclose(images[0], split.images / 255, atol=FLOAT32)


def test_mean_and_deviation_of_the_record_normalise_each_channel():
    split = numbered(2)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    images, _ = take(evaluation(split, Preprocessing(SIDE, SIDE, mean=mean, std=std), batch_size=2), 1)
    expected = (split.images / 255 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(images[0], expected, atol=10 * FLOAT32)  # values up to 2.6, over a deviation of 0.2


def test_image_files_are_read_as_their_pixels(tmp_path):
    split = numbered(3)
    paths = [str(tmp_path / f"{number}.png") for number in range(3)]
    for path, pixels in zip(paths, split.images, strict=True):
        Image.fromarray(pixels).save(path)
    from_files, _ = take(evaluation(Split(np.array(paths), split.labels)), 1)
    in_memory, _ = take(evaluation(split), 1)
    np.testing.assert_array_equal(from_files, in_memory)


def test_evaluation_takes_each_image_once_in_order():
    split = numbered(10)
    batches = list(evaluation(split, batch_size=4))
    assert [len(images) for images, _ in batches] == [4, 4, 2]
    labels = np.concatenate([labels.numpy() for _, labels in batches])
    np.testing.assert_array_equal(labels, np.eye(10, dtype=np.float32))


def test_training_takes_full_batches_without_end_and_each_image_once_a_pass():
    """25 batches of 4 are ten passes over ten images."""
    images, classes = take(training(numbered(10)), 25)
    assert images.shape == (25, 4, SIDE, SIDE, 3)
    assert images.dtype == np.float32
    passes = classes.reshape(10, 10)
    assert all(sorted(order) == list(range(10)) for order in passes)
    assert len({tuple(order) for order in passes}) > 5  # and in another order


def test_labels_stay_with_their_images():
    split = numbered(10)
    images, classes = take(training(split), 5)
    np.testing.assert_allclose(images, split.images[classes] / 255, atol=FLOAT32)


def test_every_pass_over_the_batches_starts_alike():
    """Under a strategy Keras takes a first batch for its shapes and trains on a second iterator."""
    batches = training(numbered(10), augmentation="shift")
    first, second = take(batches, 5), take(batches, 5)
    np.testing.assert_array_equal(first[1], second[1])
    np.testing.assert_array_equal(first[0], second[0])


def test_evaluation_is_the_same_eagerly_and_in_a_dataset():
    split, preprocessing = numbered(5, side=50), Preprocessing(SIDE, SIDE, crop=0.875)
    eagerly, labels = sample(split, preprocessing, 5)
    in_dataset, classes = take(evaluation(split, preprocessing, batch_size=5), 1)
    np.testing.assert_allclose(eagerly, in_dataset[0], atol=FLOAT32)
    np.testing.assert_array_equal(labels, classes[0])


def test_a_sample_is_drawn_with_its_seed_and_keeps_its_labels():
    split = numbered(10)
    images, labels = sample(split, SQUARE, 4, seed=1)
    assert images.dtype == np.float32
    assert len(set(labels.tolist())) == 4
    np.testing.assert_allclose(images, split.images[labels] / 255, atol=FLOAT32)
    np.testing.assert_array_equal(sample(split, SQUARE, 4, seed=1)[1], labels)
    assert sample(split, SQUARE, 4, seed=2)[1].tolist() != labels.tolist()


def test_a_sample_of_more_than_there_are_is_all_of_them():
    _, labels = sample(numbered(3), SQUARE, 100)
    np.testing.assert_array_equal(labels, [0, 1, 2])


def test_images_that_no_memory_holds_are_refused_before_one_is_read():
    split = Split(np.array(["not read"] * 1000), np.zeros(1000, np.int32))
    with pytest.raises(InputError, match=r"1000 images of 65535x65535 take 95,9\d\d GiB, and this machine has"):
        sample(split, Preprocessing(65535, 65535), 1000)
