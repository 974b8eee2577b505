"""Operations that ESP-NN leaves to the reference kernels: counted in the file, and told from the layers.

The rest is TFLite Micro's, whose own tests hold it."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_se
from keras_se.errors import InputError
from keras_se.export import RECIPES, check, export
from keras_se.export.targets import esp32_s3, tflite_micro
from keras_se.export.targets.base import QuantizedModel
from keras_se.export.targets.registry import TARGETS
from keras_se.export.tflite.model import TFLiteModel
from keras_se.preprocessing import Preprocessing

INT8, INT16 = "static_wi8_ai8", "static_wi8_ai16"


def exported(model, folder, recipe=INT8):
    images = np.random.default_rng(0).random((2, *model.input_shape[1:]), "float32")
    [artifact] = export(model, folder, recipes=[recipe], target="esp32_s3", calibration=images)
    return artifact


def network(*middle):
    """A classifier of operations that ESP-NN runs, but for the mean, with these layers in its middle."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((16, 16, 3), name="image")
    for layer in (layers.Conv2D(6, 3), layers.ReLU(), layers.DepthwiseConv2D(3), *middle):
        x = layer(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x), name="net")


@pytest.mark.parametrize(
    ("middle", "counted"),
    [
        ([], {}),
        ([lambda: layers.Conv2D(8, 3, dilation_rate=2, name="wide")], {"CONV_2D": 1}),
        ([lambda: layers.DepthwiseConv2D(3, dilation_rate=2, name="wide")], {"DEPTHWISE_CONV_2D": 1}),
        ([lambda: layers.MaxPooling2D(2, name="six")], {"MAX_POOL_2D": 1}),
        ([lambda: layers.Conv2D(8, 1), lambda: layers.MaxPooling2D(2, name="eight")], {}),
        ([lambda: keras_se.SqueezeExcite(2, name="se")], {"LOGISTIC": 1, "MEAN": 1, "MUL": 1}),
    ],
    ids=["plain", "dilated", "dilated depthwise", "six channels", "eight channels", "SE"],
)
def test_check_tells_what_the_manifest_counts(middle, counted, tmp_path):
    model = network(*(make() for make in middle))
    manifest = exported(model, tmp_path).manifest
    own = {"MEAN": 1}  # of the head
    expected = {name: own.get(name, 0) + counted.get(name, 0) for name in {**own, **counted}}
    assert manifest["esp32_s3"] == {"arena_fits": "SRAM", "reference_kernels": expected}
    findings = check(model, "esp32_s3", recipes=[INT8, INT16])
    assert {finding.layer for finding in findings} == ({middle[-1]().name} if counted else set())
    assert {(finding.verdict, finding.recipes) for finding in findings} <= {("slow", (INT8,))}


def test_of_int16_esp_nn_runs_nothing(tmp_path):
    manifest = exported(network(), tmp_path, INT16).manifest
    assert manifest["esp32_s3"]["reference_kernels"] == manifest["operations"]


@pytest.mark.slow
def test_the_files_are_those_of_tflite_micro(trained, tmp_path):
    content = QuantizedModel(
        TFLiteModel(trained.files[INT8].read_bytes()), RECIPES[INT8], "digits", Preprocessing(32, 32), None
    )
    deliverable, plain = (TARGETS[name].package_for_target(content) for name in ("esp32_s3", "tflite_micro"))
    assert deliverable.file == plain.file
    assert deliverable.files == plain.files
    assert deliverable.manifest.keys() - plain.manifest.keys() == {"esp32_s3"}


def test_an_arena_beyond_every_module_is_refused(trained, monkeypatch):
    monkeypatch.setattr(tflite_micro, "arena_bytes", lambda content: esp32_s3.PSRAM + 256)
    content = QuantizedModel(
        TFLiteModel(trained.files[INT8].read_bytes()), RECIPES[INT8], "digits", Preprocessing(32, 32), None
    )
    with pytest.raises(InputError, match=r"^the arena for esp32_s3 must fit 16 MiB, .*; it takes 16\.0 MiB"):
        TARGETS["esp32_s3"].package_for_target(content)


def test_an_arena_beyond_the_chip_is_of_the_memory_beside_it(trained, monkeypatch):
    monkeypatch.setattr(tflite_micro, "arena_bytes", lambda content: esp32_s3.SRAM + 256)
    content = QuantizedModel(
        TFLiteModel(trained.files[INT8].read_bytes()), RECIPES[INT8], "digits", Preprocessing(32, 32), None
    )
    assert TARGETS["esp32_s3"].package_for_target(content).manifest["esp32_s3"]["arena_fits"] == "PSRAM"
