"""SE, the layers beside it and surgery on Keras's torch backend: what TensorFlow gives."""

import importlib.util
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_se

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed: pip install torch"),
]

FIRST = {"data_format": "channels_first"}
LAYERS = {
    "se": keras_se.SqueezeExcite(4),
    "se_every_position": keras_se.SqueezeExcite(4, squeeze="none", gate="hard_sigmoid"),
    "se_first": keras_se.SqueezeExcite(4, squeeze="max", **FIRST),
    "eca": keras_se.EfficientChannelAttention(),
    "eca_first": keras_se.EfficientChannelAttention(**FIRST),
    "ese": keras_se.EffectiveSqueezeExcite(),
    "ge": keras_se.GatherExcite(),
    "ge_by_4": keras_se.GatherExcite(4),
    "ge_by_4_first": keras_se.GatherExcite(4, **FIRST),
    "ge_learned": keras_se.GatherExcite(learned=True),
    "ge_learned_by_4": keras_se.GatherExcite(4, learned=True),
    "channel": keras_se.ChannelAttention(4),
    "spatial": keras_se.SpatialAttention(),
    "spatial_first": keras_se.SpatialAttention(**FIRST),
}

ON_TORCH = """
import json, sys
from pathlib import Path

import keras
import numpy as np

import keras_se

folder = Path(sys.argv[1])
images = np.load(folder / "images.npy")
models = {path.stem: keras.models.load_model(path) for path in sorted(folder.glob("*.keras"))}
outputs = {name: model.predict(images, verbose=0) for name, model in models.items()}

plain = models["plain"]
model = keras_se.insert(plain, after="residual", r=4, identity=True)
outputs["identity"] = model.predict(images, verbose=0)
outputs["removed"] = keras_se.remove(model).predict(images, verbose=0)
folding = keras_se.fold_constant(model, images)
outputs["folded"] = folding.model.predict(images, verbose=0)
model.compile(keras.optimizers.SGD(0.1), "mse")
model.fit(images, np.zeros((len(images), 3)), epochs=1, verbose=0)
moved = float(np.abs(keras.ops.convert_to_numpy(model.get_layer("end_se").expand.kernel)).max())
for name, gate in keras_se.excitations(models["inserted"], images).items():
    outputs[f"gate {name}"] = gate
held = keras_se.remove(models["inserted"], keep_mean=images)
outputs["held"] = held.predict(images, verbose=0)
np.savez(folder / "outputs.npz", **outputs)
print(json.dumps({
    "backend": keras.backend.backend(), "moved": moved, "folded": folding.folded,
}))
"""


def network(*behind):
    layers = keras.layers
    image = keras.Input((9, 10, 3))
    x = stem = layers.Conv2D(16, 3, activation="relu", name="stem")(image)
    for layer in (layers.Conv2D(16, 3, padding="same", name="branch"), layers.BatchNormalization(name="end"), *behind):
        x = layer(x)
    x = layers.GlobalAveragePooling2D()(layers.Add()([stem, x]))
    return keras.Model(image, layers.Dense(3, name="scores")(x))


def randomise(model):
    rng = np.random.default_rng(0)
    for weight in model.weights:
        values = rng.normal(0, 0.5, weight.shape)
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.path else values)
    return model


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Outputs here, outputs on torch, and what that process printed."""
    folder = tmp_path_factory.mktemp("torch")
    images = np.random.default_rng(1).random((6, 9, 10, 3), "float32")
    np.save(folder / "images.npy", images)
    plain = randomise(network())
    inserted = keras_se.insert(plain, after=["residual", "stem"], r=4)
    models = {name: randomise(network(layer)) for name, layer in LAYERS.items()}
    models |= {"plain": plain, "inserted": randomise(inserted)}
    here = {}
    for name, model in models.items():
        model.save(folder / f"{name}.keras")
        here[name] = model.predict(images, verbose=0)
    here |= {f"gate {name}": gate for name, gate in keras_se.excitations(inserted, images).items()}
    here |= dict.fromkeys(("identity", "removed", "folded"), here["plain"])
    here["held"] = keras_se.remove(inserted, keep_mean=images).predict(images, verbose=0)
    done = subprocess.run(
        [sys.executable, "-c", ON_TORCH, str(folder)],
        env={**os.environ, "KERAS_BACKEND": "torch", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return here, np.load(folder / "outputs.npz"), json.loads(done.stdout.splitlines()[-1])


def test_the_other_process_ran_on_torch(runs):
    _, _, record = runs
    assert record["backend"] == "torch"


def test_outputs_gates_and_models_after_surgery_are_tensorflows(runs):
    here, there, _ = runs
    assert set(there.files) == set(here)
    for name, expected in here.items():
        # Sums of up to 256 float32 terms of order 1, taken in another order.
        np.testing.assert_allclose(there[name], expected, rtol=1e-4, atol=1e-4, err_msg=name)
        assert np.ptp(expected) > 0.01, name  # else two constants could agree


def test_the_first_step_from_identity_moves_the_block_there_too(runs):
    _, _, record = runs
    assert record["moved"] > 0
    assert record["folded"] == ["end_se"]
