"""Checkpoints: what is in them, and what becomes of damaged and unwritable ones."""

import errno
import os
import re

import keras
import numpy as np
import pytest

from keras_se.errors import InputError
from keras_se.training.run.checkpoint import Checkpoints, Progress


def network(units=3, seed=0):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(8),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(units),
        ]
    )
    model.compile(keras.optimizers.AdamW(0.01, use_ema=True), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def fit(model, updates=3):
    images, targets = np.random.default_rng(0).normal(size=(2, 8, 4)).astype("float32")
    model.fit(images, targets[:, : model.output_shape[-1]], epochs=updates, verbose=0)


def state(model):
    """Every number that the next update depends on: weights, statistics, seeds, momenta, averages, updates."""
    return [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints")


@pytest.fixture
def saved(checkpoints):
    """Two checkpoints, and the states that are in them."""
    model, states = network(), []
    for step in (3, 6):
        fit(model)
        checkpoints.save(model, Progress(step=step, best=step / 10, history=[{"loss": 1 / 3}], settings={"seed": 1}))
        states.append(state(model))
    return states


def test_a_restored_model_goes_on_as_the_saved_one(checkpoints):
    saved, restored = network(), network(seed=9)
    fit(saved)
    checkpoints.save(saved, Progress(step=3))
    assert checkpoints.restore(restored).step == 3
    assert_same(state(restored), state(saved))
    fit(saved)
    fit(restored)
    assert_same(state(restored), state(saved))


def test_the_progress_comes_back_to_the_last_bit(checkpoints, saved):
    progress = checkpoints.restore(network())
    assert progress == Progress(step=6, best=0.6, history=[{"loss": 1 / 3}], settings={"seed": 1})


def test_nothing_to_go_on_with_is_no_error(checkpoints):
    assert checkpoints.restore(network()) is None


def test_the_newest_are_kept(tmp_path):
    checkpoints, model = Checkpoints(tmp_path, keep=2), network()
    for step in (5, 10, 100, 2000):
        checkpoints.save(model, Progress(step=step))
    assert [path.name for path in checkpoints.files()] == ["step-000000100.safetensors", "step-000002000.safetensors"]


DAMAGE = {
    "cut in half": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "its last number wrong": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "its progress wrong": lambda content: content.replace(b'\\"step\\": 6', b'\\"step\\": 7'),
    "another file": lambda content: b"not a checkpoint" * 100,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_one_falls_back_to_the_one_before_and_says_so(checkpoints, saved, damage, capsys):
    newest = checkpoints.files()[-1]
    content = newest.read_bytes()
    newest.write_bytes(DAMAGE[damage](content))
    assert newest.read_bytes() != content
    model = network(seed=9)
    assert checkpoints.restore(model).step == 3
    assert_same(state(model), saved[0])
    [line] = capsys.readouterr().err.splitlines()
    assert re.fullmatch(rf"keras-se: {re.escape(str(newest))} is damaged \(.*\); trying the checkpoint before it", line)


def test_when_all_are_damaged_the_model_is_as_it_was(checkpoints, saved):
    for path in checkpoints.files():
        path.write_bytes(path.read_bytes()[:1000])
    model = network(seed=9)
    before = state(model)
    with pytest.raises(InputError, match=r"every checkpoint in .* is damaged; start anew with --overwrite"):
        checkpoints.restore(model)
    assert_same(state(model), before)


def test_one_of_another_model_is_refused_by_the_variable(checkpoints, saved):
    with pytest.raises(InputError, match=r"is of another model or optimizer: they differ in model/\d+/(kernel|bias)"):
        checkpoints.restore(network(units=2))


def test_a_full_disk_is_named_and_leaves_the_last_one_whole(checkpoints, saved, monkeypatch):
    model = network(seed=9)

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        message = r"step-000000009.safetensors cannot be written \(No space left on device\); step-000000006.* is whole"
        with pytest.raises(InputError, match=message):
            checkpoints.save(model, Progress(step=9))
    assert len(list(checkpoints.folder.iterdir())) == 2  # nothing half-written
    checkpoints.restore(model)
    assert_same(state(model), saved[1])
