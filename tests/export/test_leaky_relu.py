"""ReLUs with a slope below zero, from the model to an integer file."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_se.export import compare_all, export
from keras_se.export.runtimes.litert import xnnpack_partitions
from keras_se.export.tflite.model import TFLiteModel


@pytest.fixture(scope="module")
def model():
    """A classifier with each way to write one: slopes of their own, below zero and above, a layer's and a name's."""
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 3, 2)(image)
    x = layers.PReLU(keras.initializers.RandomUniform(-0.2, 0.6, seed=1), shared_axes=[1, 2])(x)
    x = layers.LeakyReLU(0.1)(layers.DepthwiseConv2D(3)(x))
    x = layers.Conv2D(24, 1, activation="leaky_relu")(x)
    x = layers.ReLU(negative_slope=0.3)(layers.Dense(16)(layers.GlobalAveragePooling2D()(x)))
    return keras.Model(image, layers.Dense(10)(x), name="leaky")


def test_its_files_hold_integers_and_agree_with_keras(model, tmp_path):
    images = np.random.default_rng(0).random((32, 16, 16, 3), "float32")
    recipes = ("static_wi8_ai8", "static_wi8_ai16")
    paths = [artifact.path for artifact in export(model, tmp_path, recipes=recipes, calibration=images)]
    for path in paths:
        assert not {"FLOAT32", "FLOAT16"} & TFLiteModel.load(path).dtype_counts.keys()
    assert xnnpack_partitions(TFLiteModel.load(paths[0])) == 1
    rows = compare_all(model, paths, images)
    assert {(row.recipe, row.engine) for row in rows} >= {(recipe, "tflm") for recipe in recipes}
    assert [row for row in rows if row.verdict != "pass"] == []
    # Seven maps rounded to 255 steps: 41 dB each, where a map spans four of its deviations, and 33 dB together.
    assert min(row.sqnr_db for row in rows if row.reference == "keras") > 30


def test_a_float_file_keeps_them(model, tmp_path):
    [artifact] = export(model, tmp_path, recipes=("float32",))
    counts = TFLiteModel.load(artifact.path).operation_counts
    assert (counts["LEAKY_RELU"], counts["PRELU"]) == (3, 1)
