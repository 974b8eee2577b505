"""Train a recipe into a run folder."""

import dataclasses
import math
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_se.atomic import replacing, writable_folder, write_json
from keras_se.errors import InputError
from keras_se.preprocessing import RECORD, Preprocessing
from keras_se.registry import create_model
from keras_se.training.data import Source, load_source
from keras_se.training.distribution import make_strategy, synchronize_batch_norm
from keras_se.training.pipeline import evaluation_batches, training_batches
from keras_se.training.recipes import Recipe
from keras_se.versions import installed_versions

Schedule = keras.optimizers.schedules.LearningRateSchedule

MODEL = "model.keras"
_BEST = "best.weights.h5"


@dataclass(frozen=True)
class Run:
    """A finished run: its model with the weights of the best epoch, the figures of each epoch, its folder."""

    model: keras.Model
    history: dict[str, list[float]]
    folder: Path
    accuracy: float
    """On the test images, with the weights of the best epoch."""


def train(recipe: Recipe, *, overwrite: bool = False) -> Run:
    """Train `recipe.model` on `recipe.data` into the folder `recipe.out`.

    The folder holds `model.keras`, the weights of the epoch with the best test accuracy; `run.json`, the recipe, the
    package versions, the preprocessing and the result; `history.csv`; and `tensorboard/`.

    Args:
        overwrite: replace a run that the folder holds already.
    Raises:
        InputError: the folder holds a run or cannot be written, the data cannot be read, the model's name or an
            argument is unknown, or there are fewer training images than the batch takes.
    """
    folder = _free(Path(recipe.out), overwrite)
    source = load_source(recipe.data, skip_corrupt=recipe.skip_corrupt)
    if len(source.train) < recipe.batch_size:
        raise InputError(f"batch_size must be at most the {len(source.train)} training images; got {recipe.batch_size}")
    strategy = make_strategy(recipe.strategy)
    replicas = strategy.num_replicas_in_sync
    if recipe.batch_size % replicas:
        raise InputError(f"batch_size must divide by the {replicas} devices; got {recipe.batch_size}")
    # Same seed, same weights: without it, sums in parallel are added in the order in which the threads end.
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(recipe.seed)
    preprocessing = Preprocessing(recipe.image_size, recipe.image_size, recipe.crop)
    with strategy.scope():
        model = _model(recipe, source)
        trained = keras.Model(model.input, model.get_layer("logits").output)  # a softmax would cost precision
        synchronize_batch_norm(model, replicas > 1)
        _compile(trained, recipe, steps := len(source.train) // recipe.batch_size)
    _clear(folder)
    verbose: Any = 1 if sys.stdout.isatty() else 2  # a bar, or a line an epoch
    history = trained.fit(
        training_batches(
            source.train,
            preprocessing,
            classes=len(source.classes),
            batch_size=recipe.batch_size,
            augmentation=recipe.augmentation,
            seed=recipe.seed,
        ),
        steps_per_epoch=steps,
        epochs=recipe.epochs,
        validation_data=_evaluation(source, preprocessing, recipe.batch_size, replicas),
        callbacks=_callbacks(folder),
        shuffle=False,  # the batches are
        verbose=verbose,
    ).history
    if any(map(math.isnan, (*history["loss"], *history["val_loss"]))):
        _clear(folder)
        raise InputError(f"training diverged to NaN at learning_rate={recipe.learning_rate}; lower it")
    trained.load_weights(folder / _BEST)
    (folder / _BEST).unlink()
    synchronize_batch_norm(model, False)  # inference and other backends know nothing of it
    with replacing(folder / MODEL) as path:
        model.save(path)
    run = Run(model, history, folder, accuracy=max(history["val_accuracy"]))
    write_json(folder / RECORD, _record(run, recipe, source, preprocessing))
    return run


def _free(folder: Path, overwrite: bool) -> Path:
    if not overwrite and any((folder / name).exists() for name in (RECORD, MODEL)):
        raise InputError(f"{folder} holds a run already; choose another folder with --out, or pass --overwrite")
    return writable_folder(folder)


def _clear(folder: Path) -> None:
    """Remove an earlier run, once nothing can be refused any more."""
    for name in (RECORD, MODEL, _BEST, "history.csv"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)


def _model(recipe: Recipe, source: Source) -> keras.Model:
    if not recipe.model_arguments.get("include_top", True):
        raise InputError("a model is trained with its classifier; got include_top=False")
    shape = (recipe.image_size, recipe.image_size, 3)
    try:
        return create_model(recipe.model, input_shape=shape, classes=len(source.classes), **recipe.model_arguments)
    except (ValueError, TypeError) as error:
        raise InputError(f"model {recipe.model} cannot be built: {error}") from None


def _compile(model: keras.Model, recipe: Recipe, steps: int) -> None:
    decay_kernels(model, recipe.weight_decay)
    rate: Any = _schedule(recipe, steps)
    model.compile(
        optimizer=keras.optimizers.SGD(rate, momentum=recipe.momentum),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing),
        weighted_metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
    )


def _schedule(recipe: Recipe, steps: int) -> Schedule:
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


def _evaluation(source: Source, preprocessing: Preprocessing, batch_size: int, replicas: int) -> tf.data.Dataset:
    classes, whole = len(source.classes), replicas > 1
    return evaluation_batches(source.test, preprocessing, classes=classes, batch_size=batch_size, whole=whole)


def _callbacks(folder: Path) -> list[Any]:
    return [
        keras.callbacks.ModelCheckpoint(
            folder / _BEST, monitor="val_accuracy", mode="max", save_best_only=True, save_weights_only=True
        ),
        keras.callbacks.CSVLogger(folder / "history.csv"),
        keras.callbacks.TensorBoard(str(folder / "tensorboard")),
        keras.callbacks.TerminateOnNaN(),
    ]


def _record(run: Run, recipe: Recipe, source: Source, preprocessing: Preprocessing) -> dict:
    return {
        "recipe": {**dataclasses.asdict(recipe), "model_arguments": dict(recipe.model_arguments)},
        "preprocessing": preprocessing.to_dict(),
        "classes": source.classes,
        "images": {"train": len(source.train), "test": len(source.test), "left_out_as_corrupt": source.corrupt},
        "parameters": sum(math.prod(variable.shape) for variable in run.model.trainable_variables),
        "test_accuracy": run.accuracy,
        "versions": installed_versions(),
    }
