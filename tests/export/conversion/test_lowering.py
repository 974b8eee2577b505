"""A model in a target's form computes what it computed, in operations that the target has."""

import keras
import numpy as np
import pytest
from lowered_blocks import BLOCKS

import keras_se
from keras_se.cli import main
from keras_se.export import export
from keras_se.export.conversion.converter import load_model, to_tflite
from keras_se.export.conversion.lowering import lower
from keras_se.export.conversion.lowering_config import (
    CONV_BEFORE_POOL,
    DECOMPOSED,
    ONE_PARTITION,
    PLAIN,
    LoweringConfig,
)
from keras_se.export.conversion.matching import effective_config
from keras_se.export.evaluation.parity import compare_all
from published_networks import NETWORKS, rounding_of

LOWERINGS = [PLAIN, DECOMPOSED, ONE_PARTITION, LoweringConfig(squeeze="conv_before_pool"), CONV_BEFORE_POOL]
FAST = ("se_resnet20_cifar", "mobilenet_v3_small")


@pytest.mark.parametrize(
    # Each block in every form stands below; of a whole network the form that changes most.
    "lowering",
    [*(pytest.param(lowering, marks=pytest.mark.slow) for lowering in LOWERINGS[:-1]), LOWERINGS[-1]],
    ids=str,
)
@pytest.mark.parametrize("name", ["se_resnet20_cifar", pytest.param("mobilenet_v3_small", marks=pytest.mark.slow)])
@pytest.mark.usefixtures("float64")
def test_a_network_in_a_form_is_the_same_function(name, lowering, rewritten):
    _, got, expected = rewritten(name, lambda model: lower(model, lowering))
    np.testing.assert_allclose(got, expected, rtol=0, atol=rounding_of(name) * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*NETWORKS} - set(FAST)))
@pytest.mark.usefixtures("float64")
def test_every_other_network_in_the_furthest_form_is_the_same_function(name, rewritten):
    _, got, expected = rewritten(name, lambda model: lower(model, LOWERINGS[-1]))
    np.testing.assert_allclose(got, expected, rtol=0, atol=rounding_of(name) * np.abs(expected).max())


@pytest.mark.parametrize(
    "lowering",
    [
        pytest.param(form, marks=() if form in (ONE_PARTITION, CONV_BEFORE_POOL) else pytest.mark.slow)
        for form in LOWERINGS
    ],
    ids=str,
)
@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS.keys())
@pytest.mark.usefixtures("float64")
def test_a_block_in_a_form_is_the_same_function(block, lowering, randomise):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((12, 10, 4))
    model = keras.Model(inputs, block(inputs))
    randomise(model, 1)
    images = np.random.default_rng(1).normal(0, 3, (2, 12, 10, 4))
    expected = model.predict_on_batch(images)
    # Keras rounds the constants of Rescaling to float32: the share of a window within the map.
    np.testing.assert_allclose(lower(model, lowering).predict_on_batch(images), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("first", "left"), [("relu", 0), ("linear", 1)])
