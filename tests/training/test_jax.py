"""Runs of `train` on Keras's JAX backend, on one and on two virtual CPU devices, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_se.export import compare, export

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).with_name("tiny_run.py")
# Twelve updates of float32 apart, since sums over the batch are taken in two halves.
SAME_WEIGHTS = 1e-5


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Models that a run on one device and one on two wrote, read under TensorFlow."""
    folders = {strategy: tmp_path_factory.mktemp("jax") / strategy for strategy in ("none", "mirrored")}
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    for strategy, folder in folders.items():
        command = [sys.executable, SCRIPT, folder, strategy, "2"]
        subprocess.run(command, env=environment, check=True, timeout=300, capture_output=True)
    return {strategy: keras.models.load_model(folder / "model.keras") for strategy, folder in folders.items()}


def test_two_devices_give_the_weights_of_one(models):
    plain, other = (models[strategy].get_weights() for strategy in ("none", "mirrored"))
    for a, b in zip(plain, other, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=SAME_WEIGHTS)
    assert np.ptp(plain[-1]) > 100 * SAME_WEIGHTS  # the classifier's bias, which begins at zero


def test_what_jax_trained_exports_under_tensorflow(models, tmp_path):
    images = np.random.default_rng(0).random((8, 16, 16, 3), "float32")
    [artifact] = export(models["mirrored"], tmp_path, recipes=("float32",))
    parity = compare(models["mirrored"], artifact.path, images)
    assert parity.verdict == "pass", parity.failures


def test_a_killed_run_goes_on(tmp_path):
    """It is killed in the second of two epochs of six updates, and goes on from the checkpoint after the eighth."""
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    command = [sys.executable, SCRIPT]
    subprocess.run([*command, whole, "none", "2"], env=environment, check=True, timeout=300, capture_output=True)
    killed = {**environment, "KILL_AFTER_UPDATE": "9"}
    ended = subprocess.run([*command, cut, "none", "2"], env=killed, check=False, timeout=300, capture_output=True)
    assert ended.returncode == -9
    resumed = [*command, cut, "none", "2", "--resume"]
    subprocess.run(resumed, env=environment, check=True, timeout=300, capture_output=True)
    plain, other = (keras.models.load_model(folder / "model.keras").get_weights() for folder in (whole, cut))
    for a, b in zip(plain, other, strict=True):
        np.testing.assert_array_equal(a, b)
