"""OpenVINO computes what the other engines do, from the file and from its own format."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import flatbuffers
import keras
import numpy as np
import openvino
import pytest

from keras_se.cli.tables import parity_rows
from keras_se.errors import InputError
from keras_se.export import RECIPES
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.evaluation.parity import compare_all
from keras_se.export.quantization.calibration import calibrate
from keras_se.export.quantization.quantizer import quantize
from keras_se.export.runtimes.openvino import compiled, read, saturates
from keras_se.export.runtimes.registry import DEFAULT_ENGINES, ENGINES
from keras_se.export.sandbox import runner
from keras_se.export.targets.base import QuantizedModel
from keras_se.export.targets.registry import TARGETS
from keras_se.export.tflite import flatbuffer
from keras_se.export.tflite.model import TFLiteModel
from keras_se.preprocessing import Preprocessing

INTEGER = [name for name, recipe in RECIPES.items() if recipe.calibrated and name != "static_wi8_ai16"]


@pytest.mark.parametrize(
    ("network", "recipe"),
    [
        ("trained", "static_wi8_ai8"),
        *(
            pytest.param(network, recipe, marks=pytest.mark.slow)
            for network in ("trained", "wide")
            for recipe in INTEGER
            if (network, recipe) != ("trained", "static_wi8_ai8")
        ),
    ],
)
def test_is_no_farther_from_the_reference_kernels_than_xnnpack(network, recipe, request):
    """Root mean square; a tenth is left for which of two equally good roundings a value takes."""
    exported = request.getfixturevalue(network)
    content = TFLiteModel(exported.files[recipe].read_bytes()).without_softmax
    logits = {name: ENGINES[name].run(content.content, exported.images[:48]).values for name in ("openvino", "litert")}
    kernels = ENGINES["litert_reference"].run(content.content, exported.images[:48]).values
    distance = {name: np.sqrt(np.mean((got - kernels) ** 2)) for name, got in logits.items()}
    assert distance["openvino"] <= 1.1 * distance["litert"]


def test_its_own_format_computes_the_same(trained, tmp_path):
    content = TFLiteModel(trained.files["static_wi8_ai8"].read_bytes())
    part = QuantizedModel(content, RECIPES["static_wi8_ai8"], "net", Preprocessing(32, 32), None)
    deliverable = TARGETS["openvino"].package_for_target(part)
    assert deliverable.file == content
    assert deliverable.manifest == {"openvino": openvino.__version__}
    for suffix, data in deliverable.files.items():
        (tmp_path / f"net{suffix}").write_bytes(data)
    models = compiled(openvino.Core().read_model(tmp_path / "net.xml")), compiled(read(content.content))
    for image in np.round(255 * trained.images[:8] - 128).astype("int8"):
        first, second = (model([image[None]])[0] for model in models)
        np.testing.assert_array_equal(first, second)


def test_files_from_elsewhere_have_their_codes_in_one_place(trained):
    """Without the older field OpenVINO takes a DEQUANTIZE for an ADD; packing fills it."""
    model = flatbuffer.unpack(trained.files["float16"].read_bytes())
    for code in model.operatorCodes:
        assert code.deprecatedBuiltinCode == code.builtinCode
        code.deprecatedBuiltinCode = 0
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    bare = bytes(builder.Output())
    with pytest.raises(InputError, match=r"^OpenVINO cannot read the file .*; export it again$"):
        read(bare)
    read(flatbuffer.pack(flatbuffer.unpack(bare)))


def test_it_compares_files_only_where_it_is_named(trained):
    """It is in no extra that the others are in."""
    assert "openvino" not in DEFAULT_ENGINES
    rows = compare_all(trained.model, [trained.files["float32"]], trained.images[:4], engines=["openvino"])
    assert [row.engine for row in rows] == ["openvino"]


def test_without_openvino_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"^openvino is not installed; pip install 'keras-se\[openvino\]'$"):
        read(b"")


HIDDEN = {"avx512_vnni", "avx_vnni"}


def flags() -> set[str]:
    """Return the flags of the first processor, as Linux names them, but what .ci/without_avx512.c hides."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    found = set(next((line for line in lines if line.startswith("flags")), ":").partition(":")[2].split())
    return found - HIDDEN if "without_avx512" in os.environ.get("LD_PRELOAD", "") else found


