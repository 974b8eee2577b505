"""What `check` says of a layer is what the target's own tool says of the file; and each row of its tables is tried."""

import dataclasses
import functools
import json
import sys

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_se
from keras_se.cli import main
from keras_se.errors import InputError
from keras_se.export import RECIPES, check, export
from keras_se.export.compatibility.checker import missing_tool
from keras_se.export.compatibility.layer_ops import ACTIVATIONS, LAYERS, OPERATIONS, becomes, operations_of
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.conversion.lowering import lower
from keras_se.export.conversion.matching import effective_config
from keras_se.export.exporter import activation_ranges
from keras_se.export.mixed_precision import export_mixed_precision
from keras_se.export.qat.rewriting import quantize_aware
from keras_se.export.quantization.quantizer import quantize
from keras_se.export.runtimes.litert import xnnpack_partitions
from keras_se.export.runtimes.registry import ENGINES
from keras_se.export.targets.base import FORMAT_LIMITS, USES, QuantizedModel
from keras_se.export.targets.registry import TARGETS
from keras_se.export.tflite.model import TFLiteModel
from keras_se.preprocessing import Preprocessing
from keras_se.registry import list_models

TRIED = ("phone_cpu", "phone_gpu", "mediapipe", "browser", "edgetpu", "tflite_micro", "ethos_u55_128")
FORMATS = ("float32", "static_wi8_ai8", "static_wi8_ai16")


def steps(x):
    """Four vectors of 256: an unrolled layer is slow to convert."""
    return layers.Reshape((4, 256))(x)


def rows(x):
    return layers.Reshape((256, 4))(x)


def image(x):
    return layers.Reshape((16, 16, 4))(x)


def twice(x):
    """A layer that is called twice is not rewritten."""
    swish = layers.Conv2D(4, 3, padding="same", activation="hard_silu")
    return swish(swish(x))


def two(join):
    return lambda x: join()([x, layers.Conv2D(4, 1)(x)])


