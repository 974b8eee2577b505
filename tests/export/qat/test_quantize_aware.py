"""A quantization-aware model and its int8 file compute the same."""

from typing import NamedTuple

import keras
import numpy as np
import pytest
from rounded_operations import ONE_STEP, operations_apart

import keras_se
from keras_se.errors import InputError
from keras_se.export import export, quantize_aware
from keras_se.export.mixed_precision import export_mixed_precision
from keras_se.export.qat.fake_quant import FakeQuantize, RoundedWeights
from keras_se.export.runtimes.keras_model import run_keras
from keras_se.export.runtimes.registry import find_engine
from keras_se.export.tflite.model import TFLiteModel

RNG = np.random.default_rng(0)


class Tuned(NamedTuple):
    """A quantization-aware model that was trained on for some updates."""

    model: keras.Model
    before: list[np.ndarray]
    """Its weights before."""
    losses: list[float]
    """Loss of each epoch."""


@pytest.fixture(scope="module")
def tuned(trained) -> Tuned:
    model = quantize_aware(trained.model, calibration=trained.images[:50])
    before = [np.array(weight) for weight in model.get_weights()]
    return Tuned(model, before, fit(model, trained.images).history["loss"])


@pytest.fixture(scope="module")
def aware(tuned) -> keras.Model:
    """Trained network, made quantization-aware."""
    return tuned.model


def fit(model, images, epochs=2):
    """Some updates towards the classes that the model gives already."""
    labels = np.eye(model.output_shape[-1], dtype="float32")[model.predict(images, verbose=0).argmax(1)]
    # With momentum, ten times the rate, the network in float rises and falls by the order of the batches.
    model.compile(keras.optimizers.SGD(0.001), "categorical_crossentropy")
    return model.fit(images, labels, batch_size=16, epochs=epochs, shuffle=False, verbose=0)


@pytest.fixture(scope="module")
def int8(aware, tmp_path_factory):
    [artifact] = export(aware, tmp_path_factory.mktemp("aware"), recipes=("static_wi8_ai8",))
    return artifact


def logits(path, images, engine):
    return find_engine(engine).run(TFLiteModel.load(path).without_softmax.content, images)


def steps_apart(model, path, images, engine):
    got = logits(path, images, engine)
    return np.abs(got.values - run_keras(model, images).values) / got.lsb


@pytest.mark.parametrize("engine", ["litert", "litert_reference", "tflm"])
def test_logits_of_a_small_file_are_within_a_step(engine, randomise, tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    x = keras.layers.BatchNormalization()(keras.layers.DepthwiseConv2D(3, use_bias=False)(x))
    x = keras.layers.GlobalAveragePooling2D()(keras_se.SqueezeExcite(4)(keras.layers.ReLU()(x)))
    model = keras.Model(inputs, keras.layers.Dense(10)(x))
    randomise(model, 0)
    images = RNG.random((64, 16, 16, 3)).astype("float32")
    aware = quantize_aware(model, calibration=images)
    [artifact] = export(aware, tmp_path, recipes=("static_wi8_ai8",))
    assert steps_apart(aware, artifact.path, images, engine).max() <= ONE_STEP


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["litert", "litert_reference", "tflm"])
def test_a_deep_file_has_the_models_classes(aware, int8, trained, engine):
    """A step more or less in one of 92 operations becomes up to 26 of the logits' steps here; in the median, one."""
    got = logits(int8.path, trained.images, engine).values
    chosen = run_keras(aware, trained.images).values.argmax(1)
    assert np.mean(got[np.arange(len(got)), chosen] == got.max(1)) >= 0.995
    assert np.median(steps_apart(aware, int8.path, trained.images, engine)) <= ONE_STEP


def test_the_file_holds_integers_only(int8):
    assert set(TFLiteModel(int8.path.read_bytes()).dtype_counts) == {"INT8", "INT32"}
    assert int8.manifest["xnnpack_partitions"] == 1


