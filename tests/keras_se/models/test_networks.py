"""Every model of the registry, one of each scale: an update, its file, its .tflite and its twin under JAX.

A model is taken as a whole in the slow tests; in the fast ones its family builds a short row of the same kind.
"""

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

import keras
import numpy as np
import pytest

import keras_se
from keras_se.models.head import Head
from keras_se.registry import find, list_models
from published_networks import NETWORKS, assert_close


@pytest.fixture(autouse=True)
def networks_are_freed():
    """Twenty networks of up to 115 million parameters, with their graphs, took 12 GB together."""
    yield
    keras.backend.clear_session()
    gc.collect()


def short_stages(row):
    return tuple(stage._replace(residual=stage.residual._replace(times=1)) for stage in row)


class Short(NamedTuple):
    """A row cut down to what makes its family, and the images it is tried on."""

    cut: Callable[..., tuple]
    size: int = 32
    arguments: Mapping[str, float] = {}


SHORT = {
    "se_resnext50_32x4d": Short(lambda row: row._replace(depths=(1, 1, 1, 1))),
    "se_resnet18": Short(lambda row: row._replace(depths=(1, 1, 1, 1))),
    "senet154": Short(lambda row: row._replace(depths=(1, 1, 1, 1))),
    "se_mobilenet": Short(lambda row: row[:3], arguments={"alpha": 0.25}),
    "mobilenet_v3_small": Short(lambda row: row._replace(blocks=row.blocks[:5])),
    "efficientnet_b0": Short(lambda row: row._replace(stages=row.stages[:2]), arguments={"alpha": 0.25}),
    "se_shufflenet": Short(lambda row: row._replace(depths=(2, 1, 1))),
    "se_vgg16": Short(lambda row: row._replace(depths=(1, 2, 1, 1, 1), hidden=(64, 32))),
    "se_bn_inception": Short(lambda row: row[1:4]),
    "se_inception_resnet_v2": Short(short_stages, size=75),
    "se_resnet20_cifar": Short(lambda row: row._replace(depth=1)),
    "se_resnet164_cifar": Short(lambda row: row._replace(depth=1)),
}


ONE_A_FAMILY = [
    name for name in SHORT if name == next(other for other in SHORT if find(other).build is find(name).build)
]


def images(model, count=2):
    return np.random.default_rng(0).random((count, *model.input_shape[1:]), "float32")


def short(name):
    entry = find(name)
    cut, size, arguments = SHORT[name]
    head = Head(classes=5, classifier_activation=None)
    image = keras.Input((size, size, 3), name="image")
    outputs = entry.build(cut(entry.row), image, se=entry.se, head=head, **arguments)
    return with_random_statistics(keras.Model(image, outputs, name=name))


def whole(name):
    """Return the published network on the smallest images that leave it something to convolve."""
    size = min(find(name).input_shape[0], 96 if "inception_resnet" in name else 64)
    return with_random_statistics(
        keras_se.create_model(name, input_shape=(size, size, 3), classes=5, classifier_activation=None)
    )


def with_random_statistics(model):
    """Draw biases and scales at random, and set the statistics that they give on random images.

    Fresh ones are zeros and ones. With statistics of no image the activations of a hundred layers grow to 10^7, and
    the gates turn their rounding into another network.
    """
    rng = np.random.default_rng(0)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for weight in model.trainable_variables:
        if len(weight.shape) == 1:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    model(images(model, count=8), training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model


def test_every_family_has_a_short_row():
    assert {find(name).build for name in SHORT} == {find(name).build for name in list_models()}


def check_update(model, **arguments):
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), **arguments)
    kernels = [weight for weight in model.trainable_variables if len(weight.shape) == 4]
    before = [weight.numpy() for weight in kernels]
    loss = model.train_on_batch(images(model), np.array([0, 1]))
    assert np.isfinite(loss)
    still = [weight.path for weight, old in zip(kernels, before, strict=True) if np.array_equal(weight.numpy(), old)]
    # A squeeze-and-excitation whose one hidden unit is dead passes no gradient.
    assert not [path for path in still if "_se/" not in path]


def check_file(model, folder):
    model.save(folder / "model.keras")
    again = keras.models.load_model(folder / "model.keras", compile=False)
    x = images(model)
    np.testing.assert_array_equal(np.array(again(x)), np.array(model(x)))


def check_tflite(model):
    convert = pytest.importorskip("keras_se.export.conversion.converter")
    engines = pytest.importorskip("keras_se.export.runtimes.registry")
    content = convert.to_tflite(model).content
    x = images(model)
    assert_close(engines.ENGINES["litert"].run(content, x).values, np.array(model(x)), of=1e-4)
    from ai_edge_litert import schema_py_generated as schema

    codes = schema.ModelT.InitFromPackedBuf(content).operatorCodes
    used = {max(code.builtinCode, code.deprecatedBuiltinCode) for code in codes}
    assert schema.BuiltinOperator.CUSTOM not in used


DEEP_ROWS = ("se_inception_resnet_v2", "se_resnext50_32x4d", "senet154")
"""Networks whose shortest row takes as long as the others together."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in DEEP_ROWS)) for name in SHORT])
def test_short_network_updates_and_keeps_in_a_file(name, tmp_path):
    model = short(name)
    check_file(model, tmp_path)
    check_update(model, run_eagerly=True)  # the gradients are the same, without the time to trace them


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in DEEP_ROWS)) for name in ONE_A_FAMILY],
)
def test_short_network_becomes_tflite(name):
    check_tflite(short(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_network_updates_and_keeps_in_a_file(name, tmp_path):
    model = whole(name)
    check_file(model, tmp_path)
    check_update(model, jit_compile=False)  # XLA takes minutes to compile each of them


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_network_becomes_tflite(name):
    check_tflite(whole(name))


JAX = """
import pathlib, sys
import keras, keras_se, numpy as np
assert keras.backend.backend() == "jax"
for path in map(pathlib.Path, sys.argv[1:]):
    # Drawing initial values would cost JAX a compilation for each shape; the file replaces them all.
    with keras.StatelessScope(initialize_variables=False):
        model = keras.models.model_from_json(path.read_text())
    model.load_weights(path.with_suffix(".weights.h5"))
    np.save(path.with_suffix(".jax.npy"), model.predict(np.load(path.with_suffix(".npy")), verbose=0))
"""


def check_jax(models, folder):
    """Each model's configuration and weights, run by another process on the JAX backend."""
    pytest.importorskip("jax")
    expected = {}
    for model in models:
        path = folder / f"{model.name}.json"
        path.write_text(model.to_json())
        model.save_weights(path.with_suffix(".weights.h5"))
        np.save(path.with_suffix(".npy"), images(model))
        expected[path] = np.array(model(images(model)))
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    subprocess.run([sys.executable, "-c", JAX, *map(str, expected)], check=True, env=environment, cwd=folder)
    for path, outputs in expected.items():
        assert_close(np.load(path.with_suffix(".jax.npy")), outputs, of=1e-4)


@pytest.mark.slow
def test_short_networks_compute_the_same_on_jax(tmp_path):
    check_jax(map(short, ONE_A_FAMILY), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_network_computes_the_same_on_jax(name, tmp_path):
    check_jax([whole(name)], tmp_path)
