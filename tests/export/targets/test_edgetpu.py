"""Coral's published rules: each breaks where it should, and not beside it; the compiler is a script that plays it."""

import os
import re
from collections import Counter

import keras
import numpy as np
import pytest

import keras_se
from keras_se.errors import InputError
from keras_se.export import RECIPES, export
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.quantization.calibration import calibrate
from keras_se.export.quantization.quantizer import quantize
from keras_se.export.targets.base import QuantizedModel
from keras_se.export.targets.edgetpu_rules import EVERYWHERE, SUPPORTED, lint, summary
from keras_se.export.targets.registry import TARGETS
from keras_se.export.tflite import flatbuffer
from keras_se.export.tflite.flatbuffer import schema
from keras_se.export.tflite.model import TFLiteModel
from keras_se.preprocessing import Preprocessing, image_shape
from keras_se.registry import list_models

IMAGE, VECTOR = (1, 8, 8, 4), (1, 16)


def constant(*shape, value=0):
    return np.full(shape, value, "int8")


def integers(*values):
    return np.array(values, "int32")


def file(operation, inputs, output, *, kind="INT8", signature=None, **options):
    """A .tflite file of one operation: an input is a shape, or the value of a constant."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers = 3, [schema.BufferT()]
    graph.tensors = []
    for place, one in enumerate([*inputs, output]):
        tensor = schema.TensorT()
        tensor.name, tensor.quantization = f"layer/{place}", schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [0.5], [3]
        moving = isinstance(one, tuple)
        tensor.shape = list(one if moving else one.shape)
        tensor.type = getattr(schema.TensorType, kind if moving else one.dtype.name.upper())
        if moving and signature:
            tensor.shapeSignature = signature
        tensor.buffer = 0 if moving else len(model.buffers)
        if not moving:
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = one.view("uint8").ravel()
        graph.tensors.append(tensor)
    op, code = schema.OperatorT(), schema.OperatorCodeT()
    op.opcodeIndex, op.inputs, op.outputs = 0, list(range(len(inputs))), [len(inputs)]
    if options:
        shared = {"MEAN": "Reducer", "AVERAGE_POOL_2D": "Pool2D", "MAX_POOL_2D": "Pool2D"}
        stem = shared.get(operation, operation.replace("_", "")).upper()
        [kind_of_options] = [name for name in dir(schema.BuiltinOptions) if name.upper() == f"{stem}OPTIONS"]
        op.builtinOptionsType = getattr(schema.BuiltinOptions, kind_of_options)
        op.builtinOptions = getattr(schema, f"{kind_of_options}T")()
        for name, value in options.items():
            assert hasattr(op.builtinOptions, name)
            setattr(op.builtinOptions, name, value)
    code.builtinCode = getattr(schema.BuiltinOperator, operation)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    graph.operators, graph.outputs = [op], [len(inputs)]
    graph.inputs = [place for place, one in enumerate(inputs) if isinstance(one, tuple)]
    model.subgraphs, model.operatorCodes = [graph], [code]
    return TFLiteModel(flatbuffer.pack(model))


STEPS = [(1, 8, 8, 4), integers(0, 0, 0, 0), integers(1, 8, 8, 4)]
KERNEL, BIAS = constant(4, 3, 3, 4), np.zeros(4, "int32")
# By the rule that the second breaks and the first keeps.
CASES = {
    ("ADD", "8-bit tensors"): (([IMAGE, IMAGE], IMAGE, {}), ([IMAGE, IMAGE], IMAGE, {"kind": "INT16"})),
    ("MUL", "8-bit tensors"): (
        ([IMAGE, IMAGE], IMAGE, {"kind": "UINT8"}),
        ([IMAGE, IMAGE], IMAGE, {"kind": "FLOAT32"}),
    ),
    ("ADD", "sizes that are known ahead"): (
        ([IMAGE, IMAGE], IMAGE, {"signature": [1, 8, 8, 4]}),
        ([IMAGE, IMAGE], IMAGE, {"signature": [-1, 8, 8, 4]}),
    ),
    ("RELU", "an extent of 1 outside"): (([(1, 8, 8, 4)], (1, 8, 8, 4), {}), ([(2, 8, 8, 4)], (2, 8, 8, 4), {})),
    ("RESHAPE", "an extent of 1 outside"): (
        ([IMAGE, integers(1, 64, 2, 2)], (1, 64, 2, 2), {}),
        ([IMAGE, integers(1, 8, 8, 2, 2)], (1, 8, 8, 2, 2), {}),
    ),
    ("AVERAGE_POOL_2D", "no activation"): (
        ([IMAGE], IMAGE, {"fusedActivationFunction": 0}),
        ([IMAGE], IMAGE, {"fusedActivationFunction": 1}),
    ),
    ("MAX_POOL_2D", "no activation"): (
        ([IMAGE], IMAGE, {"fusedActivationFunction": 0}),
        ([IMAGE], IMAGE, {"fusedActivationFunction": 3}),
    ),
    ("CONCATENATION", "no activation"): (
        ([IMAGE, IMAGE], (1, 8, 8, 8), {"fusedActivationFunction": 0}),
        ([IMAGE, IMAGE], (1, 8, 8, 8), {"fusedActivationFunction": 1}),
    ),
    ("CONCATENATION", "constants only as zeros"): (  # the zero point is 3
        ([IMAGE, constant(1, 8, 8, 4, value=3)], (1, 8, 8, 8), {"axis": 3}),
        ([IMAGE, constant(1, 8, 8, 4, value=0)], (1, 8, 8, 8), {"axis": 3}),
    ),
    ("CONV_2D", "constant weights"): (
        ([IMAGE, KERNEL, BIAS], IMAGE, {"dilationHFactor": 2, "dilationWFactor": 2}),
        ([IMAGE, (1, 3, 3, 4), BIAS], IMAGE, {"dilationHFactor": 1}),
    ),
    ("CONV_2D", "the same dilation"): (
        ([IMAGE, KERNEL, BIAS], IMAGE, {"fusedActivationFunction": 3}),
        ([IMAGE, KERNEL, BIAS], IMAGE, {"dilationWFactor": 2}),
    ),
    ("DEPTHWISE_CONV_2D", "constant weights"): (
        ([IMAGE, constant(1, 3, 3, 4), BIAS], IMAGE, {"depthMultiplier": 1}),
        ([IMAGE, (1, 3, 3, 4), BIAS], IMAGE, {"depthMultiplier": 1}),
    ),
    ("DEPTHWISE_CONV_2D", "the same dilation"): (
        ([IMAGE, constant(1, 3, 3, 4), BIAS], IMAGE, {"depthMultiplier": 1}),
        ([IMAGE, constant(1, 3, 3, 4), BIAS], IMAGE, {"dilationHFactor": 2}),
    ),
    ("FULLY_CONNECTED", "constant weights"): (
        ([VECTOR, constant(4, 16), BIAS], (1, 4), {"keepNumDims": False}),
        ([VECTOR, (4, 16), BIAS], (1, 4), {"keepNumDims": False}),
    ),
    ("FULLY_CONNECTED", "the default format"): (
        ([VECTOR, constant(4, 16), BIAS], (1, 4), {"weightsFormat": 0}),
        ([VECTOR, constant(4, 16), BIAS], (1, 4), {"weightsFormat": 1}),
    ),
    ("FULLY_CONNECTED", "one vector as output"): (
        ([(1, 1, 1, 16), constant(4, 16), BIAS], (1, 1, 1, 4), {"keepNumDims": True}),
        ([(1, 2, 1, 16), constant(4, 16), BIAS], (1, 2, 1, 4), {"keepNumDims": True}),
    ),
    ("MEAN", "no mean over the batch, and one over channels"): (
        ([IMAGE, integers(-3, -2)], (1, 1, 1, 4), {"keepDims": True}),
        ([IMAGE, integers(0, 1, 2)], (1, 1, 1, 4), {"keepDims": True}),
    ),
    ("MEAN", "no mean over the batch, and one over channels only of a multiple of 4"): (
        ([IMAGE, integers(3)], (1, 8, 8, 1), {"keepDims": True}),
        ([(1, 8, 8, 6), integers(3)], (1, 8, 8, 1), {"keepDims": True}),
    ),
    ("PACK", "no packing along the batch"): (
        ([(8, 4), (8, 4)], (8, 2, 4), {"axis": 1}),
        ([(8, 4), (8, 4)], (2, 8, 4), {"axis": 0}),
    ),
    ("PAD", "no padding of the batch"): (
        ([IMAGE, integers(0, 0, 1, 1, 1, 1, 0, 0)], (1, 10, 10, 4), {}),
        ([(1, 8, 4), integers(0, 1, 0, 0, 0, 0)], (2, 8, 4), {}),
    ),
    ("PRELU", "one slope a channel"): (
        ([IMAGE, constant(1, 1, 4)], IMAGE, {}),
        ([IMAGE, constant(8, 8, 4)], IMAGE, {}),
    ),
    **{
        (name, "no reduction over the batch"): (
            ([IMAGE, integers(1, 2)], (1, 1, 1, 4), {}),
            ([IMAGE, integers(-4)], IMAGE, {}),
        )
        for name in ("REDUCE_MAX", "REDUCE_MIN", "SUM")
    },
    ("SOFTMAX", "one vector of at most 16,000 elements"): (
        ([(1, 16_000)], (1, 16_000), {"beta": 1.0}),
        ([(1, 16_001)], (1, 16_001), {"beta": 1.0}),
    ),
    ("SOFTMAX", "one vector"): (([(1, 1, 10)], (1, 1, 10), {"beta": 1.0}), ([(1, 2, 10)], (1, 2, 10), {"beta": 1.0})),
    ("SPLIT", "no split of the batch"): (
        ([integers(3), IMAGE], (1, 8, 8, 2), {"numSplits": 2}),
        ([integers(0), IMAGE], (1, 8, 8, 4), {"numSplits": 1}),
    ),
    ("STRIDED_SLICE", "steps of 1"): (
        ([*STEPS, integers(1, 1, 1, 1)], IMAGE, {"beginMask": 1}),
        ([*STEPS, integers(1, 2, 2, 1)], (1, 4, 4, 4), {"beginMask": 1}),
    ),
    ("STRIDED_SLICE", "steps of 1 and no new axis or ellipsis"): (
        ([*STEPS, integers(1, 1, 1, 1)], IMAGE, {"endMask": 1}),
        ([*STEPS, integers(1, 1, 1, 1)], IMAGE, {"newAxisMask": 1}),
    ),
    ("STRIDED_SLICE", "steps of 1 and no new axis or ellipsis", 2): (
        ([*STEPS, integers(1, 1, 1, 1)], IMAGE, {"endMask": 1}),
        ([*STEPS, integers(1, 1, 1, 1)], IMAGE, {"ellipsisMask": 1}),
    ),
    ("HARD_SWISH", "an operation other than HARD_SWISH"): (None, ([IMAGE], IMAGE, {})),
}


@pytest.mark.parametrize("which", CASES, ids=lambda which: f"{which[0]} {which[1]}")
def test_a_rule_breaks_where_it_should_and_not_beside_it(which):
    operation, wants, *_ = which
    good, bad = CASES[which]
    if good is not None:
        inputs, output, options = good
        assert lint(file(operation, inputs, output, **options)) == []
    inputs, output, options = bad
    [found] = lint(file(operation, inputs, output, **options))
    assert (found.operation, found.layer) == (operation, f"layer/{len(inputs)}")
    assert found.wants.startswith(wants)


def test_every_rule_has_a_case():
    rules = Counter((name, rule.wants) for name, rules in SUPPORTED.items() for rule in rules)
    tested = [(operation, wants) for operation, wants, *_ in CASES]
    for operation, wants in [*rules, *((None, rule.wants) for rule in EVERYWHERE)]:
        assert any(operation in (None, one[0]) and wants.startswith(one[1]) for one in tested), (operation, wants)
    assert set(SUPPORTED) <= set(flatbuffer._names(schema.BuiltinOperator).values())


def test_the_trained_networks_int8_file_keeps_them_all(trained):
    assert lint(TFLiteModel(trained.files["static_wi8_ai8"].read_bytes())) == []
    for recipe in ("float32", "dynamic_wi8_afp32", "static_wi8_ai16"):
        assert lint(TFLiteModel(trained.files[recipe].read_bytes())), recipe


def test_a_network_that_breaks_one_is_refused_with_its_layer_and_the_rewrite(tmp_path):
    image = keras.Input((32, 32, 3))
    x = keras.ops.hard_swish(keras.layers.Conv2D(4, 3, name="stem")(image))  # one that is no layer's is not rewritten
    model = keras.Model(image, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x)), name="swish")
    images = np.random.default_rng(0).uniform(size=(4, 32, 32, 3)).astype("float32")
    with pytest.raises(InputError, match=r"^edgetpu wants an operation other than HARD_SWISH") as refused:
        export(model, tmp_path, recipes=["static_wi8_ai8"], target="edgetpu", calibration=images)
    assert re.search(r"\(HARD_SWISH at swish(_1)?/.*build and train it with relu or relu6 there", str(refused.value))
    assert not list(tmp_path.iterdir())


def test_mobilenet_v3_keeps_every_rule_in_the_targets_form(tmp_path, randomise):
    model = keras_se.create_model("mobilenet_v3_small", input_shape=(32, 32, 3), classes=4)
    randomise(model, 0)
    images = np.random.default_rng(0).uniform(size=(4, 32, 32, 3)).astype("float32")
    [artifact] = export(model, tmp_path, recipes=["static_wi8_ai8"], target="edgetpu", calibration=images)
    assert lint(TFLiteModel(artifact.path.read_bytes())) == []


@pytest.fixture
def finished(trained):
    """What the target makes of the trained network's int8 file, when called."""
    file = TFLiteModel(trained.files["static_wi8_ai8"].read_bytes())
    content = QuantizedModel(file, RECIPES["static_wi8_ai8"], "network", Preprocessing(32, 32), None)
    return lambda: TARGETS["edgetpu"].package_for_target(content)


