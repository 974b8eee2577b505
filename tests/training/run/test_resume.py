"""`resume` and `overwrite` of a folder in one process; test_survival.py kills real ones."""

import dataclasses
import json
import signal
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_se.errors import InputError
from keras_se.training import train, trainer
from keras_se.training.distribution.strategy import make_devices
from keras_se.training.run.checkpoint import Checkpoints, Progress
from keras_se.training.run.checkpoint_callback import CheckpointCallback


class Fall(keras.callbacks.Callback):
    """Ends a run after some updates as nothing that it could prepare for would."""

    def __init__(self, updates):
        super().__init__()
        self.left = updates

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise MemoryError


@pytest.fixture
def recipe(tiny_recipe, tmp_path):
    """Three epochs of two updates, with a checkpoint after each."""
    return dataclasses.replace(tiny_recipe, out=str(tmp_path / "run"), epochs=3, checkpoint_steps=1)


@pytest.fixture
def fallen(recipe, monkeypatch):
    """Folder of a run that fell after its third update."""
    callbacks = trainer._callbacks
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_callbacks", lambda callback: [*callbacks(callback), Fall(3)])
        with pytest.raises(MemoryError):
            train(recipe)
    return Path(recipe.out)


def test_a_resumed_run_is_the_uninterrupted_one(fallen, recipe, tmp_path):
    whole = train(dataclasses.replace(recipe, out=str(tmp_path / "whole")))
    resumed = train(recipe, resume=True)
    for weight, expected in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert resumed.accuracy == whole.accuracy
    assert resumed.history.keys() == whole.history.keys()
    for name, values in whole.history.items():  # the means of a resumed epoch are added in another order
        assert resumed.history[name] == pytest.approx(values, rel=1e-6)


def test_an_unfinished_run_is_refused_unless_told_what_to_do_with_it(fallen, recipe):
    before = sorted(fallen.rglob("*"))
    with pytest.raises(InputError, match=r"holds an unfinished run; go on with --resume, or pass --overwrite"):
        train(recipe)
    with pytest.raises(InputError, match="resumed or overwritten; got both --resume and --overwrite"):
        train(recipe, resume=True, overwrite=True)
    assert sorted(fallen.rglob("*")) == before


def test_overwriting_it_begins_anew(fallen, recipe):
    run = train(dataclasses.replace(recipe, epochs=1), overwrite=True)
    assert len(run.history["loss"]) == 1
    assert not (fallen / "checkpoints").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 4}, "epochs=3; got 4"),
        ({"seed": 8}, "seed=7; got 8"),
        ({"batch_size": 32}, "batch_size=64; got 32"),
        ({"micro_batches": 2}, "micro_batches=1; got 2"),
    ],
)
def test_another_recipe_does_not_go_on(fallen, recipe, change, message):
    with pytest.raises(InputError, match=f"has {message}: go on with the same, or start anew with --overwrite"):
        train(dataclasses.replace(recipe, **change), resume=True)


def test_arguments_that_json_writes_otherwise_are_the_same(recipe):
    """A tuple comes back as a list."""
    recipe = dataclasses.replace(recipe, model_arguments={"se_stages": (2,)}, epochs=1)
    first = train(recipe)
    assert train(recipe, resume=True).accuracy == first.accuracy
    with pytest.raises(InputError, match="model_arguments must be what JSON can hold"):
        train(dataclasses.replace(recipe, model_arguments={"se_stages": {2}}), overwrite=True)


def test_a_finished_run_of_another_recipe_is_not_read(recipe):
    train(dataclasses.replace(recipe, epochs=1))
    with pytest.raises(InputError, match="has epochs=1; got 2: go on with the same"):
        train(dataclasses.replace(recipe, epochs=2), resume=True)


def test_resuming_nothing_begins_and_resuming_a_finished_run_reads_it(recipe):
    first = train(recipe, resume=True)
    folder = first.folder
    (folder / "checkpoints").mkdir()  # as if killed after the record was written
    before = {path: path.read_bytes() for path in folder.glob("*.*")}
    again = train(recipe, resume=True)
    assert (again.accuracy, again.history) == (first.accuracy, first.history)
    for weight, expected in zip(again.model.get_weights(), first.model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert {path: path.read_bytes() for path in folder.glob("*.*")} == before
    assert not (folder / "checkpoints").exists()
    assert json.loads((folder / "run.json").read_text())["test_accuracy"] == first.accuracy


def test_sigterm_is_python_s_own_again_after_the_run(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    callback = CheckpointCallback(
        Checkpoints(tmp_path),
        Progress(),
        make_devices("none"),
        best=tmp_path / "best",
        history=tmp_path / "history.csv",
        every=0,
    )
    with callback.listening():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
