"""Every operation of a network of integers runs on the NPU, or the file is refused; Vela itself is the judge."""

import dataclasses
import hashlib
import json
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_se
from keras_se.errors import InputError
from keras_se.export import RECIPES, compare, export
from keras_se.export.artifacts import build_artifact
from keras_se.export.quantization.recipes import MIXED_PRECISION
from keras_se.export.runtimes.registry import ENGINES
from keras_se.export.targets.base import QuantizedModel
from keras_se.export.targets.ethos_u import BEFORE, vela_summary
from keras_se.export.targets.registry import TARGETS
from keras_se.export.tflite import flatbuffer
from keras_se.export.tflite.model import TFLiteModel
from keras_se.preprocessing import Preprocessing

ETHOS = [name for name in TARGETS if name.startswith("ethos_")]
ONE_OF_EACH = ("ethos_u55_128", "ethos_u65_512", "ethos_u85_512")
INTEGER = ("static_wi8_ai8", "static_wi8_ai16", "static_wi8_ai8_se_ai16")
COMPILED = [
    pytest.param(target, recipe, marks=() if target in ONE_OF_EACH and recipe == INTEGER[0] else pytest.mark.slow)
    for target in ETHOS
    for recipe in INTEGER
]


def compile_for(path, recipe, target):
    content = QuantizedModel(TFLiteModel(path.read_bytes()), recipe, "digits", Preprocessing(32, 32), None)
    return build_artifact(content, TARGETS[target], source=None, calibration=None)


@pytest.mark.parametrize(("target", "recipe"), COMPILED)
def test_every_operation_runs_on_the_npu(target, recipe, trained):
    path = trained.files[recipe]
    compiled = compile_for(path, RECIPES[recipe], target)
    assert compiled.manifest["operations"] == {"CUSTOM": 1}
    assert compiled.deliverable.files[BEFORE] == path.read_bytes()
    manifest = compiled.manifest["vela"]
    assert manifest["npu_share"] == 1
    assert manifest["accelerator"] == target.replace("_", "-")
    assert manifest["compiled_from"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    figures = manifest["estimates"]
    assert figures["cycles"] >= figures["cycles_npu"] > 0
    assert 0 < figures["sram_bytes"] < 2**20
    assert max(figures["flash_bytes"], figures["dram_bytes"]) > len(path.read_bytes()) / 2  # the weights


@pytest.mark.parametrize("target", ONE_OF_EACH)
def test_the_system_is_the_one_that_vela_takes_by_itself(target, trained, tmp_path):
    file = trained.files["static_wi8_ai8"]
    accelerator = target.replace("_", "-")
    line = [sys.executable, "-m", "ethosu.vela", "--accelerator-config", accelerator, "--output-dir", tmp_path, file]
    printed = subprocess.run(line, check=True, capture_output=True, text=True).stdout
    said = dict(
        line.rsplit(maxsplit=1) for line in printed.splitlines() if line.startswith(("System con", "Memory mode"))
    )
    options = TARGETS[target].options
    assert said == {"System configuration": options["system_config"], "Memory mode": options["memory_mode"]}
    [table] = tmp_path.glob("*.csv")
    names, figures = (line.split(",") for line in table.read_text().splitlines())
    row = dict(zip(names, figures, strict=True))
    summary = vela_summary(file.read_bytes(), accelerator)
    assert summary.milliseconds == pytest.approx(1000 * float(row["inference_time"]))
    assert summary.cycles == int(row["cycles_total"])
    assert summary.sram_bytes == 1024 * float(row["sram_memory_used"])


def test_a_float_branch_is_refused_by_name(tmp_path, trained):
    with pytest.raises(InputError, match=r"^ethos_u55_128 cannot run static_wi8_ai8_se_fp32: it .* integers"):
        export(trained.model, tmp_path / "out", recipes=("static_wi8_ai8_se_fp32",), target="ethos_u55_128")
    assert not (tmp_path / "out").exists()


def test_operations_left_to_the_cpu_are_named_with_velas_reason(trained):
    """A search may higher_precision to float, past the names of recipes."""
    with pytest.raises(InputError) as error:
        compile_for(trained.files["static_wi8_ai8_se_fp32"], MIXED_PRECISION, "ethos_u55_128")
    [line] = str(error.value).splitlines()
    assert "CONV_2D, LOGISTIC, MEAN, QUANTIZE, RELU (Operation has tensor with unsupported DataType Float32)" in line
    assert "DEQUANTIZE (Unsupported opType)" in line
    assert vela_summary(trained.files["static_wi8_ai8_se_fp32"].read_bytes(), "ethos-u55-128").npu_share < 1


def test_a_file_that_vela_cannot_read_is_an_error_and_leaves_nothing(tmp_path):
    """The quantizer has no int16 hard-swish, and leaves it in float; one that is no layer's is not rewritten."""
    image = keras.Input((16, 16, 3), name="image")
    x = keras.ops.hard_swish(keras.layers.Conv2D(4, 3)(image))
    model = keras.Model(image, keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x)), name="swish")
    images = np.random.default_rng(0).random((4, 16, 16, 3)).astype("float32")
    with pytest.raises(
        InputError, match=r"^Vela cannot compile .*replace what computes in float: .*HARD_SWISH"
    ) as error:
        export(model, tmp_path, recipes=("static_wi8_ai16",), target="ethos_u55_128", calibration=images)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_velas_abort_is_one_line(trained, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/sh")  # `sh -m …` fails as a command does that prints its reason
    with pytest.raises(InputError, match=r"^Vela cannot compile the file for ethos_u55_128: [^\n]+$"):
        vela_summary(trained.files["static_wi8_ai8"].read_bytes(), "ethos_u55_128")


def test_the_compiled_file_runs_on_no_engine_here(trained, tmp_path):
    path = tmp_path / "compiled.tflite"
    path.write_bytes(
        compile_for(
            trained.files["static_wi8_ai8"], RECIPES["static_wi8_ai8"], "ethos_u55_128"
        ).deliverable.file.content
    )
    for engine in ENGINES:
        with pytest.raises(InputError, match=r"with its own operations ethos-u|OpenVINO cannot read the file"):
            compare(trained.model, path, trained.images[:1], engine=engine)


def test_a_batch_is_refused(trained, tmp_path):
    model = flatbuffer.unpack(trained.files["static_wi8_ai8"].read_bytes())
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].shape[0] = 4
    path = tmp_path / "four.tflite"
    path.write_bytes(flatbuffer.pack(model))
    with pytest.raises(InputError, match="ethos_u55_128 takes one image at a time; got a batch of 4"):
        compile_for(path, RECIPES["static_wi8_ai8"], "ethos_u55_128")


