"""Native code in a child process: its answers, its end, and what it shares with the next call."""

import json
import subprocess
import sys
from unittest.mock import Mock

import ai_edge_litert.interpreter as litert
import keras
import numpy as np
import openvino
import pytest
from tflite_micro.python.tflite_micro import runtime

from keras_se.errors import InputError
from keras_se.export import export
from keras_se.export.evaluation.benchmark import benchmark, latency_ratio
from keras_se.export.evaluation.layer_errors import diagnose
from keras_se.export.evaluation.parity import compare_all
from keras_se.export.mixed_precision import export_mixed_precision
from keras_se.export.runtimes.registry import ENGINES, run_file
from keras_se.export.sandbox import exchange, runner
from keras_se.export.tflite.model import TFLiteModel


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
    """Files of our own making run in none either."""
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
