"""A layer of the user's own, in a process that knows it only by `--import MODULE`."""

import json
import os
import subprocess
import sys

import keras
import pytest

MODULE = """
import keras

@keras.saving.register_keras_serializable("shop")
class Doubling(keras.layers.Layer):
    def call(self, x):
        return x + x
"""

DRIVER = """
import json, sys
from keras_se.cli import main

statuses = []
for line in json.loads(sys.argv[1]):
    sys.modules.pop("shop_layers", None)
    statuses.append(main.run(line))
    print(statuses[-1], file=sys.stderr)
print(json.dumps(statuses))
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A folder with the module, and a model with its layer."""
    (tmp_path / "shop_layers.py").write_text(MODULE)
    scope: dict = {}
    with keras.saving.CustomObjectScope({}):
        exec(MODULE, scope)
        image = keras.Input((16, 16, 3), name="image")
        x = scope["Doubling"]()(keras.layers.Conv2D(4, 3, activation="relu")(image))
        x = keras.layers.GlobalAveragePooling2D()(x)
        keras.Model(image, keras.layers.Dense(10, name="logits")(x), name="own").save(tmp_path / "own.keras")
        keras.saving.get_custom_objects().pop("shop>Doubling")
    return tmp_path


@pytest.mark.slow
def test_import_brings_a_layer_to_every_command(shop):
    images = ["--data", "digits", "--images", "8"]
    recipes = ["--recipes", "float32", "static_wi8_ai8"]
    files = [f"out/own.{name}.tflite" for name in recipes[1:]]
    imported = ["--import", "shop_layers"]
    commands = [
        ["export", "own.keras", "--out", "out", *images, *recipes],
        ["export", "own.keras", "--out", "out", *images, *recipes, *imported],
        ["parity", "own.keras", *files, *images, *imported],
        ["check", "own.keras", *imported],
        ["check", "own.keras", "--import", "no_such_module"],
    ]
    run = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(commands)],
        cwd=shop,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1]) == [2, 0, 0, 0, 2], run.stderr
    lines = [line for line in run.stderr.splitlines() if line.startswith("keras-se: ")]
    assert len(lines) == 2
    assert "a class that is not Keras's, 'Doubling'" in lines[0]
    assert "--import MODULE" in lines[0]
    assert "--import no_such_module failed" in lines[1]
