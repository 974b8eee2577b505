"""Train a recipe into a run folder."""

import contextlib
import csv
import dataclasses
import json
import math
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_se.atomic import remove_unfinished, replacing, writable_folder, write_json
from keras_se.errors import ClusterError, InputError
from keras_se.preprocessing import RECORD, Preprocessing
from keras_se.registry import create_model
from keras_se.training.checkpoint import Checkpoints, Progress, assign, numbered, read_state
from keras_se.training.data import Source, load_source
from keras_se.training.distributed_model import distributed
from keras_se.training.distribution import Devices, make_devices, synchronize_batch_norm
from keras_se.training.pipeline import WHOLE, Share, evaluation_batches, training_batches
from keras_se.training.recipes import Recipe
from keras_se.training.survival import Survival
from keras_se.versions import installed_versions

Schedule = keras.optimizers.schedules.LearningRateSchedule

MODEL = "model.keras"
_BEST = "best.safetensors"
_CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Run:
    """A finished run: its model with the weights of the best epoch, the figures of each epoch, its folder."""

    model: keras.Model
    history: dict[str, list[float]]
    folder: Path
    accuracy: float
    """On the test images, with the weights of the best epoch."""


def train(recipe: Recipe, *, overwrite: bool = False, resume: bool = False) -> Run:
    """Train `recipe.model` on `recipe.data` into the folder `recipe.out`.

    The folder holds `model.keras`, the weights of the epoch with the best test accuracy; `run.json`, the recipe, the
    package versions, the preprocessing and the result; `history.csv`; and `tensorboard/`. Until the run is finished
    it holds `checkpoints/` and the best weights so far. SIGTERM saves a checkpoint and raises SystemExit(143).

    Args:
        overwrite: replace a run that the folder holds already.
        resume: go on with an unfinished run that the folder holds, to the weights that it would have had in one go,
            bit for bit; begin it if there is none; read it if it is finished.
    Raises:
        InputError: the folder holds a run or cannot be written, the data cannot be read, the model's name or an
            argument is unknown, there are fewer training images than the batch takes, or the run to go on with had
            another recipe.
        ClusterError: another worker was lost.
    """
    folder = _free(Path(recipe.out), overwrite, resume)
    if resume and (folder / RECORD).exists():
        _clear_state(folder)  # if it was killed before it could
        return _finished(folder)
    source = load_source(recipe.data, skip_corrupt=recipe.skip_corrupt)
    if len(source.train) < recipe.batch_size:
        raise InputError(f"batch_size must be at most the {len(source.train)} training images; got {recipe.batch_size}")
    devices = make_devices(recipe.strategy)
    if recipe.batch_size % (devices.replicas * recipe.micro_batches):
        raise InputError(
            f"batch_size must divide by the {devices.replicas} devices times the {recipe.micro_batches} micro-batches; "
            f"got {recipe.batch_size}"
        )
    # Same seed, same weights: without it, sums in parallel are added in the order in which the threads end.
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(recipe.seed)
    with devices.scope(), _lost_workers_named(devices):
        return _trained(recipe, source, devices, folder, resume)


