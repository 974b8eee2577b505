"""What `check` says of a layer is what the target's own tool says of the file; and each row of its tables is tried."""

import dataclasses
import functools
import json

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_se
from keras_se.cli import main
from keras_se.errors import InputError
from keras_se.export import RECIPES, check, export
from keras_se.export.compatibility.layer_ops import ACTIVATIONS, LAYERS, OPERATIONS, becomes, operations_of
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.conversion.lowering import lower
from keras_se.export.conversion.matching import effective_config
from keras_se.export.pipeline import activation_ranges
from keras_se.export.quantization.quantizer import quantize
from keras_se.export.runtimes.litert import xnnpack_partitions
from keras_se.export.targets.base import FORMAT_LIMITS, USES, QuantizedModel
from keras_se.export.targets.registry import TARGETS
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


@pytest.mark.parametrize("target", ["mediapipe", "browser"])
def test_a_grey_input_is_refused(target):
    inputs = keras.Input((8, 8, 1), name="grey")
    model = keras.Model(inputs, layers.Activation("sigmoid")(layers.GlobalAveragePooling2D()(inputs)))
    [found] = check(model, target)
    assert (found.layer, found.verdict) == ("grey", "refused")
    assert Tools(model).verdict(target, "float32") == "refused"


def test_the_error_of_export_names_the_keras_layer(tmp_path):
    images = np.random.default_rng(0).random((2, 16, 16, 3), "float32")
    with pytest.raises(InputError, match=r"in the Keras model: GlobalMaxPooling2D global_max\w+ \(REDUCE_MAX has no"):
        export(network("GlobalMaxPooling2D"), tmp_path, recipes=FORMATS[1:2], target="edgetpu", calibration=images)


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
