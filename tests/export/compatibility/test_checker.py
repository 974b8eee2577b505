"""`check` says of a layer what the target's own tool says of the file; and each row of its tables is tried."""

import dataclasses
import functools
import json

import keras
import numpy as np
import pytest
from keras import layers
from layer_networks import CASES, network

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
from published_networks import NETWORKS

TRIED = ("phone_cpu", "phone_gpu", "mediapipe", "browser", "edgetpu", "tflite_micro", "ethos_u55_128")
FORMATS = ("float32", "static_wi8_ai8", "static_wi8_ai16")
FAST = ("mobilenet_v3_small", "se_resnet20_cifar")
SMALL = (*FAST, "se_mobilenet", "se_shufflenet")
FAST = ("GlobalMaxPooling2D",)


class Tools:
    """Verdicts of the targets' own tools on a network."""

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
    """Return the worst verdict of `check` on a network."""
    verdicts = {finding.verdict for finding in check(model, target, recipes=[recipe])}
    return next((verdict for verdict in ("unknown", "refused", "slow") if verdict in verdicts), None)


@pytest.mark.parametrize("case", [pytest.param(case, marks=() if case in FAST else pytest.mark.slow) for case in CASES])
def test_check_says_what_the_tools_say(case):
    model = network(case)
    tools = Tools(model)
    pairs = [
        (target, recipe) for target in TRIED for recipe in FORMATS if recipe not in TARGETS[target].unsupported_recipes
    ]
    expected = {pair: tools.verdict(*pair) for pair in pairs}
    assert {pair: said(model, *pair) for pair in pairs} == expected


@pytest.mark.parametrize("case", [pytest.param(case, marks=() if case in FAST else pytest.mark.slow) for case in CASES])
def test_a_layer_becomes_the_operations_of_its_row(case):
    """Only operations that some target has trouble with are in the rows."""
    model = network(case)
    told = {name for _, operation in operations_of(model) for row in becomes(operation) for name in row.operations}
    if case == "Resizing bicubic":
        with pytest.raises(InputError, match=r"no operation for ResizeBicubic of the layer resizing"):
            to_tflite(model)
        return
    listed = troublesome() - set(USES)
    assert told - set(USES) == listed & set(to_tflite(model).operation_names)


@functools.cache
def troublesome():
    """Every operation in the tables."""
    rows = [row for case in CASES for _, operation in operations_of(network(case)) for row in becomes(operation)]
    return {name for row in rows for name in row.operations}


def test_every_row_has_a_case():
    tried = [operation for case in CASES for _, operation in operations_of(network(case))]
    kinds = {
        next((kind for kind in LAYERS if isinstance(operation, kind)), type(operation).__name__) for operation in tried
    }
    assert kinds == {*LAYERS, *OPERATIONS} - _of_quantization_aware_models()
    functions = {getattr(operation, name, None) for operation in tried for name in ("activation", "gate")}
    assert set(ACTIVATIONS) <= functions
    limits = [limit for target in TARGETS.values() for limit in (*FORMAT_LIMITS, *target.limits)]
    assert all(any(name in limit.operations for name in troublesome()) for limit in limits)


def _of_quantization_aware_models():
    return {kind for kind in LAYERS if kind.__module__.endswith("fake_quant")}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in NETWORKS]
)
def test_nothing_of_our_networks_is_refused(name):
    """Other tests export them."""
    size = 96 if "inception" in name else 64
    model = keras_se.create_model(name, input_shape=(size, size, 3), classes=10)
    for target in TARGETS:
        assert {finding.verdict for finding in check(model, target)} <= {"slow"}, target


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
    [finding] = check(model, target)
    assert (finding.layer, finding.verdict) == ("grey", "refused")
    assert Tools(model).verdict(target, "float32") == "refused"


def test_the_error_of_export_names_the_keras_layer(tmp_path):
    images = np.random.default_rng(0).random((2, 16, 16, 3), "float32")
    with pytest.raises(InputError, match=r"in the Keras model: ELU elu\w* \(ELU has no"):
        export(network("ELU"), tmp_path, recipes=FORMATS[1:2], target="edgetpu", calibration=images)


def test_the_command_prints_the_findings_and_its_status_tells(tmp_path, capsys):
    path = tmp_path / "model.keras"
    network("ELU").save(path)
    assert main.run(["check", str(path)]) == 0
    assert "nothing is known that phone_cpu would refuse or run slowly" in capsys.readouterr().out
    assert main.run(["check", str(path), "--target", "edgetpu", "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    expected = [dataclasses.asdict(finding) for finding in check(network("ELU"), "edgetpu")]
    assert printed == json.loads(json.dumps(expected))
    assert main.run(["check", str(path), "--target", "edgetpu"]) == 1
    printed = capsys.readouterr().out
    assert "ELU has no integer form, and the target has no floats; build and train it with relu" in printed
    assert main.run(["check", str(path), "--recipes", "float32", "--target", "edgetpu"]) == 2
