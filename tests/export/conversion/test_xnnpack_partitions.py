"""Every network is one partition of XNNPACK in the form that a phone gets."""

import functools

import numpy as np
import pytest

import keras_se
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.conversion.lowering import lower
from keras_se.export.conversion.lowering_config import (
    PLAIN,
)
from keras_se.export.conversion.matching import effective_config
from keras_se.export.quantization.calibration import calibrate
from keras_se.export.quantization.quantizer import quantize
from keras_se.export.quantization.recipes import RECIPES
from keras_se.export.runtimes.litert import xnnpack_partitions
from keras_se.export.targets.registry import TARGETS
from published_networks import NETWORKS

SMALL = ("mobilenet_v3_small", "se_resnet20_cifar")


@pytest.fixture(scope="module")
def float_file(randomise):
    """A network's float file in a form, the last one kept for the next recipe, and its ranges."""

    @functools.lru_cache(1)
    def model_of(name):
        size = 96 if name == "se_inception_resnet_v2" else 64
        model = keras_se.create_model(name, input_shape=(size, size, 3), classes=10)
        randomise(model, 0)
        return model

    @functools.lru_cache(1)
    def converted(name, lowering):
        model = model_of(name)
        content = to_tflite(lower(model, lowering))
        images = np.random.default_rng(0).random((2, *model.input_shape[1:]), "float32")
        return content, calibrate(content, images, (0.0, 1.0))

    return lambda name, lowering: converted(name, effective_config(model_of(name), lowering))


def partitions(name, lowering, recipe, float_file):
    """Return the number of XNNPACK partitions of a network's file."""
    content, ranges = float_file(name, lowering)
    return xnnpack_partitions(quantize(content, RECIPES[recipe], ranges if RECIPES[recipe].calibrated else None))


@pytest.mark.parametrize("recipe", [pytest.param("float32", marks=pytest.mark.slow), "static_wi8_ai8"])
@pytest.mark.parametrize(
    "name",
    [name if name in SMALL else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS],
)
def test_every_network_is_one_partition_on_a_phone(name, recipe, float_file):
    assert partitions(name, TARGETS["phone_cpu"].lowering(RECIPES[recipe]), recipe, float_file) == 1


@pytest.mark.slow
def test_as_it_is_mobilenet_v3_is_many_partitions_in_int8(float_file):
    """XNNPACK has no HARD_SWISH in int8."""
    assert partitions("mobilenet_v3_small", PLAIN, "static_wi8_ai8", float_file) > 10
