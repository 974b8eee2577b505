"""A recipe's optimizer, schedule, loss and weight decay."""

from typing import Any

import keras
from keras import ops

from keras_se.training.recipes import Recipe

Schedule = keras.optimizers.schedules.LearningRateSchedule
_NOT_DECAYED = ["bias", "gamma", "beta"]
"""Names of variables that no decoupled decay is for; what is left are the kernels."""


def compile_for(recipe: Recipe, model: keras.Model, steps: int) -> Schedule:
    """Compile `model`, whose outputs are logits, as the recipe says; `steps` updates are an epoch.

    Returns:
        The learning rate by update.
    """
    rate = schedule(recipe, steps)
    optimizer = _OPTIMIZERS[recipe.optimizer](recipe, rate, model)
    losses, metrics = keras.losses, keras.metrics
    if recipe.binary:
        loss: Any = losses.BinaryCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing)
        accuracy: Any = metrics.BinaryAccuracy(name="accuracy", threshold=0.0)  # of a logit
    else:
        loss = losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing)
        accuracy = metrics.CategoricalAccuracy(name="accuracy")
    model.compile(optimizer=optimizer, loss=loss, weighted_metrics=[accuracy])
    model.optimizer.build(model.trainable_variables)  # so that a checkpoint can be read into it
    return rate


def schedule(recipe: Recipe, steps: int) -> Schedule:
    """Return the learning rate by update; `steps` updates an epoch."""
    peak = recipe.peak_learning_rate
    if recipe.schedule == "step":
        ends = range(recipe.step_epochs, recipe.epochs + recipe.step_epochs, recipe.step_epochs)
        rates = [peak / 10**drops for drops in range(len(ends) + 1)]
        # Keras counts from 0, and gives the update at a boundary the rate before it.
        return keras.optimizers.schedules.PiecewiseConstantDecay([end * steps - 1 for end in ends], rates)
    frozen = recipe.frozen_epochs
    if 0 < frozen < recipe.epochs:
        first = _cosine(peak, recipe.warmup_epochs, frozen, steps)
        lower, left = peak * recipe.unfrozen_rate, recipe.epochs - frozen
        return TwoPhases(first, _cosine(lower, min(1.0, left / 2), left, steps), frozen * steps)
    return _cosine(peak, recipe.warmup_epochs, recipe.epochs, steps)


def _cosine(peak: float, warmup_epochs: float, epochs: int, steps: int) -> Schedule:
    warmup = round(warmup_epochs * steps)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else peak,
        decay_steps=epochs * steps - warmup,
        warmup_target=peak if warmup else None,
        warmup_steps=warmup,
    )


class TwoPhases(Schedule):
    """One schedule up to an update, and another from it on."""

    def __init__(self, first: Schedule, second: Schedule, boundary: int):
        self.first = first
        self.second = second
        self.boundary = boundary

    def __call__(self, step):
        update: Any = ops.cast(step, "float32")
        later = self.second(ops.maximum(update - float(self.boundary), 0.0))
        return ops.where(update < self.boundary, self.first(update), later)

    def get_config(self):
        return {"first": self.first, "second": self.second, "boundary": self.boundary}


def decay_kernels(model: keras.Model, weight_decay: float) -> None:
    """Add `weight_decay / 2 · |w|²` to the loss for every convolution and dense kernel, and for nothing else.

    The coupled decay of the published recipes: its gradient is `weight_decay · w`.
    """
    if weight_decay:
        for variable in model.trainable_variables:
            if variable.name == "kernel":
                variable.regularizer = keras.regularizers.L2(weight_decay / 2)


def _sgd(recipe: Recipe, rate: Any, model: keras.Model) -> keras.optimizers.Optimizer:
    decay_kernels(model, recipe.weight_decay)
    return keras.optimizers.SGD(rate, momentum=recipe.momentum)


def _rmsprop(recipe: Recipe, rate: Any, model: keras.Model) -> keras.optimizers.Optimizer:
    decay_kernels(model, recipe.weight_decay)
    return keras.optimizers.RMSprop(rate, momentum=recipe.momentum)


def _adamw(recipe: Recipe, rate: Any, model: keras.Model) -> keras.optimizers.Optimizer:
    return _decoupled(keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay))


def _lamb(recipe: Recipe, rate: Any, model: keras.Model) -> keras.optimizers.Optimizer:
    return _decoupled(keras.optimizers.Lamb(rate, weight_decay=recipe.weight_decay or None))


def _decoupled(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    optimizer.exclude_from_weight_decay(var_names=_NOT_DECAYED)
    return optimizer


_OPTIMIZERS = {"sgd": _sgd, "adamw": _adamw, "lamb": _lamb, "rmsprop": _rmsprop}
