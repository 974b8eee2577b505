"""Maxima over height and width, alone and as SE's squeeze, from the model to an integer file."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_se
from keras_se.export import check, export
from keras_se.export.runtimes.litert import xnnpack_partitions
from keras_se.export.runtimes.registry import ENGINES
from keras_se.export.targets.edgetpu_rules import lint
from keras_se.export.tflite.model import TFLiteModel

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 12, 10, 3)).astype("float32") / 255
IMAGES[0, 0, 0, :2] = 0, 1  # so that an input is a multiple of its step of 1/255, and not rounded


def maximum():
    image = keras.Input((12, 10, 3))
    return keras.Model(image, layers.GlobalMaxPooling2D(name="greatest")(image), name="maximum")


def squeezed():
    image = keras.Input((12, 10, 3))
    x = keras_se.SqueezeExcite(2, squeeze="max", name="se")(layers.Conv2D(8, 3, name="stem")(image))
    return keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)), name="squeezed")


@pytest.mark.parametrize("target", ["phone_cpu", "edgetpu", "tflite_micro"])
def test_a_maximum_is_numpys_in_every_runtime(target, tmp_path):
    """A pooling rounds nothing, and the input needs no rounding."""
    [artifact] = export(maximum(), tmp_path, recipes=["static_wi8_ai8"], target=target, calibration=IMAGES)
    content = artifact.path.read_bytes()
    assert "REDUCE_MAX" not in TFLiteModel(content).operation_counts
    for engine in ("litert", "litert_reference", "tflm"):
        got = ENGINES[engine].run(content, IMAGES).values.reshape(-1, 3)
        np.testing.assert_allclose(got, IMAGES.max((1, 2)), rtol=1e-6, atol=1e-6, err_msg=engine)


def test_a_squeeze_by_the_maximum_is_one_partition_of_integers(tmp_path):
    keras.utils.set_random_seed(0)
    model = squeezed()
    [artifact] = export(model, tmp_path, recipes=["static_wi8_ai8"], calibration=IMAGES)
    content = TFLiteModel(artifact.path.read_bytes())
    assert not content.float_operations
    assert content.operation_counts["MAX_POOL_2D"] == 1
    assert (xnnpack_partitions(content), lint(content)) == (1, [])
    for target in ("edgetpu", "tflite_micro", "ethos_u55_128"):
        assert check(model, target, recipes=["static_wi8_ai8"]) == []


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["static_wi8_ai8", "static_wi8_ai16"])
@pytest.mark.parametrize("target", ["ethos_u55_128", "ethos_u65_512", "ethos_u85_256"])
@pytest.mark.parametrize("make", [maximum, squeezed])
def test_vela_compiles_it_for_the_npu_alone(make, target, recipe, tmp_path):
    """A file with an operation on the processor is refused."""
    assert export(make(), tmp_path, recipes=[recipe], target=target, calibration=IMAGES)


def test_a_float_file_keeps_the_reduction(tmp_path):
    [artifact] = export(maximum(), tmp_path, recipes=["float32"])
    assert TFLiteModel(artifact.path.read_bytes()).operation_names == ["REDUCE_MAX"]
