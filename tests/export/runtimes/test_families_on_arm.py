"""Every family of networks in every number format on emulated Arm cores: files give what they give here."""

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
from keras_se.export.runtimes.base import STEPS_OF_INT16
from keras_se.export.runtimes.registry import run_file
from keras_se.export.sandbox.remote import running_on
from keras_se.export.targets.registry import TARGETS
from keras_se.export.tflite.model import TFLiteModel

FAMILIES = (
    *("mobilenet_v3_small", "se_mobilenet", "se_shufflenet", "se_bn_inception", "se_inception_resnet_v2", "se_vgg16"),
    *("se_resnet18", "se_resnet50", "se_resnext50_32x4d", "se_resnet20_cifar", "se_wrn16_8"),
)
INTEGERS = {"static_wi8_ai8", "static_wi8_ai16", "static_wi8_ai8_se_ai16"}
STEPS = {
    "static_wi8_ai8": 3,
    "static_wi8_ai8_se_ai16": 3,
    "static_wi8_ai8_se_fp32": 3,
    "static_wi8_ai16": STEPS_OF_INT16,
}
"""Of the output: sums of integers are exact on each processor, but a kernel may round half a step to either side, as
may a float between two integers, and each layer adds to that."""
OF_THE_GREATEST = {
    # Some roundings of 2**-24 a layer: sums in another order, vectors of 4 and of 16, products fused or not.
    **dict.fromkeys(("float32", "float16", "weight_only_wi8_afp32"), 1e-5),
    # Activations of 8 bits, where one in the last place falls to either side; the output is in float.
    **dict.fromkeys(("dynamic_wi8_afp32", "static_wi8_ai8_first_last_fp32"), 0.03),
}


@pytest.fixture(scope="module", params=FAMILIES)
def network(request, randomise, tmp_path_factory):
    """Paths of a network's files by recipe, two images, and the outputs on this machine by recipe and engine."""
    keras.utils.set_random_seed(0)
    side = {"se_inception_resnet_v2": 80}.get(request.param, 32)  # less leaves nothing of it
    model = keras_se.create_model(request.param, input_shape=(side, side, 3), classes=10, classifier_activation=None)
    randomise(model, 0, scales=(0.2, 0.6))  # greater ones magnify roundings from one residual block to the next
    images = np.random.default_rng(0).random((4, side, side, 3), "float32")
    folder, converted, paths = tmp_path_factory.mktemp(request.param), {}, {}
    for name, recipe in RECIPES.items():
        lowering = effective_config(model, TARGETS["phone_cpu"].lowering(recipe))
        if lowering not in converted:
            float_file = to_tflite(lower(model, lowering))
            converted[lowering] = float_file, calibrate(float_file, images, (0.0, 1.0))
        float_file, ranges = converted[lowering]
        paths[name] = folder / f"{name}.tflite"
        paths[name].write_bytes(quantize(float_file, recipe, ranges if recipe.calibrated else None).content)
    return paths, images[:2], outputs(paths, images[:2])


def outputs(paths, images):
    return {
        (recipe, engine): run_file(engine, TFLiteModel.load(path), images, path)
        for recipe, path in paths.items()
        for engine in ("litert", "litert_reference")
    }


@pytest.mark.slow
def test_a_family_gives_there_what_it_gives_here(network, arm_core):
    paths, images, here = network
    with running_on(arm_core):
        there = outputs(paths, images)
    for (recipe, engine), found in there.items():
        expected = here[recipe, engine]
        error = np.max(np.abs(found.values - expected.values))
        greatest = np.max(np.abs(expected.values))
        print(f"{recipe} on {engine}: {error / greatest:.1e} of the greatest, step {found.lsb}")
        assert greatest > 0
        if recipe in INTEGERS and engine == "litert_reference":
            assert error == 0, recipe
        elif recipe in STEPS:
            assert error <= (STEPS[recipe] + 0.01) * expected.lsb, (recipe, engine)  # values are dequantized
        else:
            assert error <= OF_THE_GREATEST[recipe] * greatest, (recipe, engine)
    assert there.keys() == here.keys()