def test_no_relu_is_fused_into_a_pooling_of_what_is_positive(first, left):
    """The Edge TPU takes no AVERAGE_POOL_2D with an activation."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 1, activation=first)(image)
    joined = keras.layers.Concatenate()([keras.layers.AveragePooling2D(2)(x), keras.layers.Conv2D(4, 2, 2)(x)])
    file = to_tflite(lower(keras.Model(image, keras.layers.ReLU()(joined)), PLAIN))
    poolings = [
        op.builtinOptions.fusedActivationFunction
        for op, name in zip(file.graph.operators, file.operation_names, strict=True)
        if name == "AVERAGE_POOL_2D"
    ]
    assert poolings == [left]


@pytest.mark.parametrize(("padding", "size", "left"), [(((0, 1), (0, 1)), 8, 0), (1, 9, 0), (1, 8, 1)])
def test_no_pad_is_left_where_same_can_say_it(padding, size, left):
    model = keras.Sequential(
        [keras.Input((size, size, 3)), keras.layers.ZeroPadding2D(padding), keras.layers.Conv2D(4, 3, 2)]
    )
    assert to_tflite(lower(model, LoweringConfig())).operation_counts.get("PAD", 0) == left


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("se_mobilenet", {"alpha": 0.25}),
        *(pytest.param(name, {}, marks=pytest.mark.slow) for name in ("se_resnet18", "mobilenet_v3_small")),
    ],
)
def test_there_is_no_pad_and_no_reshape_in_a_network_of_ours(name, arguments):
    model = keras_se.create_model(name, input_shape=(64, 64, 3), classes=10, **arguments)
    assert not {"PAD", "PADV2", "RESHAPE"} & to_tflite(lower(model, LOWERINGS[-1])).operation_counts.keys()


def test_a_form_that_makes_no_difference_is_not_needed():
    plain = keras_se.create_model("se_mobilenet", placement="none", input_shape=(32, 32, 3), classes=10)
    assert {effective_config(plain, lowering) for lowering in LOWERINGS} == {LoweringConfig()}
    assert lower(plain, LoweringConfig()) is plain


class Normalised(keras.Model):
    def __init__(self):
        super().__init__()
        self.normal = keras.layers.BatchNormalization()

    def call(self, x):
        return self.normal(x)


def test_a_sequential_model_from_a_file_is_rewritten(tmp_path):
    """Loading it calls its layers anew."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, activation="hard_swish"),
            keras.layers.AveragePooling2D(3, 1, padding="same"),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    images = np.random.default_rng(0).random((2, 8, 8, 3), "float32")
    written = lower(loaded, ONE_PARTITION)
    assert not {"HARD_SWISH", "AVERAGE_POOL_2D"} & to_tflite(written).operation_counts.keys()
    np.testing.assert_allclose(written.predict_on_batch(images), model.predict_on_batch(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["shared", "channels_first", "of a class of its own", "around one", "twice named"])
def test_what_cannot_be_rewritten_stays(kind):
    inputs = keras.Input((8, 8, 4))
    if kind == "shared":
        swish = keras.layers.Conv2D(4, 3, padding="same", activation="hard_swish")
        model = keras.Model(inputs, swish(swish(inputs)))
    elif kind == "channels_first":
        model = keras.Model(inputs, keras_se.SqueezeExcite(2, data_format="channels_first")(inputs))
    elif kind == "of a class of its own":
        model = Normalised()
        model(np.zeros((1, 8, 8, 4)))
    elif kind == "around one":
        image = keras.Input((8, 8, 4))
        inner = keras.Model(image, Normalised()(image))
        model = keras.Model(inputs, keras.layers.AveragePooling2D(2)(inner(inputs)))
    else:
        parts = [keras.Sequential([keras.layers.Conv2D(4, 1, name="same")]) for _ in range(2)]
        model = keras.Model(inputs, keras.layers.AveragePooling2D(2)(parts[0](parts[1](inputs))))
    assert lower(model, LOWERINGS[-1]) is model
    assert effective_config(model, LOWERINGS[-1]) == LoweringConfig()


@pytest.fixture
def swishing():
    """A network with hard swishes and a hard gate, small enough to be converted in a second."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, 2, activation="hard_swish")(inputs)
    x = keras_se.SqueezeExcite(4, gate="hard_sigmoid")(keras.layers.Conv2D(8, 3, activation="hard_swish")(x))
    return keras.Model(inputs, keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x)), name="swishing")


def test_export_writes_each_recipe_in_its_form(tmp_path, swishing):
    model = swishing
    images = np.random.default_rng(0).random((8, 32, 32, 3), "float32")
    kinds = {
        artifact.recipe: artifact.manifest["operations"] for artifact in export(model, tmp_path, calibration=images)
    }
    assert "HARD_SWISH" in kinds["float32"]
    assert "HARD_SWISH" not in kinds["static_wi8_ai8"]


def test_parity_and_diagnosis_know_the_forms(tmp_path, swishing, capsys):
    """The int8 file's constants are not the float file's: a sixth is in the weights."""
    model = swishing
    model.save(tmp_path / "model.keras")
    images = np.random.default_rng(0).random((40, 32, 32, 3), "float32")
    artifacts = export(model, tmp_path, recipes=("float32", "static_wi8_ai8"), calibration=images)
    float32, int8 = (artifact.path for artifact in artifacts)
    rows = compare_all(model, [float32, int8], images[:4], engines=["litert"])
    assert all("constant" not in failure for row in rows for failure in row.failures), rows
    arguments = [str(int8), "--data", "digits", "--images", "2", "--json"]
    assert main.run(["diagnose", str(float32), *arguments]) == 2
    assert "another form" in capsys.readouterr().err
    assert main.run(["diagnose", str(tmp_path / "model.keras"), *arguments]) == 0
