"""Coral's published rules: each breaks where it should, and not beside it."""

from collections import Counter

import numpy as np
import pytest

from keras_se.export.targets.edgetpu_rules import EVERYWHERE, REWRITES, SUPPORTED, lint
from keras_se.export.tflite import flatbuffer
from keras_se.export.tflite.flatbuffer import schema
from keras_se.export.tflite.model import TFLiteModel


def constant(*shape, value=0):
    return np.full(shape, value, "int8")


def integers(*values):
    return np.array(values, "int32")


def file(operation, inputs, output, *, kind="INT8", signature=None, **options):
    """A .tflite file of one operation: an input is a shape, or the value of a constant."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers = 3, [schema.BufferT()]
    graph.tensors = []
    for place, operand in enumerate([*inputs, output]):
        tensor = schema.TensorT()
        tensor.name, tensor.quantization = f"layer/{place}", schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [0.5], [3]
        moving = isinstance(operand, tuple)
        tensor.shape = list(operand if moving else operand.shape)
        tensor.type = getattr(schema.TensorType, kind if moving else operand.dtype.name.upper())
        if moving and signature:
            tensor.shapeSignature = signature
        tensor.buffer = 0 if moving else len(model.buffers)
        if not moving:
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = operand.view("uint8").ravel()
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
    graph.inputs = [place for place, operand in enumerate(inputs) if isinstance(operand, tuple)]
    model.subgraphs, model.operatorCodes = [graph], [code]
    return TFLiteModel(flatbuffer.pack(model))


IMAGE, VECTOR = (1, 8, 8, 4), (1, 16)
KERNEL, BIAS = constant(4, 3, 3, 4), np.zeros(4, "int32")
STEPS = [(1, 8, 8, 4), integers(0, 0, 0, 0), integers(1, 8, 8, 4)]
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
    ("CONCATENATION", "constants only as zeros", 2): (  # beside one other input, not two
        ([IMAGE, IMAGE], (1, 8, 8, 8), {"axis": 3}),
        ([IMAGE, IMAGE, constant(1, 8, 8, 4, value=3)], (1, 8, 8, 12), {"axis": 3}),
    ),
    ("ADD", "8-bit tensors", 2): (  # integers of 32 bits only as constants
        ([IMAGE, integers(1)], IMAGE, {}),
        ([IMAGE, IMAGE], IMAGE, {"kind": "INT32"}),
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
    ("PAD", "no padding of the batch", 2): (
        ([IMAGE, integers(0, 0, 0, 1, 0, 1, 0, 0)], (1, 9, 9, 4), {}),
        ([IMAGE, (4, 2)], (1, 9, 9, 4), {}),
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
    ("STRIDED_SLICE", "steps of 1 and no new axis or ellipsis", 3): (
        ([*STEPS, integers(1, 1, 1, 1)], IMAGE, {"shrinkAxisMask": 0}),
        ([*STEPS, (4,)], IMAGE, {"shrinkAxisMask": 0}),
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
    [breach] = lint(file(operation, inputs, output, **options))
    assert (breach.operation, breach.layer) == (operation, f"layer/{len(inputs)}")
    assert breach.wants.startswith(wants)


@pytest.mark.parametrize("operation", sorted(name for name, rules in SUPPORTED.items() if not rules))
def test_an_operation_without_a_rule_of_its_own_breaks_those_for_every_operation_alone(operation):
    assert lint(file(operation, [IMAGE], IMAGE)) == []
    [breach] = lint(file(operation, [IMAGE], IMAGE, kind="FLOAT32"))
    assert breach.wants == "8-bit tensors"


@pytest.mark.parametrize("operation", REWRITES)
def test_an_operation_that_is_not_supported_is_refused_with_its_rewrite(operation):
    assert operation not in SUPPORTED
    [breach] = lint(file(operation, [IMAGE], IMAGE))
    assert (breach.operation, breach.rewrite) == (operation, REWRITES[operation])


def test_every_rule_has_a_case():
    rules = Counter((name, rule.wants) for name, rules in SUPPORTED.items() for rule in rules)
    tested = [(operation, wants) for operation, wants, *_ in CASES]
    for operation, wants in [*rules, *((None, rule.wants) for rule in EVERYWHERE)]:
        assert any(operation in (None, rule[0]) and wants.startswith(rule[1]) for rule in tested), (operation, wants)
    without_a_file_that_keeps_it = {operation for (operation, *_), (good, _) in CASES.items() if good is None}
    assert not without_a_file_that_keeps_it & set(SUPPORTED)
    assert set(SUPPORTED) <= set(flatbuffer._names(schema.BuiltinOperator).values())