CASES = {
    **{kind.__name__: two(kind) for kind in (layers.Add, layers.Average, layers.Concatenate, layers.Maximum)},
    **{kind.__name__: two(kind) for kind in (layers.Minimum, layers.Multiply, layers.Subtract)},
    **{function.__name__: layers.Activation(function) for function in ACTIVATIONS},
    "Activation": layers.Activation("silu"),
    "AveragePooling2D": layers.AveragePooling2D(2),
    "AveragePooling2D wide": layers.AveragePooling2D(12, strides=1, padding="same"),
    "BatchNormalization": layers.BatchNormalization(),
    "Conv1D": lambda x: layers.Reshape((1, 254, 4))(layers.Conv1D(4, 3)(rows(x))),
    "Conv2D": layers.Conv2D(4, 3, dilation_rate=2),
    "Conv2D uneven": layers.Conv2D(4, 3, dilation_rate=(1, 2)),
    "Conv2DTranspose": layers.Conv2DTranspose(4, 3, strides=2, padding="same"),
    "Cropping2D": layers.Cropping2D(2),
    "Dense": layers.Dense(4),
    "Dense of one vector": lambda x: layers.Dense(4)(layers.GlobalAveragePooling2D(keepdims=True)(x)),
    "DepthwiseConv2D": layers.DepthwiseConv2D(3),
    "Dense of many vectors": lambda x: image(layers.Dense(4)(rows(x))),
    "Dot": lambda x: layers.Reshape((2, 2, 4))(layers.Dot(1)([rows(x), rows(x)])),
    "Dropout": layers.Dropout(0.1),
    "ELU": layers.ELU(),
    "EinsumDense": lambda x: image(layers.EinsumDense("abc,cd->abd", (None, 4))(rows(x))),
    "Flatten": lambda x: layers.Reshape((16, 16, 4))(layers.Flatten()(x)),
    "GRU": lambda x: layers.Reshape((1, 1, 4))(layers.GRU(4)(rows(x))),
    "GRU unrolled": lambda x: layers.Reshape((1, 1, 4))(layers.GRU(4, unroll=True)(steps(x))),
    "GaussianNoise": layers.GaussianNoise(0.1),
    "GlobalAveragePooling2D": layers.GlobalAveragePooling2D(keepdims=True),
    "GlobalMaxPooling2D": layers.GlobalMaxPooling2D(keepdims=True),
    "GroupNormalization": layers.GroupNormalization(2),
    "InputLayer": layers.Activation("linear"),
    "LSTM": lambda x: layers.Reshape((1, 1, 4))(layers.LSTM(4)(rows(x))),
    "LSTM unrolled": lambda x: layers.Reshape((1, 1, 4))(layers.LSTM(4, unroll=True)(steps(x))),
    "LayerNormalization": layers.LayerNormalization(),
    "LeakyReLU": layers.LeakyReLU(),
    "MaxPooling2D": layers.MaxPooling2D(2),
    "MultiHeadAttention": lambda x: image((lambda t: layers.MultiHeadAttention(2, 2)(t, t))(rows(x))),
    "Normalization": layers.Normalization(mean=[0.0] * 4, variance=[2.0] * 4),
    "PReLU": layers.PReLU(shared_axes=[1, 2]),
    "Permute": layers.Permute((2, 1, 3)),
    "RMSNormalization": layers.RMSNormalization(),
    "RandomFlip": layers.RandomFlip(),
    "ReLU": layers.ReLU(),
    "ReLU to 3": layers.ReLU(3.0),
    "ReLU with a slope": layers.ReLU(negative_slope=0.1),
    "ReLU with a threshold": layers.ReLU(threshold=0.1),
    "Rescaling": layers.Rescaling(2.0, 1.0),
    "Reshape": layers.Reshape((8, 32, 4)),
    "Reshape to five dimensions": lambda x: image(layers.Permute((1, 2, 4, 3))(layers.Reshape((16, 16, 2, 2))(x))),
    "Resizing bicubic": layers.Resizing(8, 8, interpolation="bicubic"),
    "Resizing bilinear": layers.Resizing(8, 8),
    "Resizing nearest": layers.Resizing(8, 8, interpolation="nearest"),
    "Resizing to four times": layers.Resizing(64, 64),
    "Resizing to twice, nearest": layers.Resizing(32, 32, interpolation="nearest"),
    "Resizing to four times, nearest": layers.Resizing(64, 64, interpolation="nearest"),
    "Resizing to three times": layers.Resizing(48, 48),
    "Resizing to one direction's twice": layers.Resizing(16, 32),
    "SeparableConv2D": layers.SeparableConv2D(4, 3),
    "Softmax": layers.Softmax(),
    "SqueezeExcite": keras_se.SqueezeExcite(2),
    "SqueezeExcite by channels first": keras_se.SqueezeExcite(2, data_format="channels_first"),
    "SqueezeExcite by the maximum": keras_se.SqueezeExcite(2, squeeze="max"),
    "SqueezeExcite by softmax": keras_se.SqueezeExcite(2, gate="softmax"),
    "SqueezeExcite without": keras_se.SqueezeExcite(2, squeeze="none"),
    "UnitNormalization": layers.UnitNormalization(),
    "UpSampling2D": layers.UpSampling2D(2),
    "UpSampling2D bilinear": layers.UpSampling2D(2, interpolation="bilinear"),
    "ZeroPadding2D": layers.ZeroPadding2D(2),
    "hard_silu twice": twice,
    "ops.Add": lambda x: x + layers.Conv2D(4, 1)(x),
    "ops.Exp": ops.exp,
    "ops.Flip": lambda x: ops.flip(x, 3),
    "ops.HardSilu": ops.hard_silu,
    "ops.Multiply": lambda x: x * layers.Conv2D(4, 1)(x),
    "ops.Pad": lambda x: ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]),
    "ops.Subtract": lambda x: x - layers.Conv2D(4, 1)(x),
    "ops.TopK": lambda x: ops.top_k(x, 2)[0],
}
SMALL = ("mobilenet_v3_small", "se_mobilenet", "se_resnet20_cifar", "se_shufflenet")
FAST = ("GlobalMaxPooling2D", "LSTM unrolled")


