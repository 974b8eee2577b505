"""Native code that ends its process, and files on which the engines do."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_se import cli
from keras_se.errors import InputError
from keras_se.export import flatbuffer, isolated
from keras_se.export.engines import ENGINES, run_file


@pytest.fixture(scope="module")
def int8_file(trained) -> Path:
    """That of the trained network, which counts as made by this process."""
    return trained.files["static_wi8_ai8"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("faulthandler:_sigsegv", r"^it crashed on x.tflite \(signal SIGSEGV\)"),
        ("os:abort", r"^it crashed on x.tflite \(signal SIGABRT\)"),
        ("signal:pause", r"^it has not answered on x.tflite for 5 s"),
        ("sys:exit", r"^it ended on x.tflite with status"),
        ("os:nothing", r"^it cannot run x.tflite: module 'os' has no attribute 'nothing'"),
    ],
)
def test_a_child_that_gives_no_answer_is_an_error(function, message, capfd):
    with pytest.raises(InputError, match=message) as caught:
        isolated.call(function, by="it", file="x.tflite", silence=5)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_arrays_bytes_and_json_go_there_and_back(tmp_path):
    values = {"a": np.arange(6, dtype="int8").reshape(2, 3), "b": b"\0\xff", "c": [1, None, "x"], "d": float("inf")}
    isolated.write_values(tmp_path / "v", values)
    got = isolated.read_values(tmp_path / "v")
    np.testing.assert_array_equal(got.pop("a"), values.pop("a"), strict=True)
    assert got == values


@pytest.mark.parametrize("engine", ENGINES)
def test_in_a_child_an_engine_computes_the_same(int8_file, engine):
    content = int8_file.read_bytes()
    assert isolated.is_made_here(content)
    model = flatbuffer.unpack(content)
    model.description = b"from elsewhere"
    foreign = flatbuffer.pack(model)
    assert not isolated.is_made_here(foreign)
    images = np.random.default_rng(0).random((5, 32, 32, 3)).astype("float32")
    here, there = (run_file(engine, one, images, "x.tflite") for one in (content, foreign))
    np.testing.assert_array_equal(there.values, here.values)
    assert there.lsb == here.lsb


def test_the_child_imports_neither_keras_nor_tensorflow(tmp_path, monkeypatch):
    """They would take seconds."""
    modules = ("engines", "diagnosis", "wholeness", "bench")
    lines = ["import importlib, sys", "def names(modules):"]
    lines += ["    for one in modules: importlib.import_module(f'keras_se.export.{one}')"]
    lines += ["    return {'names': list(sys.modules)}"]
    (tmp_path / "probe.py").write_text("\n".join(lines))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    names = isolated.call("probe:names", by="it", file="x", modules=modules)["names"]
    assert not {"keras", "tensorflow"} & set(names)


def first(model: Any, name: str) -> Any:
    """The first operation of that name."""
    code = getattr(flatbuffer.schema.BuiltinOperator, name)
    codes = [number for number, one in enumerate(model.operatorCodes) if one.builtinCode == code]
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
"""Whether native code dies of such a file, and of which signal, or refuses it, is the processor's and the build's."""


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
    """The one line of what becomes of the file on that engine."""
    with pytest.raises(InputError) as caught:
        run_file(engine, flatbuffer.load(path), np.zeros((1, 32, 32, 3), "float32"), path)
    [line] = str(caught.value).splitlines()
    assert str(path) in line
    return line


def tells(line: str, engine: str, path: Path) -> bool:
    """Whether a user learns which engine did not run which file."""
    return (
        re.match(rf"(keras-se: )?{engine} (crashed on|cannot run|ended on) {re.escape(str(path))}\b", line) is not None
    )


@pytest.mark.parametrize(("engine", "change"), CRASHES)
def test_a_file_that_crashes_an_engine_is_one_line(engine, change, hostile):
    path = hostile(change)
    assert tells(refusal(engine, path), engine, path)


def one_line(arguments: list[str], capsys) -> str:
    assert cli.run(arguments) == 2
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
