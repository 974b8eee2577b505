"""Native code that ends its process, and files on which the engines do."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import ai_edge_litert.interpreter as litert
import keras
import numpy as np
import openvino
import pytest
from tflite_micro.python.tflite_micro import runtime

from keras_se.cli import main
from keras_se.errors import InputError
from keras_se.export import export
from keras_se.export.evaluation.benchmark import benchmark, latency_ratio
from keras_se.export.evaluation.layer_errors import diagnose
from keras_se.export.evaluation.parity import compare_all
from keras_se.export.mixed_precision import export_mixed_precision
from keras_se.export.runtimes.registry import ENGINES, run_file
from keras_se.export.sandbox import exchange, runner
from keras_se.export.tflite import flatbuffer
from keras_se.export.tflite.model import TFLiteModel


@pytest.fixture(scope="module")
def int8_file(trained) -> Path:
    """That of the trained network."""
    return trained.files["static_wi8_ai8"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("faulthandler:_sigsegv", r"^it crashed on x.tflite \(signal SIGSEGV\)"),
        ("os:abort", r"^it crashed on x.tflite \(signal SIGABRT\)"),
        ("signal:pause", r"^it has not answered on x.tflite for 2 s"),
        ("sys:exit", r"^it ended on x.tflite with status"),
        ("json:loads", r"^it cannot run x.tflite: loads\(\) missing 1 required"),
    ],
)
def test_a_child_that_gives_no_answer_is_an_error(function, message, capfd):
    with pytest.raises(InputError, match=message) as caught:
        runner.call(function, by="it", file="x.tflite", silence=2 if function == "signal:pause" else 120)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_arrays_bytes_and_json_go_there_and_back(tmp_path):
    values = {"a": np.arange(6, dtype="int8").reshape(2, 3), "b": b"\0\xff", "c": [1, None, "x"], "d": float("inf")}
    exchange.write_values(tmp_path / "v", values)
    got = exchange.read_values(tmp_path / "v")
    np.testing.assert_array_equal(got.pop("a"), values.pop("a"), strict=True)
    assert got == values


@pytest.mark.parametrize("function", ["keras_se.export.tflite.verifier:nothing", "keras_se.export.nowhere:nothing"])
def test_a_function_that_is_not_there_is_no_fault_of_the_file(function):
    """Callers that take a refusal for an answer would never tell of it."""
    with pytest.raises(ImportError, match=r"nothing|nowhere") as raised:
        runner.call(function, by="it", file="x")
    assert not isinstance(raised.value, InputError)


@pytest.mark.parametrize("engine", ENGINES)
def test_in_a_child_an_engine_computes_the_same(int8_file, engine):
    content = TFLiteModel(int8_file.read_bytes()).without_softmax
    images = np.random.default_rng(0).random((5, 32, 32, 3)).astype("float32")
    here, there = ENGINES[engine].run(content.content, images), run_file(engine, content, images, "x.tflite")
    np.testing.assert_array_equal(there.values, here.values)
    assert there.lsb == here.lsb


PROBE = """
import importlib, os, sys
from keras_se.export.sandbox import runner

calls = 0

def process_id():
    return {"id": os.getpid()}

def nested():
    return {"ids": [os.getpid(), runner.call("probe:process_id", by="it", file="x")["id"]]}

def aborts_the_second_time():
    global calls
    calls += 1
    if calls > 1:
        os.abort()
    return {"calls": calls}

def names(modules):
    for module in modules:
        importlib.import_module(f"keras_se.export.{module}")
    return {"names": list(sys.modules)}
"""


def process_id(*, alone: bool = False) -> int:
    return runner.call("probe:process_id", by="it", file="x", alone=alone)["id"]


@pytest.fixture
def probe(tmp_path, monkeypatch):
    """Functions of a module that only a new child finds."""
    (tmp_path / "probe.py").write_text(PROBE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    runner.stop()
    yield
    runner.stop()


def test_one_child_serves_all_calls_but_those_that_measure(probe):
    first = process_id()
    assert process_id() == first
    assert process_id(alone=True) != first
    assert process_id() == first
    with pytest.raises(InputError, match="crashed"):
        runner.call("os:abort", by="it", file="x")
    assert process_id() != first


def test_a_call_inside_the_child_starts_no_other(probe):
    outer, inner = runner.call("probe:nested", by="it", file="x")["ids"]
    assert outer == inner


def test_what_an_earlier_file_has_spoiled_is_not_blamed_on_the_next(probe):
    for _ in range(3):
        assert runner.call("probe:aborts_the_second_time", by="it", file="x.tflite") == {"calls": 1}


def test_no_file_runs_in_the_users_process(monkeypatch, tmp_path):
    """Those of our own making neither."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(keras.layers.Conv2D(2, 3)(image))))
    images = np.random.default_rng(0).random((3, 8, 8, 3), "float32")

    run_here = Mock(side_effect=InputError("native code of the user's process must read no file"))

    monkeypatch.setattr(litert, "Interpreter", run_here)
    monkeypatch.setattr(runtime.Interpreter, "from_bytes", run_here)
    monkeypatch.setattr(openvino.Core, "read_model", run_here)
    recipes = ["float32", "static_wi8_ai8"]
    for target in ("phone_cpu", "openvino", "browser"):
        artifacts = export(
            model, tmp_path / target, recipes=recipes, target=target, calibration=images, bias_correction=True
        )
    files = [artifact.path for artifact in artifacts]
    compare_all(model, files, images, engines=list(ENGINES))
    diagnose(*files, images)
    labels = np.zeros(3, int)
    export_mixed_precision(
        model,
        tmp_path / "searched",
        calibration=images,
        images=images,
        labels=labels,
        max_drop=100,
        higher_precision="fp32",
    )
    latency_ratio(*(file.read_bytes() for file in files), rounds=1)
    benchmark(files, runs=1)
    run_here.assert_not_called()
    assert litert.Interpreter is run_here  # each of the calls above would have met it


def test_a_child_does_not_outlive_its_parent(tmp_path):
    """Its standard input ends then, whatever it runs."""
    exchange.write_values(tmp_path / "arguments", {})
    (tmp_path / "request.json").write_text(json.dumps({"function": "signal:pause"}))
    packages = json.dumps(runner._packages())
    with subprocess.Popen([sys.executable, runner._CHILD, packages], stdin=subprocess.PIPE) as child:
        child.communicate(json.dumps(str(tmp_path)).encode() + b"\n", timeout=30)
    assert child.returncode == 0


def test_the_child_imports_neither_keras_nor_tensorflow(probe):
    """They would take seconds."""
    modules = (
        "runtimes.registry",
        "evaluation.layer_errors",
        "tflite.verifier",
        "evaluation.benchmark",
        "quantization.calibration",
        "runtimes.tensors",
        "runtimes.openvino",
    )
    names = runner.call("probe:names", by="it", file="x", modules=modules)["names"]
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
        run_file(engine, TFLiteModel.load(path), np.zeros((1, 32, 32, 3), "float32"), path)
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
