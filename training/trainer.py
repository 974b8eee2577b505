"""Train a recipe into a run folder: a `Recipe` in, the folder and its `Run` out."""

import contextlib
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_se.errors import ClusterError, InputError
from keras_se.optional_packages import is_installed
from keras_se.preprocessing import Preprocessing
from keras_se.surgery.dead_gates import dead_gates
from keras_se.training.data.input_pipeline import sample
from keras_se.training.data.sharding import WorkerBatches, worker_batches
from keras_se.training.data.sources import Source, load_source
from keras_se.training.distribution.model import synchronize_batch_norm
from keras_se.training.distribution.strategy import Devices, make_devices
from keras_se.training.network import (
    build_model,
    check_images,
    check_recipe,
    freeze_backbone,
    logits_model,
    preprocessing_for,
)
from keras_se.training.optimizer import compile_for
from keras_se.training.recipes import Recipe
from keras_se.training.run import inventory, run_folder
from keras_se.training.run.checkpoint import Checkpoints, Progress, assign, numbered, read_state
from keras_se.training.run.checkpoint_callback import CheckpointCallback
from keras_se.training.run.run_folder import Run

_SEEN = 16
"""Training images that a gate must be the same for to be named as dead."""


def train(
    recipe: Recipe,
    *,
    overwrite: bool = False,
    resume: bool = False,
    source: Source | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Run:
    """Train `recipe.model` on `recipe.data` into the folder `recipe.out`.

    The folder holds `model.keras`, the weights of the epoch with the best test accuracy; `run.json`, the recipe, the
    package versions, the preprocessing and the result; `history.csv`; and, with the extra [tensorboard],
    `tensorboard/`. Until the run is finished it holds `checkpoints/` and the best weights so far. SIGTERM saves a
    checkpoint and raises SystemExit(143).

    Args:
        recipe: what to train on what, and how.
        overwrite: replace a run that the folder holds already; no file goes but those that its record lists.
        resume: go on with an unfinished run that the folder holds: on as many devices to the weights that it would
            have had in one go, bit for bit. Begin it if there is none; read it if it is finished.
        source: the images of `recipe.data`, if they are loaded already.
        callbacks: further ones of Keras's, which run before the run's own; what they hold is not in its checkpoints.
            They are no field of the recipe, since that is data: it stands in the record as JSON, and decides alone
            whether a run may go on.
    Returns:
        The run, with the model of the best epoch.
    Raises:
        InputError: the folder holds a run or cannot be written, the data cannot be read, the model's name or an
            argument is unknown, there are fewer training images than the batch takes, or the run to go on with had
            another recipe.
        ClusterError: another worker was lost.
    Example:
        >>> recipe = dataclasses.replace(PRESETS["digits"], out="digits", epochs=1, warmup_epochs=0)
        >>> run = train(recipe)  # doctest: +ELLIPSIS
        22/22 - ... - accuracy: ... - val_accuracy: ...
        >>> run.model.output_shape, sorted(path.name for path in run.folder.iterdir())
        ((None, 10), ['history.csv', 'model.keras', 'run.json', 'tensorboard'])
    """
    folder = run_folder.open_folder(recipe, overwrite=overwrite, resume=resume)
    finished = run_folder.read_finished(folder, recipe) if resume else None
    if finished:
        return finished
    check_recipe(recipe)
    devices = make_devices(recipe.strategy)
    if recipe.batch_size % (devices.replicas * recipe.micro_batches):
        raise InputError(
            f"batch_size must divide by the {devices.replicas} devices times the {recipe.micro_batches} micro-batches; "
            f"got {recipe.batch_size}"
        )
    source = source or load_source(recipe.data, skip_corrupt=recipe.skip_corrupt)
    check_images(recipe, source)
    # Same seed, same weights: without it, sums in parallel are added in the order in which the threads end.
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(recipe.seed)
    with devices.scope(), _lost_workers_named(devices):
        return _trained(recipe, source, devices, folder, resume, callbacks)


def _trained(
    recipe: Recipe, source: Source, devices: Devices, folder: Path, resume: bool, callbacks: Sequence[Any] = ()
) -> Run:
    steps = len(source.train) // recipe.batch_size
    model = build_model(recipe, source)
    preprocessing = preprocessing_for(recipe, model)
    trained = logits_model(model, recipe, devices)
    learning_rate = compile_for(recipe, trained, steps)
    run_folder.check_shared(folder, devices)
    files = inventory.read_inventory(folder)
    checkpoints = Checkpoints(folder / inventory.CHECKPOINTS, files)
    settings = {**run_folder.settings(recipe), "images": len(source.train)}
    progress = (checkpoints.restore(trained) if resume else None) or Progress(settings=settings)
    run_folder.check_same_recipe(progress.settings, settings, folder)
    devices.wait_for_all()  # they have read what there is
    if devices.chief:
        inventory.remove_cut_short(files)
        if not progress.step:
            checkpoints.inventory = files = inventory.begin(folder)
    best = folder / inventory.BEST
    callback = CheckpointCallback(
        checkpoints,
        progress,
        devices,
        best=best,
        history=folder / inventory.HISTORY,
        every=recipe.checkpoint_steps,
        learning_rate=learning_rate,
        batch_size=recipe.batch_size,
    )
    with callback.listening(), _full_disk_named(folder, checkpoints):
        batches = worker_batches(recipe, source, preprocessing, devices)
        for end in sorted({recipe.frozen_epochs, recipe.epochs} - {0}):
            if recipe.freeze == "backbone":
                freeze_backbone(trained, len(progress.history) < recipe.frozen_epochs)
            if len(progress.history) < end:
                _fit(trained, callback, batches, end, steps, callbacks)
        if recipe.freeze == "backbone":
            freeze_backbone(trained, False)
    history = run_folder.by_name(progress.history)
    if any(map(math.isnan, (*history["loss"], *history["val_loss"]))):
        if devices.chief:
            files.add_events()
            inventory.clear(folder)
        devices.wait_for_all()
        raise InputError(f"training diverged to NaN at learning_rate={recipe.learning_rate}; lower it")
    devices.wait_for_all()  # the chief has written the best weights
    assign(numbered(trained.variables), read_state(best)[0], best)
    devices.wait_for_all()  # and all have read them
    synchronize_batch_norm(model, False)  # inference and other backends know nothing of it
    run = Run(model, history, folder, accuracy=progress.best)
    if devices.chief:
        with checkpoints.disk_trouble_named(folder / inventory.MODEL):
            run_folder.write_run(run, recipe, source, preprocessing, files)
    devices.wait_for_all()  # the run is written
    if devices.replicas == 1:  # of several, each has variables of its own
        name_dead_gates(model, source, preprocessing)
    return run


def name_dead_gates(model: keras.Model, source: Source, preprocessing: Preprocessing) -> None:
    """Say on standard error which SE blocks of a trained model do nothing."""
    images, _ = sample(source.train, preprocessing, _SEEN)
    dead = [f"{name} ({gate:g})" for name, gate in dead_gates(model, images).items()]
    if dead:
        print(
            f"keras-se: SE does nothing where its gate is the same for each of {len(images)} training images: "
            f"{', '.join(dead)}; keras_se.fold_constant takes it out",
            file=sys.stderr,
        )


def _fit(
    trained: keras.Model,
    callback: CheckpointCallback,
    batches: WorkerBatches,
    epochs: int,
    steps: int,
    callbacks: Sequence[Any] = (),
) -> None:
    """Train the epochs that are left, the first of which may have begun."""
    progress = callback.progress
    bar = 1 if sys.stdout.isatty() else 2  # or a line an epoch
    common: dict[str, Any] = {
        "validation_data": batches.evaluation,
        "validation_steps": batches.evaluation_steps,
        "callbacks": [*callbacks, *_callbacks(callback)],
        "shuffle": False,  # the batches are
        "verbose": bar if callback.devices.chief else 0,
    }
    epoch, done = len(progress.history), progress.step - len(progress.history) * steps
    if done == steps:  # killed while it was evaluated
        silent: Any = 0
        measured = trained.evaluate(
            batches.evaluation, steps=batches.evaluation_steps, return_dict=True, verbose=silent
        )
        callback.set_model(trained)
        callback.on_epoch_end(epoch, {f"val_{name}": value for name, value in measured.items()})
    elif done:
        remaining = batches.training(progress.step)
        trained.fit(remaining, initial_epoch=epoch, epochs=epoch + 1, steps_per_epoch=steps - done, **common)
    epoch = len(progress.history)
    if epoch < epochs and not trained.stop_training:
        trained.fit(
            batches.training(progress.step), initial_epoch=epoch, epochs=epochs, steps_per_epoch=steps, **common
        )


def _callbacks(callback: CheckpointCallback) -> list[Any]:
    callbacks = [callback, keras.callbacks.TerminateOnNaN()]
    if not callback.devices.chief:
        return callbacks
    folder = callback.history.with_name(inventory.TENSORBOARD)
    if not is_installed("tensorboard"):
        print(f"keras-se: {folder} is left out; it needs pip install 'keras-se[tensorboard]'", file=sys.stderr)
        return callbacks
    # At the end of an epoch all of its writers have begun their files.
    listing = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: callback.checkpoints.list_events())
    return [*callbacks, keras.callbacks.TensorBoard(str(folder)), listing]


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


@contextlib.contextmanager
def _full_disk_named(folder: Path, checkpoints: Checkpoints) -> Iterator[None]:
    """Name a full disk, for which TensorBoard's writer has an error of its own."""
    try:
        yield
    except tf.errors.OpError as error:
        if "events file" not in str(error):
            raise
        board = folder / inventory.TENSORBOARD
        raise InputError(f"{board} cannot be written ({error.message}); {checkpoints.what_is_left()}") from None
