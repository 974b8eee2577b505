"""Preset that images are trained with when nobody names one."""

import keras
import numpy as np
import pytest

from keras_se.training.data.sources import Source, Split
from keras_se.training.preset_choice import choose_preset, shorter_side
from keras_se.training.recipes import PRESETS


def photographs(folder, size, count, classes=2):
    image = np.zeros((size, size + 20, 3), "uint8")
    paths = []
    for number in range(count):
        keras.utils.save_img(folder / f"{number}.png", image, scale=False)
        paths.append(str(folder / f"{number}.png"))
    split = Split(np.array(paths), (np.arange(count) % classes).astype("int32"))
    return Source(tuple("ab"), split, split)


@pytest.mark.parametrize(
    ("size", "preset", "image_size"),
    [(28, "small_images", 32), (64, "small_images", 64), (100, "photographs", 96), (300, "photographs", 224)],
)
def test_the_size_of_the_images_decides(size, preset, image_size, tmp_path):
    choice = choose_preset("photos", photographs(tmp_path, size, 8))
    assert (choice.name, choice.recipe.image_size) == (preset, image_size)
    assert str(size) in choice.reason


def test_few_images_get_small_batches(tmp_path):
    choice = choose_preset("photos", photographs(tmp_path, 80, 40))
    assert choice.recipe.batch_size == 4  # 8 updates an epoch would take 5
    assert "a batch is 4, for 40 images" in choice.reason


def test_weights_of_imagenet_are_fine_tuned_and_digits_are_digits(digits):
    assert choose_preset("photos", digits, "imagenet").name == "fine_tune"
    assert choose_preset("digits", digits).recipe == PRESETS["digits"]
    assert shorter_side(digits.train) == 8
