"""Choose the preset that images are trained with when nobody names one.

In: the images, and the weights to start from. Out: a preset, adapted to them, with the reason.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from PIL import Image

from keras_se.training.data.sources import Source, Split
from keras_se.training.recipes import PRESETS, Recipe

_SAMPLED = 64  # images whose size is read
_SMALL = 64  # pixels of the shorter side: CIFAR has 32, Tiny ImageNet 64
_PUBLISHED = 224  # pixels that the presets for photographs take at most
_UPDATES = 8  # of an epoch, at least
_UNEQUAL = 5  # times as many images in one class as in another


class PresetChoice(NamedTuple):
    """A preset for images, and why that one."""

    name: str
    recipe: Recipe
    reason: str


def choose_preset(data: str, source: Source, weights: str | None = None) -> PresetChoice:
    """Choose the preset by the size of the images, and its batch by their number.

    Args:
        data: the source's name; digits have a preset of their own.
        source: the images.
        weights: what the network starts from; those of ImageNet are fine-tuned.
    """
    side = shorter_side(source.train)
    if weights is not None and (weights == "imagenet" or weights.startswith("timm/")):
        name, size = "fine_tune", _PUBLISHED
        reason = f"{weights} is fine-tuned"
    elif data == "digits":
        name, size = "digits", PRESETS["digits"].image_size
        reason = "they are scikit-learn's digits"
    elif side <= _SMALL:
        name, size = "small_images", 32 if side < (32 + _SMALL) / 2 else _SMALL
        reason = f"the shorter side of its images is {side} pixels"
    else:
        name, size = "photographs", min(_PUBLISHED, 32 * round(side / 32))
        reason = f"the shorter side of its images is {side} pixels"
    recipe = dataclasses.replace(PRESETS[name], image_size=size)
    batch = recipe.batch_size
    while batch > 2 and batch * _UPDATES > len(source.train):
        batch //= 2
    if batch != recipe.batch_size:
        recipe = dataclasses.replace(recipe, batch_size=batch)
        reason += f"; a batch is {batch}, for {len(source.train)} images to train on"
    return PresetChoice(name, recipe, reason)


def shorter_side(split: Split) -> int:
    """Return the median of the images' shorter sides, in pixels, over some that are spread over all."""
    images = split.images[np.linspace(0, len(split) - 1, min(len(split), _SAMPLED)).astype(int)]
    if images.ndim > 1:
        return min(images.shape[1:3])
    sides = []
    for path in images:
        with Image.open(path) as image:  # its head alone is read
            sides.append(min(image.size))
    return int(np.median(sides))


def unequal_classes(source: Source) -> str | None:
    """Return a line that names the least and the greatest class where one has several times the other's images."""
    counts = np.bincount(source.train.labels, minlength=len(source.classes))
    least, most = int(counts.argmin()), int(counts.argmax())
    if counts[most] < _UNEQUAL * counts[least]:
        return None
    return (
        f"classes are unequal: {counts[most]} images of {source.classes[most]} and {counts[least]} of "
        f"{source.classes[least]} to train on; --class-weights balanced lets each class weigh as much as another"
    )