def _trained(recipe: Recipe, source: Source, devices: Devices, folder: Path, resume: bool) -> Run:
    preprocessing = Preprocessing(recipe.image_size, recipe.image_size, recipe.crop)
    steps = len(source.train) // recipe.batch_size
    model = _model(recipe, source)
    trained = _compiled(model, recipe, steps, devices)
    checkpoints = Checkpoints(folder / _CHECKPOINTS)
    settings = {**_settings(recipe), "images": len(source.train)}
    progress = (checkpoints.restore(trained) if resume else None) or Progress(settings=settings)
    _check_goes_on(progress, settings, devices, folder)
    if devices.chief:
        remove_unfinished(folder, folder / _CHECKPOINTS)
        if not progress.step:
            _clear(folder)
    survival = Survival(
        checkpoints,
        progress,
        devices,
        best=folder / _BEST,
        history=folder / "history.csv",
        every=recipe.checkpoint_steps,
    )
    with survival.listening():
        _fit(trained, survival, _batches(recipe, source, preprocessing, devices), recipe.epochs, steps)
    history = _by_name(progress.history)
    if any(map(math.isnan, (*history["loss"], *history["val_loss"]))):
        devices.in_any_worker(False)
        if devices.chief:
            _clear(folder)
        raise InputError(f"training diverged to NaN at learning_rate={recipe.learning_rate}; lower it")
    devices.in_any_worker(False)  # the chief has written the best weights
    arrays, _ = read_state(folder / _BEST)
    assign(numbered(trained.variables), arrays, folder / _BEST)
    synchronize_batch_norm(model, False)  # inference and other backends know nothing of it
    run = Run(model, history, folder, accuracy=progress.best)
    if devices.chief:
        with replacing(folder / MODEL) as path:
            model.save(path)
        write_json(folder / RECORD, _record(run, recipe, source, preprocessing))
        _clear_state(folder)
    devices.in_any_worker(False)  # the chief has written the run
    return run


def _fit(trained: keras.Model, survival: Survival, batches: "_Batches", epochs: int, steps: int) -> None:
    """The epochs that are left, the first of which may have begun."""
    progress = survival.progress
    bar = 1 if sys.stdout.isatty() else 2  # or a line an epoch
    common: dict[str, Any] = {
        "validation_data": batches.evaluation,
        "validation_steps": batches.evaluation_steps,
        "callbacks": _callbacks(survival),
        "shuffle": False,  # the batches are
        "verbose": bar if survival.devices.chief else 0,
    }
    epoch, done = len(progress.history), progress.step - len(progress.history) * steps
    if done == steps:  # killed while it was evaluated
        silent: Any = 0
        measured = trained.evaluate(
            batches.evaluation, steps=batches.evaluation_steps, return_dict=True, verbose=silent
        )
        survival.set_model(trained)
        survival.on_epoch_end(epoch, {f"val_{name}": value for name, value in measured.items()})
    elif done:
        remaining = batches.training(progress.step)
        trained.fit(remaining, initial_epoch=epoch, epochs=epoch + 1, steps_per_epoch=steps - done, **common)
    epoch = len(progress.history)
    if epoch < epochs and not trained.stop_training:
        trained.fit(
            batches.training(progress.step), initial_epoch=epoch, epochs=epochs, steps_per_epoch=steps, **common
        )


def _callbacks(survival: Survival) -> list[Any]:
    board = [keras.callbacks.TensorBoard(str(survival.history.with_name("tensorboard")))]
    return [survival, keras.callbacks.TerminateOnNaN(), *(board if survival.devices.chief else ())]


@dataclass(frozen=True)
class _Batches:
    """What a worker trains on, from a step, and is tested on."""

    training: Callable[[int], Any]
    evaluation: Any
    evaluation_steps: int


