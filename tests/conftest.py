"""What takes long to make, once a session: a trained network and its files, and a larger untrained one."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest

import keras_se
from keras_se import cli
from keras_se.export import RECIPES, export
from keras_se.preprocessing import Preprocessing, preprocessing_of
from keras_se.training.data import load_source
from keras_se.training.pipeline import sample


@dataclass(frozen=True)
class Exported:
    """A network, images that it was not calibrated on, and a file for each recipe."""

    model: keras.Model
    images: np.ndarray
    files: dict[str, Path]


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory) -> tuple[Path, dict]:
    """The quickstart's folder and its JSON document."""
    folder = tmp_path_factory.mktemp("quickstart") / "out"
    printed = folder.with_name("document.json")
    with pytest.MonkeyPatch.context() as patch, printed.open("w") as stdout:
        patch.setattr("sys.stdout", stdout)
        status = cli.run(["quickstart", "--out", str(folder), "--json"])
    assert status == 0
    return folder, json.loads(printed.read_text())


@pytest.fixture(scope="session")
def trained(quickstart) -> Exported:
    """The quickstart's quarter-width SE-MobileNet, 0.3 MB in int8, and real digits."""
    folder, document = quickstart
    model = keras.models.load_model(folder / "run" / "model.keras")
    preprocessing = preprocessing_of(model, folder / "run" / "model.keras")
    source = load_source("digits")
    images, _ = sample(source.test, preprocessing, 100, seed=1)
    files = {one["recipe"]: Path(one["path"]) for one in document["artifacts"]}
    others = tuple(name for name in RECIPES if name not in files)
    calibration, _ = sample(source.train, preprocessing, 500)  # as the quickstart
    made = export(model, folder.with_name("others"), recipes=others, calibration=calibration)
    return Exported(model, images, files | {artifact.recipe: artifact.path for artifact in made})


@pytest.fixture(scope="session")
def wide(tmp_path_factory) -> Exported:
    """An SE-ResNet-18 of 11 MB in int8, forty times what the quantizer keeps inside the flatbuffer.

    Its classifier is the least-squares one on random features: it classifies digits without an hour of training.
    """
    keras.utils.set_random_seed(0)
    model = keras_se.create_model("se_resnet18", input_shape=(32, 32, 3), classes=10)
    _randomise(model, seed=0)
    source = load_source("digits")
    preprocessing = Preprocessing(32, 32)
    images, labels = sample(source.train, preprocessing, 600)
    fit_classifier(model, images, labels)
    files = export(model, tmp_path_factory.mktemp("wide"), recipes=tuple(RECIPES), calibration=images[:50])
    tested, _ = sample(source.test, preprocessing, 48)
    return Exported(model, tested, {artifact.recipe: artifact.path for artifact in files})


@pytest.fixture(scope="session")
def randomise() -> Callable[[keras.Model, int], None]:
    """Gives a model statistics and scales as of a trained network: at their initial values BN folds into nothing."""
    return _randomise


def _randomise(model: keras.Model, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.moving_mean.shape
            if layer.scale:
                layer.gamma.assign(rng.uniform(0.5, 1.5, shape))
            layer.beta.assign(rng.normal(0, 0.2, shape))
            layer.moving_mean.assign(rng.normal(0, 0.2, shape))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, shape))


@pytest.fixture(scope="session")
def rewritten() -> Callable[..., tuple[keras.Model, np.ndarray, np.ndarray]]:
    """From a network's name and a rewriting of models: the rewritten one, what it gives, and what the network gives."""

    def outputs(name: str, rewrite: Callable[[keras.Model], keras.Model]) -> tuple[keras.Model, np.ndarray, np.ndarray]:
        size = 96 if name == "se_inception_resnet_v2" else 64  # less leaves nothing of it
        model = keras_se.create_model(name, input_shape=(size, size, 3), classes=10, classifier_activation=None)
        _randomise(model, 0)
        images = np.random.default_rng(0).random((2, size, size, 3))
        new = rewrite(model)
        return new, new.predict_on_batch(images), model.predict_on_batch(images)

    return outputs


@pytest.fixture
def float64():
    """With 53 bits a deep network of random statistics does not magnify roundings into its outputs."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def fit_classifier(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> None:
    """Ridge regression of the classes on the network's features, as its last dense layer."""
    dense = model.get_layer("logits")
    features = keras.Model(model.input, dense.input).predict(images, verbose=0).astype("float64")
    design = np.hstack([features, np.ones((len(features), 1))])
    targets = 8.0 * np.eye(10)[labels] - 4.0
    penalty = 0.1 * np.trace(design.T @ design) / design.shape[1] * np.eye(design.shape[1])
    solution = np.linalg.solve(design.T @ design + penalty, design.T @ targets)
    dense.set_weights([solution[:-1].astype("float32"), solution[-1].astype("float32")])
