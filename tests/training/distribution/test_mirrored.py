"""MirroredStrategy over two logical CPUs against one device, in a process of its own: devices are divided at its start.

Each script trains with `keras_se.training.train` and prints one line of JSON.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import textwrap

import pytest

# Two updates of float32 rounding apart: sums over the batch are taken in two halves. Measured: 7e-7.
SAME_WEIGHTS = 1e-5
# The same in float64, through thirteen blocks that multiply a rounding by some 4e6. Measured: 4e-10.
SAME_WEIGHTS_FLOAT64 = 1e-8

START = """
import dataclasses, json, sys, tempfile
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import keras
import numpy as np
from keras_se import registry
from keras_se.models import mobilenet
from keras_se.models.mobilenet import Separable
from keras_se.training import Recipe, train
from keras_se.training import trainer
from keras_se.training.data.sources import Split, load_source

rows = (Separable(stage=2, out=16, stride=2),)
registry._ENTRIES["se_tiny"] = registry.Entry(mobilenet.mobilenet, rows)
digits = load_source("digits")


def run(strategy, *, images=48, tested=16, **changes):
    few = lambda split, count: Split(split.images[:count], split.labels[:count])
    source = dataclasses.replace(digits, train=few(digits.train, images), test=few(digits.test, tested))
    trainer.load_source = lambda name, **options: source
    recipe = Recipe(
        model="se_tiny", out=tempfile.mkdtemp(), epochs=1, batch_size=16, image_size=32, crop=1.0,
        learning_rate=1.6, weight_decay=1e-3, augmentation="shift", strategy=strategy,
    )
    return train(dataclasses.replace(recipe, **changes))


def saved(run):
    return keras.models.load_model(run.folder / "model.keras")


def apart(one, two):
    pairs = zip(saved(one).variables, saved(two).variables, strict=True)
    return {a.path: float(np.abs(a.numpy() - b.numpy()).max()) for a, b in pairs}


def answer(document):
    print(json.dumps(document), file=sys.__stdout__, flush=True)
"""


def in_a_process_of_two_devices(script):
    """Return what the script answers."""
    done = subprocess.run(
        [sys.executable, "-c", START + textwrap.dedent(script)],
        cwd=tempfile.gettempdir(),  # in the repository Python would take its folders for the packages
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def answers():
    return in_a_process_of_two_devices(
        """
        from keras_se.training.distribution.strategy import make_devices

        initial = {"gamma": 1, "beta": 0, "moving_mean": 0, "moving_variance": 1}


        def moved(run):
            known = [variable for variable in saved(run).variables if variable.name in initial]
            return [float(np.abs(variable.numpy() - initial[variable.name]).max()) for variable in known]


        one, two = run("none"), run("mirrored")
        answer({
            "devices": make_devices("mirrored").replicas,
            "apart": apart(one, two),
            "moved": moved(one),
            "losses": [one.history["loss"][0], two.history["loss"][0]],
            "synchronized": [layer.synchronized for layer in saved(two).layers if hasattr(layer, "synchronized")],
        })
        """
    )


def test_mirrored_takes_every_logical_device(answers):
    assert answers["devices"] == 2


def test_two_devices_give_the_weights_of_one_on_the_same_batches(answers):
    """Three updates; kernels, scales and moving statistics."""
    assert max(answers["apart"].values()) <= SAME_WEIGHTS
    assert any("moving_variance" in path for path in answers["apart"])


def test_the_weights_moved_by_more_than_the_bound(answers):
    assert statistics.median(answers["moved"]) > 100 * SAME_WEIGHTS


def test_two_devices_report_the_loss_of_one(answers):
    loss, mirrored_loss = answers["losses"]
    assert mirrored_loss == pytest.approx(loss, rel=1e-5)  # float32, after three updates


def test_the_saved_model_does_not_synchronize_its_batch_normalisation(answers):
    assert answers["synchronized"]
    assert not any(answers["synchronized"])


@pytest.fixture(scope="module")
def evaluations():
    return in_a_process_of_two_devices(
        """
        def evaluation(tested, batch_size):
            \"""What a run of another network says of its test images, and what its saved model says on one device.\"""
            try:
                done = run(
                    "mirrored", images=16, tested=tested, batch_size=batch_size, weight_decay=0.0,
                    model_arguments={"alpha": 0.5},
                )
            except Exception as error:
                return [str(error)[:2000], None]
            images = keras.ops.image.resize(digits.test.images[:tested] / 255, (32, 32), antialias=True)
            model = saved(done)
            model.compile(loss="categorical_crossentropy", metrics=["accuracy"])
            alone = model.evaluate(images, np.eye(10)[digits.test.labels[:tested]], verbose=0)
            return [[done.history["val_loss"][0], done.history["val_accuracy"][0]], alone]


        run("mirrored")
        answer({f"{tested} by {size}": evaluation(tested, size) for tested, size in ((9, 2), (9, 16))})
        """
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "batches",
    [
        pytest.param("9 by 2", id="the last batch has fewer images than there are devices"),
        pytest.param("9 by 16", id="the only batch is not shared evenly"),
    ],
)
def test_evaluation_on_two_devices_is_that_of_the_saved_model_on_one(evaluations, batches):
    """The process has trained another network on both devices before."""
    on_two, on_one = evaluations[batches]
    assert on_one is not None, on_two
    assert on_two == pytest.approx(on_one, rel=1e-4)  # float32, and images resized by another function


@pytest.mark.slow
def test_two_devices_give_the_weights_of_one_through_a_deep_network():
    answers = in_a_process_of_two_devices(
        """
        keras.config.set_floatx("float64")
        network = {"model": "se_mobilenet", "model_arguments": {"alpha": 0.25}}
        answer(apart(run("none", **network), run("mirrored", **network)))
        """
    )
    assert max(answers.values()) <= SAME_WEIGHTS_FLOAT64