def _batches(recipe: Recipe, source: Source, preprocessing: Preprocessing, devices: Devices) -> _Batches:
    classes, size = len(source.classes), recipe.batch_size

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
            ),
        )

    evaluation = _distributed_over_workers(
        devices,
        lambda share: evaluation_batches(
            source.test, preprocessing, classes=classes, batch_size=size, whole=devices.replicas > 1, share=share
        ),
    )
    return _Batches(training, evaluation, -(-len(source.test) // size))


def _distributed_over_workers(devices: Devices, batches: Callable[[Share], tf.data.Dataset]) -> Any:
    """Each worker's share of the batches; what one process computes, Keras divides over its devices."""
    if devices.workers == 1:
        return batches(WHOLE)
    share = Share(devices.worker, devices.workers, devices.replicas // devices.workers)
    strategy: Any = devices.strategy
    return strategy.distribute_datasets_from_function(lambda context: batches(share))


@contextlib.contextmanager
def _lost_workers_named(devices: Devices) -> Iterator[None]:
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        if devices.workers == 1:
            raise
        raise ClusterError(
            f"worker {devices.worker} lost another of the {devices.workers} workers ({type(error).__name__}); start "
            "them all again with --resume"
        ) from None


def _check_goes_on(progress: Progress, settings: dict, devices: Devices, folder: Path) -> None:
    """Refuse another recipe than the run began with, and workers that do not see one folder."""
    saved = progress.settings
    for name in settings:
        if saved.get(name) != settings[name]:
            raise InputError(
                f"the run in {folder} has {name}={saved.get(name)!r}; got {settings[name]!r}: go on with the same, or "
                "start anew with --overwrite"
            )
    if not devices.same_in_all_workers(progress.step):
        raise InputError(f"the workers read different checkpoints; {folder} must be a folder that all of them share")


def _settings(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe decides on the weights; strategies only divide the work."""
    fields = {**dataclasses.asdict(recipe), "model_arguments": dict(recipe.model_arguments)}
    free = {"out", "strategy", "skip_corrupt", "checkpoint_steps"}
    return {name: value for name, value in fields.items() if name not in free}


def _free(folder: Path, overwrite: bool, resume: bool) -> Path:
    if overwrite and resume:
        raise InputError("a run is resumed or overwritten; got both --resume and --overwrite")
    if not (overwrite or resume):
        if any((folder / name).exists() for name in (RECORD, MODEL)):
            raise InputError(f"{folder} holds a run already; choose another folder with --out, or pass --overwrite")
        if (folder / _CHECKPOINTS).exists():
            raise InputError(f"{folder} holds an unfinished run; go on with --resume, or pass --overwrite")
    return writable_folder(folder)


def _finished(folder: Path) -> Run:
    with (folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    accuracy = json.loads((folder / RECORD).read_text())["test_accuracy"]
    return Run(keras.models.load_model(folder / MODEL), _by_name(rows), folder, accuracy)


def _by_name(rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    return {name: [float(row[name]) for row in rows] for name in rows[0] if name != "epoch"}


def _clear(folder: Path) -> None:
    """Remove an earlier run, once nothing can be refused any more."""
    for name in (RECORD, MODEL, "history.csv"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)
    _clear_state(folder)


def _clear_state(folder: Path) -> None:
    """Remove what an unfinished run needs."""
    (folder / _BEST).unlink(missing_ok=True)
    shutil.rmtree(folder / _CHECKPOINTS, ignore_errors=True)


def _model(recipe: Recipe, source: Source) -> keras.Model:
    if not recipe.model_arguments.get("include_top", True):
        raise InputError("a model is trained with its classifier; got include_top=False")
    shape = (recipe.image_size, recipe.image_size, 3)
    try:
        return create_model(recipe.model, input_shape=shape, classes=len(source.classes), **recipe.model_arguments)
    except (ValueError, TypeError) as error:
        raise InputError(f"model {recipe.model} cannot be built: {error}") from None


def _compiled(model: keras.Model, recipe: Recipe, steps: int, devices: Devices) -> keras.Model:
    """The logits of `model`, since a softmax would cost precision, ready to be trained."""
    trained = keras.Model(model.input, model.get_layer("logits").output)
    if devices.strategy is not None:
        synchronize_batch_norm(model, devices.replicas > 1)
        trained = distributed(trained, micro_batches=recipe.micro_batches)
    elif recipe.micro_batches > 1:
        raise InputError(f"micro_batches is TensorFlow's alone; got micro_batches={recipe.micro_batches}")
    decay_kernels(model, recipe.weight_decay)
    rate: Any = _schedule(recipe, steps)
    trained.compile(
        optimizer=keras.optimizers.SGD(rate, momentum=recipe.momentum),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing),
        weighted_metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
    )
    trained.optimizer.build(trained.trainable_variables)  # so that a checkpoint can be read into it
    return trained


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
