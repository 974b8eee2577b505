"""Batches of a run, as each worker takes them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from keras_se.preprocessing import Preprocessing
from keras_se.training.data.input_pipeline import (
    WHOLE,
    Share,
    balanced_weights,
    evaluation_batches,
    training_batches,
)
from keras_se.training.data.sources import Source
from keras_se.training.distribution.strategy import Devices
from keras_se.training.recipes import Recipe


@dataclass(frozen=True)
class WorkerBatches:
    """Batches that a worker trains on, from a step, and is tested on."""

    training: Callable[[int], Any]
    evaluation: Any
    evaluation_steps: int


def worker_batches(recipe: Recipe, source: Source, preprocessing: Preprocessing, devices: Devices) -> WorkerBatches:
    """Return batches of `recipe.batch_size` images over all workers; training has no end, evaluation sees each once."""
    classes, size = 1 if recipe.binary else len(source.classes), recipe.batch_size
    weights = balanced_weights(source.train, len(source.classes)) if recipe.class_weights == "balanced" else None

    def training(step: int) -> Any:
        return _distributed_over_workers(
            devices,
            lambda share: training_batches(
                source.train,
                preprocessing,
                classes=classes,
                batch_size=size,
                augmentation=recipe.augmentation,
                seed=recipe.seed,
                start=step * size,
                share=share,
                class_weights=weights,
            ),
        )

    evaluation = _distributed_over_workers(
        devices,
        lambda share: evaluation_batches(
            source.test, preprocessing, classes=classes, batch_size=size, whole=devices.replicas > 1, share=share
        ),
    )
    return WorkerBatches(training, evaluation, -(-len(source.test) // size))


def _distributed_over_workers(devices: Devices, batches: Callable[[Share], tf.data.Dataset]) -> Any:
    """Return each worker's share of the batches; what one process computes, Keras divides over its devices."""
    if devices.workers == 1:
        return batches(WHOLE)
    share = Share(devices.worker, devices.workers, devices.replicas // devices.workers)
    strategy: Any = devices.strategy
    return strategy.distribute_datasets_from_function(lambda context: batches(share))