@functools.cache
def network(case):
    """A network with the layer in its middle."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3), name="image")
    x = CASES[case](layers.Conv2D(4, 3, padding="same", name="stem")(inputs))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1, name="after")(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax", name="logits")(x), name="net")


class Tools:
    """What the targets' own tools make of a network."""

    def __init__(self, model):
        self._model = model
        self._files = {}

    def verdict(self, target, recipe):
        try:
            content = self._file(target, RECIPES[recipe])
            size = Preprocessing(*self._model.input_shape[1:3])
            TARGETS[target].package_for_target(QuantizedModel(content, RECIPES[recipe], "net", size, None))
            on_xnnpack = TARGETS[target].xnnpack and recipe != "static_wi8_ai16"
            return "slow" if on_xnnpack and xnnpack_partitions(content) > 1 else None
        except InputError:
            return "refused"

    def _file(self, target, recipe):
        lowering = effective_config(self._model, TARGETS[target].lowering(recipe))
        if (lowering, recipe.name) not in self._files:
            size = self._model.input_shape[1:]
            content = to_tflite(lower(self._model, lowering))
            images = np.random.default_rng(0).random((2, *size), "float32")
            ranges = None
            if recipe.calibrated:
                ranges = activation_ranges(content, images, Preprocessing(*size[:2]), "min_max")
            self._files[lowering, recipe.name] = quantize(content, recipe, ranges)
        return self._files[lowering, recipe.name]


def said(model, target, recipe):
    """The worst that `check` says of a network."""
    verdicts = {one.verdict for one in check(model, target, recipes=[recipe])}
    return next((one for one in ("unknown", "refused", "slow") if one in verdicts), None)


@pytest.mark.parametrize("case", [pytest.param(one, marks=() if one in FAST else pytest.mark.slow) for one in CASES])
def test_check_says_what_the_tools_say(case):
    model = network(case)
    tools = Tools(model)
    pairs = [
        (target, recipe) for target in TRIED for recipe in FORMATS if recipe not in TARGETS[target].unsupported_recipes
    ]
    expected = {pair: tools.verdict(*pair) for pair in pairs}
    assert {pair: said(model, *pair) for pair in pairs} == expected


@pytest.mark.parametrize("case", [pytest.param(one, marks=() if one in FAST else pytest.mark.slow) for one in CASES])
def test_a_layer_becomes_the_operations_of_its_row(case):
    """Of those that some target has trouble with."""
    model = network(case)
    told = {name for _, one in operations_of(model) for row in becomes(one) for name in row.operations}
    if case == "Resizing bicubic":
        with pytest.raises(InputError, match=r"no operation for ResizeBicubic of the layer resizing"):
            to_tflite(model)
        return
    listed = troublesome() - set(USES)
    assert told - set(USES) == listed & set(to_tflite(model).operation_names)


@functools.cache
def troublesome():
    """Every operation in the tables."""
    rows = [row for case in CASES for _, one in operations_of(network(case)) for row in becomes(one)]
    return {name for row in rows for name in row.operations}


def test_every_row_has_a_case():
    tried = [operation for case in CASES for _, operation in operations_of(network(case))]
    kinds = {next((kind for kind in LAYERS if isinstance(one, kind)), type(one).__name__) for one in tried}
    assert kinds == {*LAYERS, *OPERATIONS} - _of_quantization_aware_models()
    functions = {getattr(one, name, None) for one in tried for name in ("activation", "gate")}
    assert set(ACTIVATIONS) <= functions
    limits = [limit for target in TARGETS.values() for limit in (*FORMAT_LIMITS, *target.limits)]
    assert all(any(name in limit.operations for name in troublesome()) for limit in limits)


def _of_quantization_aware_models():
    return {kind for kind in LAYERS if kind.__module__.endswith("fake_quant")}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SMALL else pytest.mark.slow) for name in list_models()]
)
def test_nothing_of_our_networks_is_refused(name):
    """Other tests export them."""
    size = 96 if "inception" in name else 64
    model = keras_se.create_model(name, input_shape=(size, size, 3), classes=10)
    for target in TARGETS:
        assert {one.verdict for one in check(model, target)} <= {"slow"}, target


@pytest.mark.slow
@pytest.mark.parametrize("target", TRIED)
@pytest.mark.parametrize("name", SMALL)
def test_our_networks_run_on_every_target(name, target, randomise):
    model = keras_se.create_model(name, input_shape=(64, 64, 3), classes=10)
    randomise(model, 0)
    tools = Tools(model)
    for recipe in FORMATS:
        if recipe not in TARGETS[target].unsupported_recipes:
            assert tools.verdict(target, recipe) == said(model, target, recipe)


