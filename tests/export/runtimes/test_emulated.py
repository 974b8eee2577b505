"""LiteRT on an emulated processor without AVX-512 and VNNI: the same files give what they give here."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_se.export.tflite.model import TFLiteModel
from keras_se.preprocessing import Preprocessing
from keras_se.training.data.input_pipeline import sample
from keras_se.training.data.sources import load_source

pytestmark = [
    pytest.mark.emulated,
    pytest.mark.skipif(
        platform.system() != "Linux" or platform.machine() != "x86_64", reason="runs this interpreter's x86-64 Linux"
    ),
    pytest.mark.skipif(
        shutil.which("qemu-x86_64") is None, reason="qemu-x86_64 is not installed: apt-get install qemu-user"
    ),
]

RECIPES = ("float32", "static_wi8_ai8")
SCRIPT = Path(__file__).with_name("run_litert.py")
HASWELL = ("qemu-x86_64", "-cpu", "Haswell-v1")  # AVX2 and FMA, no AVX-512


@pytest.fixture(scope="module")
def outputs(golden, tmp_path_factory):
    """Logits as the file gives them, `(images, classes)`, by processor, recipe and kernels."""
    folder = tmp_path_factory.mktemp("emulated")
    images, _ = sample(load_source("digits").test, Preprocessing(32, 32), 24, seed=1)
    np.save(folder / "images.npy", images)
    files = [folder / f"{recipe}.tflite" for recipe in RECIPES]
    for file in files:
        file.write_bytes(TFLiteModel((golden / f"se_mobilenet.{file.name}").read_bytes()).without_softmax.content)

    def run(name, *emulator):
        command = [*emulator, sys.executable, SCRIPT, folder / "images.npy", folder / f"{name}.npz", *files]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return np.load(folder / f"{name}.npz")

    return {"here": run("here"), "haswell": run("haswell", *HASWELL)}


def pair(outputs, recipe, kernels):
    """Return the file's logits here and there."""
    return [answers[f"{recipe}:{kernels}"] for answers in (outputs["here"], outputs["haswell"])]


@pytest.mark.parametrize("recipe", RECIPES)
def test_reference_kernels_are_equal_to_the_bit(outputs, recipe):
    """They are written in C++ for any processor, and compiled once."""
    here, there = pair(outputs, recipe, "reference")
    assert np.unique(here).size > 20  # else two constants could agree
    np.testing.assert_array_equal(there, here, strict=True)


def test_xnnpacks_int8_is_within_a_step(outputs):
    """Its sums are exact integers on each processor; a kernel may round a half of a step to either side."""
    here, there = (values.astype(int) for values in pair(outputs, "static_wi8_ai8", "xnnpack"))
    assert np.ptp(here) > 100  # of 255 steps
    assert np.max(np.abs(there - here)) <= 1


def test_xnnpacks_float_is_the_same_up_to_the_order_of_sums(outputs):
    here, there = pair(outputs, "float32", "xnnpack")
    # 54 layers of up to 512 terms in vectors of 8 and of 16: a few roundings of 2**-24 of the largest logit a layer.
    assert np.max(np.abs(there - here)) <= 1e-5 * np.max(np.abs(here))
