"""Figures of `bench`, against the file, its manifest, its Keras model and the engines; no time is asserted."""

import json
import subprocess
import sys

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from tflite_micro.python.tflite_micro import runtime

from keras_se.cli import main
from keras_se.errors import InputError
from keras_se.export.evaluation.benchmark import Ratio, benchmark, latency_ratio
from keras_se.export.evaluation.memory import arena_bytes
from keras_se.export.evaluation.profile import operations
from keras_se.export.runtimes.registry import ENGINES
from keras_se.export.tflite.layer_names import layer_path
from keras_se.export.tflite.model import TFLiteModel


@pytest.fixture(scope="module")
def files(trained):
    """Files of the trained network, by recipe."""
    return trained.files


@pytest.fixture(scope="module")
def layers(trained):
    """Names of the trained network's Keras layers."""
    return {layer.name for layer in trained.model.layers}


def test_the_command_prints_every_figure_as_json(files, capsys):
    file, other = str(files["static_wi8_ai8"]), str(files["float32"])
    options = ["--engines", "litert", "tflm", "--threads", "1", "2", "--runs", "3", "--against", other, "--json"]
    assert main.run(["bench", file, *options]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["engine"], row["threads"]) for row in rows] == [("litert", 1), ("litert", 2), ("tflm", 1)]
    manifest = json.loads(files["static_wi8_ai8"].with_suffix(".tflite.json").read_text())
    for row in rows:
        assert (row["file"], row["against"], row["batch"], row["runs"]) == (file, other, 1, 3)
        assert 0 < row["q1_ms"] <= row["median_ms"] <= row["q3_ms"]
        assert row["ratio"]["q1"] <= row["ratio"]["ratio"] <= row["ratio"]["q3"]
        assert (row["bytes"], row["partitions"]) == (manifest["bytes"], manifest["xnnpack_partitions"])
        assert row["arena_bytes"] == recorded_arena(file)
        assert "profile" not in row


def test_the_table_fits_into_80_columns(files, capsys):
    assert main.run(["bench", str(files["static_wi8_ai8"]), "--runs", "2", "--profile", "--most", "3"]) == 0
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert "its 93 operations one by one" in printed


