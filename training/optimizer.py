"""A recipe's optimizer, schedule, loss and weight decay."""

from typing import Any

import keras

from keras_se.training.recipes import Recipe

Schedule = keras.optimizers.schedules.LearningRateSchedule


def compile_for(recipe: Recipe, model: keras.Model, steps: int) -> None:
    """Compile `model`, whose outputs are logits, as the recipe says; `steps` updates are an epoch."""
    decay_kernels(model, recipe.weight_decay)
    rate: Any = schedule(recipe, steps)
    model.compile(
        optimizer=keras.optimizers.SGD(rate, momentum=recipe.momentum),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing),
        weighted_metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
    )
    model.optimizer.build(model.trainable_variables)  # so that a checkpoint can be read into it


def schedule(recipe: Recipe, steps: int) -> Schedule:
    """The learning rate by update; `steps` updates an epoch."""
    peak = recipe.peak_learning_rate
    if recipe.schedule == "step":
        ends = range(recipe.step_epochs, recipe.epochs + recipe.step_epochs, recipe.step_epochs)
        rates = [peak / 10**drops for drops in range(len(ends) + 1)]
        # Keras counts from 0, and gives the update at a boundary the rate before it.
        return keras.optimizers.schedules.PiecewiseConstantDecay([end * steps - 1 for end in ends], rates)
    warmup = round(recipe.warmup_epochs * steps)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else peak,
        decay_steps=recipe.epochs * steps - warmup,
        warmup_target=peak if warmup else None,
        warmup_steps=warmup,
    )


def decay_kernels(model: keras.Model, weight_decay: float) -> None:
    """Add `weight_decay / 2 · |w|²` to the loss for every convolution and dense kernel, and for nothing else.

    The coupled decay of the published recipes: its gradient is `weight_decay · w`.
    """
    if weight_decay:
        for variable in model.trainable_variables:
            if variable.name == "kernel":
                variable.regularizer = keras.regularizers.L2(weight_decay / 2)
