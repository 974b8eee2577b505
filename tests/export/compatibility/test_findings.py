"""A finding names the layer, the reason and a remedy that holds, and export refuses what check refuses."""

import contextlib
import sys

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_se.errors import InputError
from keras_se.export import check, export
from keras_se.export.compatibility.checker import missing_tool
from keras_se.export.mixed_precision import export_mixed_precision
from keras_se.export.qat.rewriting import quantize_aware
from keras_se.export.runtimes.registry import ENGINES
from keras_se.export.tflite.model import TFLiteModel


def test_the_finding_names_the_layer_the_reason_and_the_rewrite():
    inputs = keras.Input((8, 8, 3))
    inner_image = keras.Input((8, 8, 3))
    inner = keras.Model(inner_image, layers.ELU(name="leak")(inner_image), name="inner")
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(inner(inputs)))
    [finding] = check(model, "tflite_micro")
    assert (finding.layer, finding.kind, finding.verdict) == ("inner/leak", "ELU", "refused")
    assert finding.recipes == ("static_wi8_ai8", "static_wi8_ai16")
    assert finding.reason == "ELU has no integer form, and the target has no floats"
    assert finding.instead.startswith("build and train it with relu")


@pytest.mark.parametrize(
    ("layer", "found"),
    [
        (layers.LeakyReLU(0.1), []),
        (layers.PReLU(shared_axes=[1, 2]), []),
        (layers.Activation("leaky_relu"), []),
        (layers.SeparableConv2D(4, 3, activation="leaky_relu"), ["LEAKY_RELU"]),
        (layers.LeakyReLU(1.5), ["LEAKY_RELU"]),
        (layers.PReLU(), ["PRELU"]),
        (layers.PReLU("ones", shared_axes=[1, 2]), []),
    ],
)
def test_what_has_no_integer_form_is_refused_where_it_is_not_rewritten(layer, found, tmp_path):
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, layers.Flatten()(layer(image)))
    findings = check(model, "tflite_micro", recipes=["static_wi8_ai8"])
    assert [name for finding in findings for name in found if name in finding.reason] == found
    assert bool(findings) == bool(found)
    images = np.random.default_rng(0).random((2, 8, 8, 3), "float32")
    refused = pytest.raises(InputError) if found else contextlib.nullcontext()
    with refused:
        export(model, tmp_path, recipes=("static_wi8_ai8",), target="tflite_micro", calibration=images)


def test_a_sequential_model_is_read_too():
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.ELU(), layers.Flatten(), layers.Dense(2)])
    assert [finding.kind for finding in check(model, "phone_gpu")] == ["ELU"]


def test_a_layer_of_elsewhere_is_unknown():
    class Own(layers.Layer):
        def call(self, x):
            return x

    inputs = keras.Input((8, 8, 3))
    [finding] = check(keras.Model(inputs, layers.Flatten()(Own(name="mine")(inputs))), "edgetpu")
    assert (finding.layer, finding.kind, finding.verdict) == ("mine", "Own", "unknown")


def test_a_quantization_aware_model_is_known(tmp_path):
    """It is exported as it is: its hard swish was written as a product when it was made."""
    inputs = keras.Input((8, 8, 3))
    swish = layers.Conv2D(4, 3, activation="hard_silu", name="swish")(inputs)
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(swish))
    aware = quantize_aware(model, calibration=np.random.default_rng(0).random((2, 8, 8, 3), "float32"))
    assert check(aware, "tflite_micro", recipes=["static_wi8_ai8"]) == []
    assert check(aware, "edgetpu") == []
    assert export(aware, tmp_path, recipes=("static_wi8_ai8",), target="edgetpu")  # which lints the file


def ending(*end):
    """A classifier's body with these layers at its end."""
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, name="stem")(inputs)
    for layer in end:
        x = layer(x)
    return keras.Model(inputs, x, name="net")


@pytest.mark.parametrize(
    ("end", "layer", "reason"),
    [
        ([layers.Softmax], "softmax", "takes classifiers, which give (batch, classes); this network gives"),
        ([layers.GlobalAveragePooling2D], "global", "this network ends in GlobalAveragePooling2D"),
        ([layers.Flatten, lambda: layers.Dense(5, name="logits")], "logits", "this network ends in Dense"),
        ([layers.Flatten, lambda: layers.Dense(5, name="logits"), lambda: layers.Dropout(0.1)], "logits", "in Dense"),
    ],
    ids=["segmentation", "embedding", "logits", "logits behind a dropout"],
)
def test_check_and_export_refuse_for_mediapipe_what_gives_no_scores(end, layer, reason, tmp_path):
    model = ending(*(make() for make in end))
    [finding] = check(model, "mediapipe", recipes=["float32"])
    assert finding.layer.startswith(layer)
    assert (finding.verdict, finding.recipes) == ("refused", ("float32",))
    assert reason in finding.reason
    with pytest.raises(InputError) as error:
        export(model, tmp_path, recipes=["float32"], target="mediapipe")
    assert finding.reason in str(error.value)
    assert check(model, "phone_cpu", recipes=["float32"]) == []


