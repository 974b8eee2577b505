"""Layer and models on JAX: the same weights give the same outputs as on TensorFlow, without TensorFlow."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_se

IMAGE = (32, 32, 3)
LAYERS = {
    "default": {},
    "max_tanh_hidden": {"squeeze": "max", "gate": "tanh", "hidden": 3},
    "every_position_hard_sigmoid": {"squeeze": "none", "gate": "hard_sigmoid", "r": 4},
    "relu_without_bias": {"gate": "relu", "use_bias": False, "r": 4},
    "channels_first": {"data_format": "channels_first", "r": 4},
}
MODELS = {"se_mobilenet": {"alpha": 0.25}}

ON_JAX = f"""
import json, sys
from pathlib import Path

import keras_se

after_import = sorted(sys.modules)
import keras
import numpy as np

LAYERS, MODELS, folder = {LAYERS!r}, {MODELS!r}, Path(sys.argv[1])
features, images = np.load(folder / "features.npy"), np.load(folder / "images.npy")


def predict(build, name, x):
    # Drawing initial values would cost JAX a compilation for each shape; the file replaces them all.
    with keras.StatelessScope(initialize_variables=False):
        model = build()
    model.load_weights(folder / f"{{name}}.weights.h5")
    return model.predict(x, verbose=0)


def layer(arguments):
    return keras.Sequential([keras.Input(features.shape[1:]), keras_se.SqueezeExcite(**arguments)])


def network(name, arguments):
    return keras_se.create_model(name, input_shape={IMAGE}, classes=10, classifier_activation=None, **arguments)


outputs = {{name: predict(lambda: layer(arguments), name, features) for name, arguments in LAYERS.items()}}
outputs |= {{name: predict(lambda: network(name, arguments), name, images) for name, arguments in MODELS.items()}}
np.savez(folder / "outputs.npz", **outputs)
record = {{"backend": keras.backend.backend(), "after_import": after_import, "at_the_end": sorted(sys.modules)}}
print(json.dumps(record))
"""


def with_random_statistics(model):
    """Draw every bias, scale and moving statistic at random; fresh ones are zeros and ones."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Every case on both backends: outputs here, outputs on JAX, and the record that the JAX process printed."""
    assert keras.backend.backend() == "tensorflow"
    folder = tmp_path_factory.mktemp("backends")
    rng = np.random.default_rng(1)
    features = rng.normal(size=(2, 6, 8, 16)).astype("float32")
    images = rng.random((2, *IMAGE), "float32")
    np.save(folder / "features.npy", features)
    np.save(folder / "images.npy", images)
    keras.utils.set_random_seed(2)
    here = {}
    for name, arguments in LAYERS.items():
        layers = [keras.Input(features.shape[1:]), keras_se.SqueezeExcite(**arguments)]
        model = with_random_statistics(keras.Sequential(layers))
        model.save_weights(folder / f"{name}.weights.h5")
        here[name] = np.asarray(model(features))
    for name, arguments in MODELS.items():
        model = keras_se.create_model(name, input_shape=IMAGE, classes=10, classifier_activation=None, **arguments)
        with_random_statistics(model).save_weights(folder / f"{name}.weights.h5")
        here[name] = model.predict(images, verbose=0)
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", ON_JAX, str(folder)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return here, np.load(folder / "outputs.npz"), json.loads(done.stdout.splitlines()[-1])


def test_the_other_process_ran_on_jax(runs):
    _, _, record = runs
    assert record["backend"] == "jax"
    assert "jax" in record["at_the_end"]


@pytest.mark.parametrize("moment", ["after_import", "at_the_end"])
@pytest.mark.parametrize("module", ["tensorflow", "ai_edge_litert", "keras_se.export", "keras_se.training"])
def test_neither_tensorflow_nor_the_rooms_that_need_it_are_imported(runs, module, moment):
    _, _, record = runs
    assert "keras_se" in record[moment]
    assert module not in record[moment]


@pytest.mark.parametrize("name", LAYERS)
def test_layer_gives_tensorflows_output(runs, name):
    here, there, _ = runs
    assert np.ptp(here[name]) > 0.5  # else two constants could agree
    # float32 sums of at most 48 terms of order 1, taken in another order: a few roundings of 2**-24.
    np.testing.assert_allclose(there[name], here[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_model_gives_tensorflows_logits(runs, name):
    here, there, _ = runs
    assert np.ptp(here[name]) > 0.5  # else two constants could agree
    # Some 20 layers of sums of up to 4,608 float32 terms, taken in another order: of order 1e-6 a layer.
    np.testing.assert_allclose(there[name], here[name], rtol=0, atol=1e-4)
