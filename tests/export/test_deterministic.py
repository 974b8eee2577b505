"""Exports of the same model with the same images have the same bytes."""

import hashlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_se
from keras_se.export import RECIPES, export

PROGRAM = """
import sys
import numpy as np
from keras_se.export import export
images = np.random.default_rng(0).random((4, 8, 8, 3), "float32")
export(sys.argv[1], sys.argv[2], recipes=sys.argv[3:], calibration=images)
"""


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = keras_se.SqueezeExcite(hidden=2)(keras.layers.Conv2D(4, 3, activation="silu")(image))
    x = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    path = tmp_path_factory.mktemp("deterministic") / "model.keras"
    keras.Model(image, x, name="small").save(path)
    return path


def hashes(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.tflite*")}


@pytest.mark.parametrize("recipes", [("static_wi8_ai8",), pytest.param(tuple(RECIPES), marks=pytest.mark.slow)])
def test_twice_in_one_process_and_once_in_another(recipes, model_file, tmp_path):
    """Manifests too: nothing in them is of the time or the place."""
    images = np.random.default_rng(0).random((4, 8, 8, 3), "float32")
    for name in ("first", "second"):
        export(model_file, tmp_path / name, recipes=recipes, calibration=images)
    command = [sys.executable, "-c", PROGRAM, model_file, tmp_path / "other", *recipes]
    subprocess.run(command, check=True, capture_output=True)
    first, second, other = (hashes(tmp_path / name) for name in ("first", "second", "other"))
    assert len(first) == 2 * len(recipes)
    assert second == first
    assert other == first