X86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN's limits are of x86 alone")


@pytest.mark.skipif(platform.system() != "Linux", reason="reads /proc/cpuinfo")
@X86
def test_int8_saturates_where_the_processor_has_no_vnni():
    assert saturates() == HIDDEN.isdisjoint(flags())


@pytest.fixture
def bright(tmp_path, monkeypatch) -> Iterator[tuple[keras.Model, Path, np.ndarray]]:
    """A network whose sums of products are as great as they can be, its int8 file from elsewhere, and its images.

    oneDNN keeps to AVX2 for it: the file runs in a child process, which reads the limit when it starts.
    """
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 32))
    x = keras.layers.Conv2D(32, 1, activation="relu", kernel_initializer="ones")(inputs)
    x = keras.layers.Conv2D(32, 1, activation="relu", kernel_initializer="ones")(x)
    model = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x)))
    images = np.linspace(0, 1, 8 * 512, dtype="float32").reshape(8, 4, 4, 32)
    content = to_tflite(model)
    ranges = calibrate(content, images, (0, 1), method="min_max")
    path = tmp_path / "bright.tflite"
    path.write_bytes(quantize(content, RECIPES["static_wi8_ai8"], ranges).content)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    runner.stop()
    yield model, path, images
    runner.stop()


@X86
def test_parity_says_that_int8_saturates_without_vnni_and_measures_what_does_not(bright):
    model, path, images = bright
    [row] = compare_all(model, [path], images, engines=["openvino"])
    assert row.verdict == "pass", row.failures
    assert "'LP_TRANSFORMS_MODE': False" in row.note
    assert row.to_dict()["note"] == row.note
    assert row.note in parity_rows([row]).notes


@X86
@pytest.mark.parametrize(("settings", "exact"), [({}, False), ({"LP_TRANSFORMS_MODE": False}, True)])
def test_the_remedy_is_needed_and_is_one(bright, settings, exact, tmp_path):
    """OpenVINO alone, without this package: a process of its own, as oneDNN reads its limit but once."""
    _, path, images = bright
    script = """
import sys, numpy as np, openvino
model = openvino.Core().compile_model(sys.argv[1], "CPU", {"EXECUTION_MODE_HINT": "ACCURACY", **eval(sys.argv[2])})
np.save(sys.argv[3], np.stack([model([image[None]])[0][0] for image in np.load(sys.argv[4])]))
"""
    pixels = np.clip(np.round(255 * images) - 128, -128, 127).astype("int8")
    np.save(tmp_path / "pixels.npy", pixels)
    files = [str(path), repr(settings), str(tmp_path / "outputs.npy"), str(tmp_path / "pixels.npy")]
    subprocess.run([sys.executable, "-c", script, *files], check=True, timeout=60)
    [(scale, zero)] = TFLiteModel(path.read_bytes()).io_quantizations[1]
    outputs = scale * (np.load(tmp_path / "outputs.npy") - float(zero))
    kernels = ENGINES["litert_reference"].run(path.read_bytes(), images).values
    error = np.sum((outputs - kernels) ** 2) / np.sum(kernels**2)
    assert bool(error < 1e-3) == exact, f"{-10 * np.log10(error):.1f} dB"  # 30 dB: a step or two of some 127


def test_a_float_file_has_nothing_to_be_told(bright):
    model, path, images = bright
    float_file = path.with_name("float.tflite")
    float_file.write_bytes(to_tflite(model).content)
    [row] = compare_all(model, [float_file], images, engines=["openvino"])
    assert row.note == ""
