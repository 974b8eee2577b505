"""Each operation of a quantization-aware model is within a step of its file's, in every form that a target has."""

import keras
import numpy as np
import pytest
from rounded_operations import ONE_STEP, activations, layer_of, operations_apart

import keras_se
from keras_se.export import export, quantize_aware
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.conversion.lowering import lower
from keras_se.export.conversion.lowering_config import CONV_BEFORE_POOL, DECOMPOSED
from keras_se.export.conversion.matching import effective_config
from keras_se.export.manifest import lowering_of
from keras_se.export.tflite.constants import weight_error
from keras_se.export.tflite.model import TFLiteModel

RNG = np.random.default_rng(0)


def block_of_every_form(x):
    """Hard swishes with and without weights behind, hard and soft gates, which the forms write each in its way."""
    y = keras.layers.Conv2D(16, 3, padding="same", activation="hard_swish", name="stem")(x)
    y = keras_se.SqueezeExcite(4, gate="hard_sigmoid", name="hard_se")(y)
    y = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(16, 3, 2, name="conv")(y))
    y = keras.layers.Activation("hard_swish", name="swish")(y)
    y = keras.layers.Add(name="sum")([y, keras_se.SqueezeExcite(4, name="se")(y)])
    y = keras.layers.GlobalAveragePooling2D(name="mean")(y)
    y = keras.layers.Dense(16, activation="hard_swish", name="hidden")(y)
    y = keras.layers.Add(name="end")([y, keras.layers.Dense(16, name="other")(y)])
    return keras.layers.Dense(10, activation="softmax", name="logits")(y)


@pytest.mark.parametrize(
    ("target", "lowering"),
    [("phone_cpu", DECOMPOSED), pytest.param("ethos_u55_128", CONV_BEFORE_POOL, marks=pytest.mark.slow)],
)
def test_each_operation_of_a_targets_form_is_within_a_step(target, lowering, randomise, tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((20, 20, 3))
    model = keras.Model(inputs, block_of_every_form(inputs))
    randomise(model, 0)
    images = RNG.random((16, 20, 20, 3)).astype("float32")
    quantize_aware(model, calibration=images, target=target).save(tmp_path / "aware.keras")
    aware = keras.models.load_model(tmp_path / "aware.keras")
    [artifact] = export(aware, tmp_path, recipes=("static_wi8_ai8",))  # for another target than the second one
    content = TFLiteModel(artifact.path.read_bytes())
    assert set(artifact.manifest["dtypes"]) == {"INT8", "INT32"}
    assert ("AVERAGE_POOL_2D" in content.operation_counts) == (lowering == CONV_BEFORE_POOL)
    assert "HARD_SWISH" not in content.operation_counts
    compared = operations_apart(aware, content, images[:4])
    assert compared.keys() == set(map(layer_of, activations(content))) - {None}  # of input and softmax
    assert {layer: steps for layer, steps in compared.items() if steps > ONE_STEP} == {}
    # What parity and diagnose start from: the network in the form that the manifest tells has the file's tensors.
    assert lowering_of(artifact.path) == effective_config(model, lowering)
    original = to_tflite(lower(model, lowering))
    assert original.activation_names == activations(content)
    assert weight_error(original, content).steps < 0.51  # each constant is rounded once


NETWORKS = {
    "mobilenet_v3_small": {},
    "se_shufflenet": {},
    "se_bn_inception": {},
    "se_resnet20_cifar": {},
    "se_resnet164_cifar": {},
    "se_inception_resnet_v2": {"modules": (1, 1, 1)},
    "se_resnext50_32x4d": {"se_stages": (2,)},
    "se_vgg16": {},
}
PIXELS = {"se_inception_resnet_v2": 80}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_each_operation_of_other_networks_is_within_a_step(name, randomise, tmp_path):
    keras.utils.set_random_seed(0)
    size = PIXELS.get(name, 32)
    model = keras_se.create_model(name, input_shape=(size, size, 3), classes=10, **NETWORKS[name])
    randomise(model, 0)
    images = RNG.random((16, size, size, 3)).astype("float32")
    aware = quantize_aware(model, calibration=images)
    [artifact] = export(aware, tmp_path, recipes=("static_wi8_ai8",))
    content = TFLiteModel(artifact.path.read_bytes())
    assert set(artifact.manifest["dtypes"]) == {"INT8", "INT32"}
    assert name != "mobilenet_v3_small" or artifact.manifest["xnnpack_partitions"] == 1
    compared = operations_apart(aware, content, images[:2])
    assert len(compared) > 0.6 * len(content.operation_names)
    assert {layer: steps for layer, steps in compared.items() if steps > ONE_STEP} == {}


def images_of(pixels=8, number=8):
    return np.random.default_rng(0).random((number, pixels, pixels, 3), "float32")


TAKEN = {
    "Dropout": keras.layers.Dropout(0.5, name="odd"),
    "SpatialDropout2D": keras.layers.SpatialDropout2D(0.5, name="odd"),
    "GaussianNoise": keras.layers.GaussianNoise(0.1, name="odd"),
    "GaussianDropout": keras.layers.GaussianDropout(0.1, name="odd"),
    "ActivityRegularization": keras.layers.ActivityRegularization(name="odd"),
    "Identity": keras.layers.Identity(name="odd"),
    "Cropping2D": keras.layers.Cropping2D(1, name="odd"),
    "Rescaling": keras.layers.Rescaling(2.0, -1.0, name="odd"),
}


@pytest.mark.parametrize("layer", TAKEN.values(), ids=TAKEN)
def test_layers_of_one_function_at_inference_are_taken(on_images, layer, randomise, tmp_path):
    model = on_images(keras.layers.Conv2D(3, 3, padding="same", name="first"), layer)
    randomise(model, 0)
    images = images_of()
    aware = quantize_aware(model, calibration=images)
    [artifact] = export(aware, tmp_path, recipes=("static_wi8_ai8",))
    assert set(artifact.manifest["dtypes"]) == {"INT8", "INT32"}
    assert artifact.manifest["xnnpack_partitions"] == 1
    content = TFLiteModel(artifact.path.read_bytes())
    assert {
        layer: steps for layer, steps in operations_apart(aware, content, images[:4]).items() if steps > ONE_STEP
    } == {}
