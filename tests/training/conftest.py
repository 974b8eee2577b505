"""Network and images that the tests of training share: a network that is traced in a second, and folders of images."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from keras_se import registry
from keras_se.models import mobilenet
from keras_se.models.mobilenet import Separable
from keras_se.training import Recipe, trainer
from keras_se.training.data.sources import Split, load_source

TINY = "se_tiny"  # the stem and one block of SE-MobileNet


class ImageFolder(NamedTuple):
    """Where to write class folders of random 32x32 PNGs, and how."""

    root: Path

    def write(self, counts, *, inside=""):
        """`{"cat": 3}`: three images in the class folder `cat`."""
        rng = np.random.default_rng(0)
        for name, count in counts.items():
            folder = self.root / inside / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
        return self.root


@pytest.fixture
def image_folder(tmp_path):
    return ImageFolder(tmp_path / "images")


@pytest.fixture(scope="module")
def tiny_model():
    """Add the name TINY to the registry; return it."""
    rows = (Separable(stage=2, out=16, stride=2),)
    entry = registry.Entry(mobilenet.mobilenet, rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._ENTRIES, TINY, entry)
        yield TINY


@pytest.fixture(scope="session")
def digits():
    return load_source("digits")


@pytest.fixture(scope="module")
def few_digits(digits):
    """128 digits to train on, 64 to test on, and training takes them."""
    few = dataclasses.replace(digits, train=first(digits.train, 128), test=first(digits.test, 64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "load_source", lambda name, **options: few)
        yield few


def first(split, count):
    return Split(split.images[:count], split.labels[:count])


@pytest.fixture(scope="module")
def tiny_recipe(tiny_model, few_digits, tmp_path_factory):
    """Two updates of a tiny network; its folder is not there yet."""
    return Recipe(
        model=tiny_model,
        out=str(tmp_path_factory.mktemp("tiny") / "run"),
        epochs=1,
        batch_size=64,
        image_size=32,
        crop=1.0,
        label_smoothing=0.1,
        augmentation="shift",
        seed=7,
    )