def test_each_operation_is_within_a_step_on_the_same_inputs(aware, int8, trained):
    compared = operations_apart(aware, TFLiteModel(int8.path.read_bytes()), trained.images[:3])
    assert len(compared) == len(TFLiteModel(int8.path.read_bytes()).operation_names) - 1  # the softmax is not rounded
    assert {name: steps for name, steps in compared.items() if steps > ONE_STEP} == {}


def test_ranges_and_weights_go_through_a_file(aware, int8, trained, tmp_path):
    aware.save(tmp_path / "aware.keras")
    again = keras.models.load_model(tmp_path / "aware.keras")
    np.testing.assert_array_equal(again(trained.images), aware(trained.images))
    [after] = export(tmp_path / "aware.keras", tmp_path, recipes=("static_wi8_ai8",))
    assert after.path.read_bytes() == int8.path.read_bytes()


def test_training_lowers_the_loss_and_moves_weights_and_ranges(tuned):
    model, before, losses = tuned
    assert losses[-1] < losses[0]
    ends = [layer.ends for layer in model.layers if isinstance(layer, FakeQuantize) and layer.learned]
    assert len(ends) > 60
    moved = [
        variable.path
        for variable, weight in zip(model.weights, before, strict=True)
        if not np.array_equal(variable, weight)
    ]
    assert sum("range" in path for path in moved) > 10
    assert sum("kernel" in path for path in moved) == sum("kernel" in variable.path for variable in model.weights)


def test_frozen_ranges_are_those_of_the_calibration(trained):
    model = quantize_aware(trained.model, calibration=trained.images[:20], learned=False)
    assert not [weight.path for weight in model.weights if "range" in weight.path]
    assert all(isinstance(layer, (FakeQuantize, RoundedWeights)) or not layer.weights for layer in model.layers)
    exact = keras.Model(trained.model.input, trained.model.get_layer("stem_act").output)
    assert model.get_layer("stem_act_range").range()[1] == pytest.approx(exact.predict(trained.images[:20]).max(), 1e-5)


def test_the_gate_has_256_steps_to_one_and_the_mean_a_range_of_its_own(aware):
    assert aware.get_layer("block1_se_expand_sigmoid_range").range() == (0.0, 255 / 256)
    mean, before = aware.get_layer("block1_se_squeeze_range"), aware.get_layer("block1_pointwise_act_range")
    assert mean.range()[1] < before.range()[1]


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_and_exports(policy, tmp_path):
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = keras_se.create_model("se_mobilenet", input_shape=(32, 32, 3), classes=4, alpha=0.1, r=2)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    images = RNG.random((16, 32, 32, 3)).astype("float32")
    aware = quantize_aware(model, calibration=images)
    assert np.isfinite(fit(aware, images).history["loss"]).all()
    computing = [layer.layer if isinstance(layer, RoundedWeights) else layer for layer in aware.layers]
    computing = [layer for layer in computing if layer.name not in ("image", "input_range")]
    assert {layer.compute_dtype for layer in computing} == {policy.removeprefix("mixed_")}
    [artifact] = export(aware, tmp_path, recipes=("static_wi8_ai8",))
    assert set(artifact.manifest["dtypes"]) == {"INT8", "INT32"}


def test_other_formats_are_refused(aware, tmp_path):
    with pytest.raises(InputError, match="takes the recipe static_wi8_ai8 alone; got float32, float16"):
        export(aware, tmp_path / "out", recipes=("float32", "static_wi8_ai8", "float16"))
    assert not list(tmp_path.glob("out/*"))


def test_a_search_from_it_is_refused(aware, trained, tmp_path):
    with pytest.raises(InputError, match="a search starts from a float model"):
        export_mixed_precision(
            aware,
            tmp_path,
            max_drop=10,
            calibration=trained.images,
            images=trained.images,
            labels=np.zeros(100, "int32"),
        )


@pytest.mark.slow
def test_the_engine_tfmot_is_a_model_of_tf_keras(trained):
    """tests/export/tfmot/test_tfmot.py tests what it computes, and its file."""
    model = quantize_aware(trained.model, calibration=trained.images[:8], engine="tfmot")
    assert type(model).__module__.startswith("tf_keras")
    assert model.output_shape == trained.model.output_shape