def test_every_recipe_with_floats_is_refused_and_the_usual_ones_are_integers():
    for name in ETHOS:
        taken = {recipe for recipe in RECIPES if recipe not in TARGETS[name].unsupported_recipes}
        assert taken == set(INTEGER)
        assert TARGETS[name].default_recipes == ("static_wi8_ai8", "static_wi8_ai16")


def test_without_vela_the_extra_is_named(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "ethosu.vela", None)
    with pytest.raises(InputError, match=r"^ethosu.vela is not installed; pip install 'keras-se\[ethos\]'$"):
        compile_for(trained.files["static_wi8_ai8"], RECIPES["static_wi8_ai8"], "ethos_u55_128")


def test_an_unknown_accelerator_is_named():
    with pytest.raises(InputError, match=r"accelerator must be one of ethos_u55_32, .*; got 'ethos-u75-128'"):
        vela_summary(b"", "ethos-u75-128")


@pytest.mark.slow
@pytest.mark.parametrize("placement", ["standard", "3x3"])
def test_the_full_network_compiles_whole(placement, tmp_path):
    keras.utils.set_random_seed(0)
    model = keras_se.create_model("se_mobilenet", placement=placement)
    images = np.random.default_rng(0).random((2, 224, 224, 3)).astype("float32")
    [artifact] = export(model, tmp_path, recipes=("static_wi8_ai8",), target="ethos_u65_512", calibration=images)
    assert {path.name for path in tmp_path.iterdir()} == {
        f"se_mobilenet.static_wi8_ai8{ending}" for ending in (".tflite", ".tflite.json", BEFORE)
    }
    written = json.loads((tmp_path / "se_mobilenet.static_wi8_ai8.tflite.json").read_text())
    summary = vela_summary((tmp_path / f"se_mobilenet.static_wi8_ai8{BEFORE}").read_bytes(), "ethos_u65_512")
    assert summary.npu_share == 1
    assert {**written["vela"]["estimates"], "npu_share": 1} == dataclasses.asdict(summary)
    assert TFLiteModel(artifact.path.read_bytes()).operation_counts == {"CUSTOM": 1}
