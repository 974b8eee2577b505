"""Bounds of what augmentation does to an image."""

import numpy as np
import pytest
import tensorflow as tf

from keras_se.training.data.input_pipeline import (
    AUGMENTATIONS,
)
from keras_se.training.data.sources import Split
from numbered_images import FLOAT32, SIDE, SQUARE, numbered, photograph, take, training


def key(number):
    return tf.constant([0, number], tf.int64)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_the_seed_decides_every_batch(augmentation):
    split = numbered(10, side=40)
    first, again, other = (take(training(split, seed=seed, augmentation=augmentation), 5) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[1] != other[1]).any()


def test_an_image_is_augmented_otherwise_in_each_pass():
    images, classes = take(training(numbered(4), augmentation="shift"), 8)
    of_one = images.reshape(-1, SIDE, SIDE, 3)[classes.reshape(-1) == 0]
    assert len(np.unique(of_one, axis=0)) > 4


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
@pytest.mark.parametrize("size", [(32, 32), (50, 41), (8, 8)])
def test_an_augmented_image_has_the_size_and_the_range_of_every_other(augmentation, size):
    split = Split(photograph(*size)[None], np.zeros(1, np.int32))
    images, _ = take(training(split, augmentation=augmentation, batch_size=20), 1)
    assert images.shape == (1, 20, SIDE, SIDE, 3)
    assert images.min() >= 0
    assert images.max() <= 1 + FLOAT32


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_an_operation_is_the_same_eagerly_and_in_a_dataset(augmentation):
    image = tf.constant(photograph(50, 41))

    def augmented(number):
        return AUGMENTATIONS[augmentation](image, SQUARE, tf.stack([tf.constant(0, tf.int64), number]))

    in_dataset = np.stack([image.numpy() for image in tf.data.Dataset.range(8).map(augmented)])
    eagerly = np.stack([augmented(tf.constant(number, tf.int64)).numpy() for number in range(8)])
    np.testing.assert_allclose(in_dataset, eagerly, atol=255 * FLOAT32)


def moved(pixels, down, right):
    """Return the image shifted over black, by NumPy."""
    out = np.zeros_like(pixels)
    height, width = pixels.shape[:2]
    source = pixels[max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)]
    top, left = max(0, down), max(0, right)
    out[top : top + source.shape[0], left : left + source.shape[1]] = source
    return out


def test_a_shift_only_moves_the_image_over_black_by_up_to_an_eighth():
    pixels = photograph(SIDE, SIDE)
    reach = range(-SIDE // 8, SIDE // 8 + 1)
    shifts = {
        moved(pixels, down, right).astype(np.float32).tobytes(): (down, right) for down in reach for right in reach
    }
    seen = [shifts[AUGMENTATIONS["shift"](tf.constant(pixels), SQUARE, key(n)).numpy().tobytes()] for n in range(150)]
    assert {down for down, _ in seen} == {right for _, right in seen} == set(reach)


def test_about_half_of_the_images_are_flipped():
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[:, SIDE // 2 :] = 255
    flipped = sum(
        AUGMENTATIONS["shift_flip"](tf.constant(pixels), SQUARE, key(n)).numpy()[16, 8, 0] == 255 for n in range(200)
    )
    assert abs(flipped - 100) < 36  # five standard deviations of 200 fair coins, 7.1 each


def test_a_shift_alone_flips_nothing():
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[:, SIDE // 2 :] = 255
    assert all(AUGMENTATIONS["shift"](tf.constant(pixels), SQUARE, key(n)).numpy()[16, 8, 0] == 0 for n in range(50))


def test_a_resized_crop_covers_8_to_100_percent_at_an_aspect_of_3_to_4_up_to_4_to_3():
    """Read off an image whose levels are its own coordinates."""
    side = 256
    y, x = np.mgrid[:side, :side].astype(np.uint8)
    image = tf.constant(np.stack([x, y, y], axis=-1))
    extents = []
    for number in range(200):
        crop = AUGMENTATIONS["resized_crop_flip"](image, SQUARE, key(number)).numpy()
        # From the first pixel's centre to the last one's are 31 of the 32 pixels of the crop.
        wide, tall = (np.ptp(crop[..., axis].mean(axis=axis)) * 32 / 31 for axis in (0, 1))
        extents.append((wide, tall))
    wide, tall = np.array(extents).T
    area, aspect = wide * tall / side**2, wide / tall
    slack = 1.06  # the kernel is cut off at the crop's edge, which draws the outer pixels inwards
    assert area.min() > 0.08 / slack
    assert area.max() < 1.0 * slack
    assert area.min() < 0.2
    assert area.max() > 0.8
    assert aspect.min() > 3 / 4 / slack
    assert aspect.max() < 4 / 3 * slack