def recorded_arena(file) -> int:
    """Return the arena that TFLite Micro prints in a process of its own."""
    lines = (
        "import sys",
        "from tflite_micro.python.tflite_micro.runtime import Interpreter",
        f"Interpreter.from_file({str(file)!r}, arena_size=1 << 24).print_allocations()",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    [total] = [line for line in done.stderr.splitlines() if "Arena allocation total" in line]
    return int(total.split()[-2])


def test_no_smaller_arena_than_the_recorded_one_suffices(files):
    """A quarter more does: the planner of the arena keeps its notes in what is free while the interpreter starts."""
    content = files["static_wi8_ai8"].read_bytes()
    arena = arena_bytes(content)["arena_bytes"]
    runtime.Interpreter.from_bytes(content, arena_size=arena * 5 // 4).invoke()
    with pytest.raises(RuntimeError, match="allocate"):
        runtime.Interpreter.from_bytes(content, arena_size=arena - 4096)


def test_what_tflite_micro_does_not_run_has_no_arena(files):
    [row] = benchmark([files["float16"]], engines=["litert"], runs=1)
    assert row.arena_bytes is None
    assert row.partitions is not None


@pytest.mark.parametrize("recipe", ["float32", "float16", "dynamic_wi8_afp32", "static_wi8_ai8", "static_wi8_ai16"])
def test_every_operation_on_an_activation_is_profiled_with_a_layer_of_the_model(recipe, files, layers):
    content = files[recipe].read_bytes()
    alone = [*operations(content)]
    assert [operation.name for operation in alone] == [
        name for name in TFLiteModel(content).operation_names if name != "DEQUANTIZE"
    ]
    assert {operation.layer.split("/")[0] for operation in alone} <= layers
    of = {(operation.name, operation.layer) for operation in alone}
    expected = ("CONV_2D", "stem_conv"), ("DEPTHWISE_CONV_2D", "block3_depthwise_conv"), ("CONV_2D", "block2_se/reduce")
    assert of >= {*expected, ("MEAN", "avg_pool"), ("FULLY_CONNECTED", "logits"), ("SOFTMAX", "logits")}


def test_one_after_the_other_the_operations_alone_compute_the_whole(files):
    content = files["static_wi8_ai8"].read_bytes()
    whole = Interpreter(model_content=content)
    whole.allocate_tensors()
    [input_details], [output_details] = whole.get_input_details(), whole.get_output_details()
    image = np.random.default_rng(0).integers(-128, 128, input_details["shape"], "int8")
    whole.set_tensor(input_details["index"], image)
    whole.invoke()
    values = {input_details["name"]: image}
    for part in operations(content):
        alone = Interpreter(model_content=part.content)
        alone.allocate_tensors()
        for tensor in alone.get_input_details():
            alone.set_tensor(tensor["index"], values[tensor["name"]])
        alone.invoke()
        values |= {tensor["name"]: alone.get_tensor(tensor["index"]) for tensor in alone.get_output_details()}
    np.testing.assert_array_equal(values[output_details["name"]], whole.get_tensor(output_details["index"]))


def test_the_profile_adds_up(files):
    [row] = benchmark([files["static_wi8_ai8"]], engines=["litert"], runs=1, profile=True)
    assert row.profile is not None
    assert len(row.profile) == len(TFLiteModel(files["static_wi8_ai8"].read_bytes()).operation_names)
    assert sum(operation["share"] for operation in row.profile) == pytest.approx(1)
    assert all(operation["median_ms"] > 0 for operation in row.profile)


@pytest.mark.parametrize(
    ("path", "layer"),
    [
        ("net_1/stem_conv_1/convolution", "stem_conv"),
        ("net_1/unit_1_conv_1/depthwise", "unit_1_conv"),
        ("net_1/block_se_1/reduce_1/Relu", "block_se/reduce"),
        ("StatefulPartitionedCall_1:0", ""),
    ],
)
def test_a_path_names_its_layer(path, layer):
    assert layer_path(path) == layer


@pytest.mark.parametrize("engine", ["litert", "litert_reference"])
def test_a_batch_is_computed_as_a_batch(engine, files):
    [row] = benchmark([files["float32"]], engines=[engine], batch=3, runs=1)
    assert row.batch == 3


def test_latency_ratio_is_of_its_rounds(files):
    content = files["static_wi8_ai8"].read_bytes()
    ratio = latency_ratio(content, content, threads=1, rounds=7)
    assert isinstance(ratio, Ratio)
    assert ratio.rounds == 7
    assert ratio.q1 <= ratio.ratio <= ratio.q3


def test_every_engine_of_the_package_can_be_measured_or_is_named():
    """An engine that is only for parity says so."""
    for name in ENGINES:
        with pytest.raises(InputError, match=r"cannot read|bench runs litert, .*got '"):
            benchmark(["nowhere.tflite"], engines=[name])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ([], ("at least one .tflite file",)),
        (["nowhere.tflite"], ("cannot read nowhere.tflite",)),
        ([__file__], ("is not a .tflite file",)),
        (["{int8}", "--threads", "0"], ("threads must be at least 1; got 0",)),
        (["{int8}", "--threads", "100000"], ("threads must be at most the", "processors of this machine; got 100000")),
        (["{int8}", "--engines"], ("engines must name at least one of litert, litert_reference, tflm; got none",)),
        (["{int8}", "--threads"], ("threads must be at least one number",)),
        (["{int8}", "--runs", "0"], ("runs must be at least 1; got 0",)),
        (["{int8}", "--batch", "0"], ("batch must be at least 1; got 0",)),
        (["{int8}", "--most", "0"], ("most must be at least 1; got 0",)),
        (["{int8}", "--engines", "onnx"], ("engine must be one of", "onnx")),
        (["{int8}", "--engines", "tflm", "--batch", "2"], ("tflm cannot run", "own batch of 1; got a batch of 2")),
        (["{int8}", "--batch", "2", "--profile", "--engines", "litert"], ("leave out --batch or --profile",)),
        (["{float16}", "--engines", "tflm"], ("tflm cannot run float16", "float16.tflite")),
        (["{dynamic}", "--engines", "tflm"], ("tflm cannot run dynamic_wi8_afp32", "dynamic_wi8_afp32.tflite")),
        (["{int8}", "--against", "nowhere.tflite"], ("cannot read nowhere.tflite",)),
        (["{int8}", "--against", "{float16}", "--engines", "tflm"], ("tflm cannot run float16",)),
    ],
    ids=lambda value: " ".join(value).replace(__file__, "python") if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(options, named, files, capsys):
    names = {"int8": "static_wi8_ai8", "float16": "float16", "dynamic": "dynamic_wi8_afp32"}
    paths = {short: str(files[recipe]) for short, recipe in names.items()}
    assert main.run(["bench", *(option.format(**paths) for option in options)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    [line] = printed.err.splitlines()
    for part in named:
        assert part in line