COMPILED = """#!/bin/sh
[ "$1 $2" = "-s -o" ] || exit 9
(cat "$4"; echo compiled) > "$3/model_edgetpu.tflite"
echo 'Edge TPU Compiler version 16.0.384591198'
echo 'Number of operations that will run on Edge TPU: 95'
echo 'Number of operations that will run on CPU: 2'
"""
FAILED = """#!/bin/sh
echo 'Edge TPU Compiler version 16.0.384591198'
echo 'Internal compiler error. Aborting!' >&2
exit 1
"""


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """Puts a script on PATH as the compiler."""

    def placed(script):
        path = tmp_path / "bin" / "edgetpu_compiler"
        path.parent.mkdir()
        path.write_text(script)
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")

    return placed


def test_without_its_compiler_the_manifest_says_so(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert finished().manifest["edgetpu"] == {"compiled": False, "checked": "published rules only"}


def test_with_its_compiler_the_file_is_what_that_made(finished, compiler):
    compiler(COMPILED)
    product = finished()
    assert product.file.content.endswith(b"compiled\n")
    assert product.manifest["edgetpu"] == {
        "compiled": True,
        "compiler": "16.0.384591198",
        "operations_on_edge_tpu": 95,
        "operations_on_cpu": 2,
    }


@pytest.mark.parametrize(
    ("script", "last"),
    [(FAILED, r"status 1 \(Internal compiler error. Aborting!\)"), ("#!/bin/sh\n", r"status 0 \(it said nothing\)")],
)
def test_a_compiler_that_makes_nothing_is_named_with_its_last_words(script, last, finished, compiler):
    compiler(script)
    with pytest.raises(InputError, match=f"^edgetpu_compiler failed with {last}; run it by hand"):
        finished()


NO_HARD_SWISH = "an operation other than HARD_SWISH"
VERDICTS = {"mobilenet_v3_small": {NO_HARD_SWISH}, "mobilenet_v3_large": {NO_HARD_SWISH}}  # of the others: none


def int8_file(name):
    """The network of that name at its own size, untrained."""
    model = keras_se.create_model(name, classes=10)
    shape = image_shape(model)
    images = np.random.default_rng(0).uniform(size=(1, *shape)).astype("float32")
    float_file = to_tflite(model)
    return quantize(float_file, RECIPES["static_wi8_ai8"], calibrate(float_file, images))


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_the_verdict_on_every_network(name):
    found = lint(int8_file(name))
    print(f"{name}: {summary(found) or 'keeps every rule'}")
    assert {one.wants for one in found} == VERDICTS.get(name, set())
