"""Every network of the registry, of those that differ in scale alone one, in every number format on every engine."""

import keras
import numpy as np
import pytest

import keras_se
from keras_se.export import RECIPES
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.conversion.lowering import lower
from keras_se.export.conversion.matching import effective_config
from keras_se.export.quantization.calibration import calibrate
from keras_se.export.quantization.quantizer import quantize
from keras_se.export.quantization.recipe_detection import recipe_of
from keras_se.export.runtimes.keras_model import run_keras
from keras_se.export.runtimes.registry import ENGINES
from keras_se.export.targets.registry import TARGETS
from keras_se.export.tflite.constants import weight_error
from published_networks import NETWORKS

SIDES = {"se_inception_resnet_v2": 80}  # less leaves nothing of it; 32 is enough for the others
SHALLOW = {
    "mobilenet_v3_small",
    "se_bn_inception",
    "se_mobilenet",
    "se_resnet20_cifar",
    "se_shufflenet",
    "se_vgg16",
}
"""Networks that keep the SQNR of a recipe's row with random statistics. Deeper ones magnify a rounding into anything, 4
dB are left of float16 after 164 layers: of them this holds that each file runs, gives numbers, and has each constant
rounded once."""
INTEGERS = {"static_wi8_ai8", "static_wi8_ai16", "static_wi8_ai8_se_ai16"}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_file_runs_and_is_near(name, randomise):
    """Files that do not run, or are too far, are listed by recipe and engine; one conversion serves all recipes."""
    keras.utils.set_random_seed(0)
    shape = (SIDES.get(name, 32),) * 2 + (3,)
    model = keras_se.create_model(name, input_shape=shape, classes=10)
    randomise(model, 0)
    images = np.random.default_rng(0).random((6, *shape), "float32")
    calibration, tested = images[:4], images[3:]
    expected = run_keras(model, tested).values
    converted = {}
    failures = []
    for recipe in RECIPES.values():
        lowering = effective_config(model, TARGETS["phone_cpu"].lowering(recipe))
        if lowering not in converted:
            float_file = to_tflite(lower(model, lowering))
            converted[lowering] = float_file, calibrate(float_file, calibration, (0.0, 1.0))
        float_file, ranges = converted[lowering]
        content = quantize(float_file, recipe, ranges if recipe.calibrated else None)
        assert recipe_of(content) == recipe
        assert weight_error(float_file, content).steps <= 0.51  # each constant is its original, rounded
        if recipe.name in INTEGERS:
            assert not {"FLOAT32", "FLOAT16"} & content.dtype_counts.keys()
        logits = content.without_softmax
        names = [
            engine_name for engine_name, engine in ENGINES.items() if recipe.name not in engine.unsupported_recipes
        ]
        outputs = {engine_name: ENGINES[engine_name].run(logits.content, tested).values for engine_name in names}
        for engine_name, got in outputs.items():
            sqnr = decibels(expected, got)
            print(f"{name} {recipe.name} {engine_name}: {sqnr:.1f} dB")
            least = recipe.tolerance.sqnr_db if name in SHALLOW else -np.inf
            if not np.isfinite(got).all() or sqnr < least:
                failures.append((recipe.name, engine_name, sqnr))
    assert failures == []


def decibels(expected, got):
    """Power of what is expected over that of the difference."""
    noise = np.sum((got - expected) ** 2)
    return np.inf if noise == 0 else 10 * np.log10(np.sum(expected**2) / noise)
