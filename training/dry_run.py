"""Foresee what a training run would do and how long it would take, without leaving a file.

In: a recipe and its images. Out: a `Plan`, of the network as it would be built and three real updates of it.
"""

import math
import resource
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_se.models.mac_count import macs
from keras_se.training.data.sharding import worker_batches
from keras_se.training.data.sources import Source
from keras_se.training.distribution.strategy import make_devices
from keras_se.training.network import build_model, check_images, check_recipe, logits_model, preprocessing_for
from keras_se.training.optimizer import compile_for
from keras_se.training.recipes import Recipe

_TIMED = 3  # updates, after one that is traced


@dataclass(frozen=True)
class Plan:
    """Work and cost of a training run that is not done."""

    classes: dict[str, int]
    """Images to train on, by class."""
    test_images: int
    image_size: tuple[int, int]
    """Height and width of the network's input, in pixels."""
    parameters: int
    """Parameters that are trained, once nothing is frozen."""
    macs: int
    """Multiply-accumulates of one image."""
    steps: int
    """Updates an epoch."""
    epochs: int
    learning_rates: tuple[float, ...]
    """Learning rate of the first update of each epoch, and of the last one of all."""
    memory_bytes: int
    """Greatest memory that this process had."""
    seconds_per_step: float
    """Median time of three updates."""

    @property
    def seconds(self) -> float:
        """Time of all updates; tests between the epochs come on top."""
        return self.seconds_per_step * self.steps * self.epochs

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "seconds": self.seconds}


def plan(recipe: Recipe, source: Source) -> Plan:
    """Build the network of a recipe, do three updates, and say what the whole run would be.

    Raises:
        InputError: the recipe cannot be trained on these images.
    """
    check_recipe(recipe)
    check_images(recipe, source)
    tf.config.experimental.enable_op_determinism()  # as the run would have it
    keras.utils.set_random_seed(recipe.seed)
    steps = len(source.train) // recipe.batch_size
    devices = make_devices(recipe.strategy)
    with devices.scope():
        model = build_model(recipe, source)
        preprocessing = preprocessing_for(recipe, model)
        trained = logits_model(model, recipe, devices)
        rate = compile_for(recipe, trained, steps)
        batches = iter(worker_batches(recipe, source, preprocessing, devices).training(0))
        times = []
        for _ in range(1 + _TIMED):
            begun = time.perf_counter()
            trained.train_on_batch(*next(batches))
            times.append(time.perf_counter() - begun)
    counts = np.bincount(source.train.labels, minlength=len(source.classes))
    unit = 1 if sys.platform == "darwin" else 1024
    return Plan(
        classes={name: int(count) for name, count in zip(source.classes, counts, strict=True)},
        test_images=len(source.test),
        image_size=preprocessing.size,
        parameters=sum(math.prod(variable.shape) for variable in model.trainable_variables),
        macs=macs(model),
        steps=steps,
        epochs=recipe.epochs,
        learning_rates=tuple(
            float(rate(step)) for step in (*range(0, steps * recipe.epochs, steps), steps * recipe.epochs - 1)
        ),
        memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        seconds_per_step=float(np.median(times[1:])),
    )