@pytest.mark.parametrize(
    "end",
    [
        [layers.Flatten, lambda: layers.Dense(5, activation="sigmoid")],
        [layers.Flatten, layers.Softmax, lambda: layers.Activation("linear")],
        [layers.Flatten, lambda: ops.softmax],
        [layers.Flatten, lambda: keras.Sequential([layers.Dense(5), layers.Activation("softmax")])],
    ],
    ids=["sigmoid", "a layer that does nothing", "an operation", "a model within"],
)
def test_check_and_export_take_for_mediapipe_what_gives_scores(end, tmp_path):
    model = ending(*(make() for make in end))
    assert "refused" not in {finding.verdict for finding in check(model, "mediapipe", recipes=["float32"])}
    [artifact] = export(model, tmp_path, recipes=["float32"], target="mediapipe")
    assert artifact.path.is_file()


@pytest.mark.parametrize("recipe", ["float16", "dynamic_wi8_afp32", "weight_only_wi8_afp32"])
def test_a_loop_is_exported_in_every_recipe_with_floats(recipe, tmp_path):
    """Its body is a graph of its own in the file."""
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).random((4, 8, 8, 3), "float32")
    model = ending(layers.Reshape((4, 36)), layers.LSTM(4), layers.Dense(5, activation="softmax"))
    [artifact] = export(model, tmp_path, recipes=[recipe])
    scores = ENGINES["litert"].run(artifact.path.read_bytes(), images).values
    # Weights rounded to 8 bits move a score by some thousandths.
    np.testing.assert_allclose(scores, model.predict(images, verbose=0), rtol=0, atol=0.01)


@pytest.mark.parametrize("layer", [layers.LSTM, pytest.param(layers.GRU, marks=pytest.mark.slow)])
def test_an_unrolled_layer_is_static_int8_as_the_remedy_of_a_loop_says(layer, tmp_path):
    """Its first step starts from zeros, so that a part of a split is read by nothing."""
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).random((20, 8, 8, 3), "float32")
    looped, unrolled = (
        ending(layers.Reshape((4, 36)), layer(4, unroll=unroll, name="memory"), layers.Dense(5, activation="softmax"))
        for unroll in (False, True)
    )
    [finding] = check(looped, "tflite_micro", recipes=["static_wi8_ai8"])
    assert (finding.layer, finding.instead) == ("memory", "use unroll=True")
    unrolled.set_weights(looped.get_weights())
    assert check(unrolled, "tflite_micro", recipes=["static_wi8_ai8"]) == []
    for target, engine in (("tflite_micro", "tflm"), ("phone_cpu", "litert")):
        [artifact] = export(unrolled, tmp_path / target, recipes=["static_wi8_ai8"], target=target, calibration=images)
        assert not TFLiteModel(artifact.path.read_bytes()).float_operations
        scores = ENGINES[engine].run(artifact.path.read_bytes(), images).values
        # The softmax has steps of 1/256; the layers before it lose as much again in each of four steps of time.
        np.testing.assert_allclose(scores, looped.predict(images, verbose=0), rtol=0, atol=8 / 256)


def test_an_input_too_large_for_the_arena_is_refused_before_anything_is_converted(monkeypatch, tmp_path):
    """Its map alone takes 2 x 64 x 1024 x 1024 bytes."""
    inputs = keras.Input((1024, 1024, 3))
    x = layers.Conv2D(64, 1, name="second")(layers.Conv2D(64, 1, name="first")(inputs))
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(x))
    monkeypatch.setattr("keras_se.export.pipeline.to_tflite", None)
    line = (
        r"^tflite_micro has an arena of at most 64 MiB; the input and output of second take 128 MiB in static_wi8_ai8"
    )
    with pytest.raises(InputError, match=line):
        export(model, tmp_path, recipes=["static_wi8_ai8"], target="tflite_micro")
    images = np.zeros((1, 1024, 1024, 3), "float32")
    with pytest.raises(InputError, match=line):
        export_mixed_precision(
            model,
            tmp_path,
            calibration=images,
            images=images,
            labels=np.zeros(1, int),
            target="tflite_micro",
            max_drop=100,  # one image leaves 65 points open
        )
    findings = check(model, "tflite_micro")
    assert [finding.recipes for finding in findings] == [("static_wi8_ai8",), ("static_wi8_ai16",)]
    assert check(model, "ethos_u55_128") == []


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("ethos_u55_128", "ethosu.vela is not installed; pip install 'keras-se[ethos]'"),
        ("tflite_micro", "tflite_micro is not installed; pip install 'keras-se[edge]'"),
        ("openvino", "openvino is not installed; pip install 'keras-se[openvino]'"),
    ],
)
def test_a_missing_tool_is_named(target, line, monkeypatch):
    for module in ("ethosu.vela", "tflite_micro", "openvino"):
        monkeypatch.setitem(sys.modules, module, None)
    assert missing_tool(target) == line
    assert missing_tool("phone_cpu") is None


def test_a_vendors_sdk_is_missing_here():
    assert missing_tool("qualcomm_sm8750").startswith("qualcomm_sm8750 needs its vendor's compiler; ai-edge-litert-sdk")
