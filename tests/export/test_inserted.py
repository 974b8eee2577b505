"""Networks that were given SE by `insert` are exported as those that were built with it."""

import keras
import numpy as np
import pytest

import keras_se
from keras_se.export import RECIPES, benchmark, check, compare, export, quantize_aware
from keras_se.export.targets.registry import TARGETS

LAYERS = keras.layers
VENDORS = ("google", "intel", "mediatek", "qualcomm")
"""Their compilers are installed nowhere here."""


@pytest.fixture(scope="module")
def plain():
    keras.utils.set_random_seed(0)
    image = keras.Input((24, 24, 3))
    x = stem = LAYERS.ReLU()(LAYERS.BatchNormalization()(LAYERS.Conv2D(16, 3, 2, padding="same")(image)))
    x = LAYERS.BatchNormalization(name="end")(LAYERS.Conv2D(16, 3, padding="same")(x))
    x = LAYERS.ReLU(name="relu")(LAYERS.Add()([x, stem]))
    x = LAYERS.GlobalAveragePooling2D()(LAYERS.DepthwiseConv2D(3, 2, padding="same")(x))
    return keras.Model(image, LAYERS.Dense(10, activation="softmax")(x), name="net")


@pytest.fixture(scope="module")
def inserted(plain):
    """As after fine-tuning: the gates have left 1."""
    model = keras_se.insert(plain, after=["residual", "relu"], r=4, identity=True)
    rng = np.random.default_rng(0)
    for name in ("end_se", "relu_se"):
        block = model.get_layer(name)
        block.expand.set_weights([rng.normal(0, 0.7, weight.shape) for weight in block.expand.get_weights()])
    return model


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).random((40, 24, 24, 3), "float32")


def test_float_and_int8_files_compute_the_network_in_as_many_partitions_as_the_plain_one(
    inserted, images, plain, tmp_path
):
    files = export(inserted, tmp_path, recipes=("float32", "static_wi8_ai8"), calibration=images)
    for artifact in files:
        parity = compare(inserted, artifact.path, images, engine="litert", float_file=files[0].path)
        assert parity.verdict == "pass", artifact.recipe
    [before] = export(plain, tmp_path / "plain", recipes=("float32",))
    paths = [artifact.path for artifact in (*files, before)]
    assert {bench.partitions for bench in benchmark(paths, runs=1, engines=("litert",))} == {1}


@pytest.mark.slow
def test_every_number_format_holds_parity(inserted, images, tmp_path):
    files = export(inserted, tmp_path, recipes=RECIPES, calibration=images)
    assert [artifact.recipe for artifact in files] == list(RECIPES)
    for artifact in files:
        for engine in ("litert", "litert_reference"):
            parity = compare(inserted, artifact.path, images, engine=engine, float_file=files[0].path)
            assert parity.verdict == "pass", (artifact.recipe, engine)


def test_no_target_refuses_it(inserted):
    for target in TARGETS:
        assert [finding for finding in check(inserted, target) if finding.verdict != "slow"] == [], target


@pytest.mark.slow
@pytest.mark.parametrize(
    "target", [name for name in TARGETS if name.partition("_")[0] not in ("qualcomm", "mediatek", "google", "intel")]
)
def test_every_target_whose_tool_is_here_takes_its_files(target, inserted, images, tmp_path):
    recipes = TARGETS[target].default_recipes
    files = export(inserted, tmp_path, recipes=recipes, target=target, calibration=images)
    assert [artifact.recipe for artifact in files] == list(recipes)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["keras", "tfmot"])
def test_it_is_trained_quantization_aware(engine, inserted, images):
    aware = quantize_aware(inserted, calibration=images, engine=engine)
    outputs = inserted.predict(images, verbose=0)
    # Roundings to 256 values in each of ten layers; and half a step of the scores, which tfmot rounds too.
    assert np.abs(aware.predict(images, verbose=0) - outputs).max() < 0.05 * np.ptp(outputs) + 0.5 / 256
