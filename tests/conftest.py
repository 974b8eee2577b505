"""Networks that several tests read, once a session: a trained network and its files, and a larger untrained one."""

import gc
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest
from tensorflow.python.framework import config

import keras_se
from keras_se.export import RECIPES, export
from keras_se.export.artifacts import build_artifact, write
from keras_se.export.pipeline import calibration_record
from keras_se.export.quantization.calibration import calibrate
from keras_se.export.quantization.quantizer import quantize
from keras_se.export.targets.base import QuantizedModel
from keras_se.export.targets.registry import TARGETS
from keras_se.export.tflite.model import TFLiteModel
from keras_se.preprocessing import Preprocessing
from keras_se.training.data.input_pipeline import sample
from keras_se.training.data.sources import load_source

GOLDEN = Path(__file__).parent / "golden" / "trained"


def pytest_collection_finish():
    freeze()


def freeze() -> None:
    """Collect garbage, and look through what is left no more: the converter collects garbage each time."""
    gc.collect()
    gc.freeze()


@dataclass(frozen=True)
class Exported:
    """A network, images that it was not calibrated on, and a file for each recipe."""

    model: keras.Model
    images: np.ndarray
    files: dict[str, Path]


@pytest.fixture(autouse=True)
def seeded():
    """A network without a seed of its own has the same weights in each run and in any order of the tests."""
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="module", autouse=True)
def graphs_are_freed():
    """Thousands of TensorFlow's graphs that are collected at once take minutes, in whichever test that falls."""
    keras.utils.set_random_seed(0)  # for the module's own fixtures
    yield
    keras.backend.clear_session()
    freeze()
    # Training switches it on for the process, and a model that is compiled after it would not take jit_compile.
    config.disable_op_determinism()


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the trained network, its record, and its float and int8 files; to be read only."""
    return GOLDEN


class _Files(dict):
    """Files by recipe; those that are not there are quantized from the float one when they are asked for."""

    def __init__(self, files: dict[str, Path], name: str, images: int, folder: Path):
        super().__init__(files)
        self._name, self._images, self._folder = name, images, folder
        self._ranges: dict | None = None

    def __missing__(self, recipe: str) -> Path:
        float_file, preprocessing = TFLiteModel(self["float32"].read_bytes()), Preprocessing(32, 32)
        images, _ = sample(load_source("digits").train, preprocessing, self._images)
        if self._ranges is None:
            self._ranges = calibrate(float_file, images, preprocessing.input_range)
        quantized = quantize(float_file, RECIPES[recipe], self._ranges)
        part = QuantizedModel(quantized, RECIPES[recipe], self._name, preprocessing, None)
        built = build_artifact(
            part, TARGETS["phone_cpu"], source=None, calibration=calibration_record(images, "min_max")
        )
        self[recipe] = write(built, self._folder).path
        return self[recipe]


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Exported:
    """Trained network of golden/make_trained.py, an eighth as wide as SE-MobileNet, its files, and real digits."""
    model = keras.models.load_model(GOLDEN / "model.keras")
    images, _ = sample(load_source("digits").test, Preprocessing(32, 32), 100, seed=1)
    committed = {recipe: GOLDEN / f"se_mobilenet.{recipe}.tflite" for recipe in ("float32", "static_wi8_ai8")}
    files = _Files(committed, "se_mobilenet", 200, tmp_path_factory.mktemp("trained"))  # images as make_trained.py
    return Exported(model, images, files)


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
    folder = tmp_path_factory.mktemp("wide")
    [float_file] = export(model, folder, recipes=("float32",))
    files = _Files({"float32": float_file.path}, "wide", 50, folder)
    tested, _ = sample(source.test, preprocessing, 48)
    return Exported(model, tested, files)


@pytest.fixture(scope="session")
def randomise() -> Callable[[keras.Model, int], None]:
    """Gives a model statistics and scales as of a trained network: at their initial values BN folds into nothing."""
    return _randomise


def _randomise(model: keras.Model, seed: int, scales: tuple[float, float] = (0.5, 1.5)) -> None:
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.moving_mean.shape
            if layer.scale:
                layer.gamma.assign(rng.uniform(*scales, shape))
            layer.beta.assign(rng.normal(0, 0.2, shape))
            layer.moving_mean.assign(rng.normal(0, 0.2, shape))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, shape))


@pytest.fixture(scope="session")
def rewritten() -> Callable[..., tuple[keras.Model, np.ndarray, np.ndarray]]:
    """Function of a network's name and a rewriting that returns the new model, its outputs and the network's own."""

    def outputs(name: str, rewrite: Callable[[keras.Model], keras.Model]) -> tuple[keras.Model, np.ndarray, np.ndarray]:
        size = 96 if name == "se_inception_resnet_v2" else 64  # less leaves nothing of it
        model = keras_se.create_model(name, input_shape=(size, size, 3), classes=10, classifier_activation=None)
        _randomise(model, 0, scales=(0.2, 0.6))  # greater ones magnify roundings from one residual block to the next
        images = np.random.default_rng(0).random((2, size, size, 3))
        new = rewrite(model)
        return new, new.predict_on_batch(images), model.predict_on_batch(images)

    return outputs


@pytest.fixture
def float64():
    """Compute with 53 bits, in which a deep network of random statistics magnifies no rounding into its outputs."""
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