def test_the_finding_names_the_layer_the_reason_and_the_rewrite():
    inputs = keras.Input((8, 8, 3))
    inner_image = keras.Input((8, 8, 3))
    inner = keras.Model(inner_image, layers.LeakyReLU(name="leak")(inner_image), name="inner")
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(inner(inputs)))
    [found] = check(model, "tflite_micro")
    assert (found.layer, found.kind, found.verdict) == ("inner/leak", "LeakyReLU", "refused")
    assert found.recipes == ("static_wi8_ai8", "static_wi8_ai16")
    assert found.reason == "LEAKY_RELU has no integer form, and the target has no floats"
    assert found.instead.startswith("build and train it with relu")


def test_a_sequential_model_is_read_too():
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.ELU(), layers.Flatten(), layers.Dense(2)])
    assert [one.kind for one in check(model, "phone_gpu")] == ["ELU"]


def test_a_layer_of_elsewhere_is_unknown():
    class Own(layers.Layer):
        def call(self, x):
            return x

    inputs = keras.Input((8, 8, 3))
    [found] = check(keras.Model(inputs, layers.Flatten()(Own(name="mine")(inputs))), "edgetpu")
    assert (found.layer, found.kind, found.verdict) == ("mine", "Own", "unknown")


def test_a_quantization_aware_model_is_known(tmp_path):
    """It is exported as it is: its hard swish was written as a product when it was made."""
    inputs = keras.Input((8, 8, 3))
    swish = layers.Conv2D(4, 3, activation="hard_silu", name="swish")(inputs)
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(swish))
    aware = quantize_aware(model, calibration=np.random.default_rng(0).random((2, 8, 8, 3), "float32"))
    assert check(aware, "tflite_micro", recipes=["static_wi8_ai8"]) == []
    assert check(aware, "edgetpu") == []
    assert export(aware, tmp_path, recipes=("static_wi8_ai8",), target="edgetpu")  # which lints the file


@pytest.mark.parametrize("target", ["mediapipe", "browser"])
def test_a_grey_input_is_refused(target):
    inputs = keras.Input((8, 8, 1), name="grey")
    model = keras.Model(inputs, layers.Activation("sigmoid")(layers.GlobalAveragePooling2D()(inputs)))
    [found] = check(model, target)
    assert (found.layer, found.verdict) == ("grey", "refused")
    assert Tools(model).verdict(target, "float32") == "refused"


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


@pytest.mark.parametrize("layer", [layers.LSTM, layers.GRU])
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
    """The map alone: 2 x 64 x 1024 x 1024 bytes."""
    inputs = keras.Input((1024, 1024, 3))
    x = layers.Conv2D(64, 1, name="second")(layers.Conv2D(64, 1, name="first")(inputs))
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(x))
    for module in ("exporter", "mixed_precision"):
        monkeypatch.setattr(f"keras_se.export.{module}.to_tflite", None)
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
    found = check(model, "tflite_micro")
    assert [one.recipes for one in found] == [("static_wi8_ai8",), ("static_wi8_ai16",)]
    assert check(model, "ethos_u55_128") == []


def test_the_error_of_export_names_the_keras_layer(tmp_path):
    images = np.random.default_rng(0).random((2, 16, 16, 3), "float32")
    with pytest.raises(InputError, match=r"in the Keras model: GlobalMaxPooling2D global_max\w+ \(REDUCE_MAX has no"):
        export(network("GlobalMaxPooling2D"), tmp_path, recipes=FORMATS[1:2], target="edgetpu", calibration=images)


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


def test_the_command_prints_the_findings_and_its_status_tells(tmp_path, capsys):
    path = tmp_path / "model.keras"
    network("GlobalMaxPooling2D").save(path)
    assert main.run(["check", str(path)]) == 0
    assert "nothing is known that phone_cpu would refuse or run slowly" in capsys.readouterr().out
    assert main.run(["check", str(path), "--target", "edgetpu", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    expected = [dataclasses.asdict(one) for one in check(network("GlobalMaxPooling2D"), "edgetpu")]
    assert found == json.loads(json.dumps(expected))
    assert main.run(["check", str(path), "--target", "edgetpu"]) == 1
    printed = capsys.readouterr().out
    assert "REDUCE_MAX has no integer form, and the target has no floats; take the average" in printed
    assert main.run(["check", str(path), "--recipes", "float32", "--target", "edgetpu"]) == 2
