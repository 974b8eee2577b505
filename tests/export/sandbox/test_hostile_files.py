"""Files on which an engine crashes, or which it refuses, are one line wherever they are read."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_se.cli import main
from keras_se.errors import InputError
from keras_se.export.runtimes.registry import run_file
from keras_se.export.tflite import flatbuffer
from keras_se.export.tflite.model import TFLiteModel


def first(model: Any, name: str) -> Any:
    """Return the first operation of that name."""
    code = getattr(flatbuffer.schema.BuiltinOperator, name)
    codes = [number for number, opcode in enumerate(model.operatorCodes) if opcode.builtinCode == code]
    return next(op for op in model.subgraphs[0].operators if op.opcodeIndex in codes)


def convolution_without_weights(model):
    first(model, "CONV_2D").inputs[1] = -1


def mean_without_axes(model):
    first(model, "MEAN").inputs[1] = -1


def convolution_of_its_own_output(model):
    op = first(model, "CONV_2D")
    op.inputs[1] = op.outputs[0]


def logistic_as_softmax(model):
    first(model, "LOGISTIC").opcodeIndex = first(model, "SOFTMAX").opcodeIndex


CRASHES = [
    ("litert", convolution_without_weights),
    ("litert_reference", logistic_as_softmax),
    ("tflm", mean_without_axes),
    ("tflm", convolution_of_its_own_output),
    ("tflm", logistic_as_softmax),
]
"""Engines and files that they cannot run. The processor and the build decide whether native code dies of such a file,
and of which signal, or refuses it."""


@pytest.fixture
def hostile(int8_file, tmp_path):
    """Writes the int8 file with a change."""

    def write(change):
        model = flatbuffer.unpack(int8_file.read_bytes())
        change(model)
        path = tmp_path / "hostile.tflite"
        path.write_bytes(flatbuffer.pack(model))
        return path

    return write


def refusal(engine: str, path: Path) -> str:
    """Return the one line of what becomes of the file on that engine."""
    with pytest.raises(InputError) as caught:
        run_file(engine, TFLiteModel.load(path), np.zeros((1, 32, 32, 3), "float32"), path)
    [line] = str(caught.value).splitlines()
    assert str(path) in line
    return line


def tells(line: str, engine: str, path: Path) -> bool:
    """Tell whether a user learns which engine did not run which file."""
    return (
        re.match(rf"(keras-se: )?{engine} (crashed on|cannot run|ended on) {re.escape(str(path))}\b", line) is not None
    )


@pytest.mark.parametrize(("engine", "change"), CRASHES)
def test_a_file_that_crashes_an_engine_is_one_line(engine, change, hostile):
    path = hostile(change)
    assert tells(refusal(engine, path), engine, path)


def one_line(arguments: list[str], capsys) -> str:
    assert main.run(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    [line] = printed.err.splitlines()
    return line


def test_a_file_that_crashes_an_engine_does_not_end_parity(golden, hostile, capsys):
    path = hostile(convolution_without_weights)
    keras_file = str(golden / "model.keras")
    line = one_line(["parity", keras_file, str(path), "--data", "digits", "--images", "2"], capsys)
    assert tells(line, "litert", path)


def test_a_file_that_crashes_an_engine_does_not_end_bench(hostile, capsys):
    path = hostile(convolution_without_weights)
    assert tells(one_line(["bench", str(path)], capsys), "litert", path)


def test_a_file_that_crashes_the_reference_kernels_cannot_be_diagnosed(int8_file, hostile, capsys):
    path = hostile(logistic_as_softmax)
    float_file = int8_file.with_name("se_mobilenet.float32.tflite")
    arguments = ["diagnose", str(float_file), str(path), "--data", "digits", "--images", "2"]
    assert str(path) in one_line(arguments, capsys)


def foreign_operation(model):
    op = first(model, "SOFTMAX")
    code = model.operatorCodes[op.opcodeIndex]
    code.builtinCode = code.deprecatedBuiltinCode = flatbuffer.schema.BuiltinOperator.CUSTOM
    code.customCode = b"FlexErf"


def operation_of_tomorrow(model):
    code = model.operatorCodes[first(model, "SOFTMAX").opcodeIndex]
    code.builtinCode, code.deprecatedBuiltinCode = 999, 127


def unknown_to_micro(model):
    code = model.operatorCodes[first(model, "LOGISTIC").opcodeIndex]
    code.builtinCode, code.deprecatedBuiltinCode = flatbuffer.schema.BuiltinOperator.GELU, 127


def input_from_nowhere(model):
    first(model, "MUL").inputs[0] = 9999


def unnamed(model):
    model.subgraphs[0].tensors[3].name = None


def without_operations(model):
    model.subgraphs[0].operators = []


def mean_over_a_missing_axis(model):
    axes = model.subgraphs[0].tensors[first(model, "MEAN").inputs[1]]
    model.buffers[axes.buffer].data = np.array([7, 9], "<i4").view(np.uint8)


@pytest.mark.parametrize(
    ("change", "engine", "named"),
    [
        (foreign_operation, "litert", "its own operations FlexErf"),
        (foreign_operation, "tflm", "its own operations FlexErf"),
        (operation_of_tomorrow, "litert", "out of range: 999"),
        (unknown_to_micro, "tflm", "Didn't find op for builtin opcode 'GELU'"),
        (input_from_nowhere, "litert", "a tensor that is not there"),
        (unnamed, "litert", "tensor 3 has no name"),
        (without_operations, "litert", "no operations"),
        (mean_over_a_missing_axis, "litert_reference", "Invalid axis index"),
    ],
)
def test_what_an_engine_refuses_is_one_line(change, engine, named, hostile):
    assert named in refusal(engine, hostile(change))
