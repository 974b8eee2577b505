"""C++ sources for TFLite Micro compile, hold the file, and feed the network as Python does."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from micro_registrations import PUBLISHED

from keras_se.export import RECIPES
from keras_se.export.artifacts import build_artifact, write
from keras_se.export.targets.base import QuantizedModel
from keras_se.export.targets.registry import TARGETS
from keras_se.export.targets.tflite_micro_sources import registration
from keras_se.export.tflite import flatbuffer
from keras_se.export.tflite.model import TFLiteModel
from keras_se.preprocessing import Preprocessing

MICRO = TARGETS["tflite_micro"]
UNLABELLED = (Preprocessing(32, 32, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0)), None)


@pytest.fixture(scope="module")
def sources(trained, tmp_path_factory):
    """Folder of the trained network's files for TFLite Micro, and its manifest."""
    folder = tmp_path_factory.mktemp("micro")
    content = QuantizedModel(
        TFLiteModel(trained.files["static_wi8_ai8"].read_bytes()), RECIPES["static_wi8_ai8"], "digits-v1", *UNLABELLED
    )
    artifact = write(build_artifact(content, MICRO, source=None, calibration=None), folder)
    return folder, artifact.manifest


def test_the_array_compiles_to_the_file(sources, tmp_path):
    folder, manifest = sources
    main = tmp_path / "main.cc"
    main.write_text(
        '#include "digits-v1.static_wi8_ai8.h"\n#include <cstdio>\n#include <cstdint>\n'
        "int main() {\n"
        "  if (reinterpret_cast<std::uintptr_t>(model_digits_v1_static_wi8_ai8) % 16) return 1;\n"
        "  std::fwrite(model_digits_v1_static_wi8_ai8, 1, model_digits_v1_static_wi8_ai8_size, stdout);\n"
        '  std::fprintf(stderr, "%zu", model_digits_v1_static_wi8_ai8_arena_bytes);\n}\n'
    )
    program = tmp_path / "program"
    compile_cpp(program, main, folder / "digits-v1.static_wi8_ai8.cc", include=folder)
    ran = subprocess.run([program], check=True, capture_output=True)
    assert ran.stdout == (folder / "digits-v1.static_wi8_ai8.tflite").read_bytes()
    assert int(ran.stderr) == manifest["tflite_micro"]["arena_bytes"]


def test_the_example_registers_the_files_operations_alone(sources):
    folder, manifest = sources
    text = (folder / "digits-v1.static_wi8_ai8.example.cc").read_text()
    registered = re.findall(r"operations\.(Add\w+)\(\)", text)
    assert sorted(registered) == sorted(map(registration, manifest["operations"]))
    assert f"MicroMutableOpResolver<{len(registered)}>" in text


def test_the_example_feeds_the_network_as_python_does(sources, trained, tmp_path):
    """TFLite Micro's headers come with no package: stand-ins of ours declare what is used, and print the input."""
    folder, _ = sources
    program = tmp_path / "program"
    stand_in(tmp_path / "tensorflow" / "lite")
    example = folder / "digits-v1.static_wi8_ai8"
    compile_cpp(program, f"{example}.example.cc", f"{example}.cc", include=folder, further=tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, TFLiteModel(trained.files["float32"].read_bytes()).input_shape)
    ran = subprocess.run([program], input=pixels.astype(np.uint8).tobytes(), check=True, capture_output=True)
    graph = flatbuffer.unpack((folder / "digits-v1.static_wi8_ai8.tflite").read_bytes()).subgraphs[0]
    quantization = graph.tensors[graph.inputs[0]].quantization
    values = (pixels / 255 - UNLABELLED[0].mean) / UNLABELLED[0].std
    expected = np.clip(np.round(values / quantization.scale[0]) + quantization.zeroPoint[0], -128, 127)
    got = np.array(ran.stderr.split(), np.int64).reshape(pixels.shape)
    assert np.abs(got - expected).max() <= 1  # float32 there: a tie may fall to the other side
    assert np.mean(got == expected) > 0.999
    assert int(ran.stdout) == 7  # the class that the stand-in gives the highest score


def compile_cpp(program, *files, include, further=None):
    line = [shutil.which("g++"), "-std=c++17", "-Wall", "-Werror", "-I", include, "-o", program, *files]
    built = subprocess.run([*line, *(["-I", further] if further else [])], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr


def stand_in(folder):
    (folder / "micro").mkdir(parents=True)
    (folder / "schema").mkdir()
    (folder / "schema" / "schema_generated.h").write_text(
        "#pragma once\nnamespace tflite { struct Model; inline const Model* GetModel(const void* bytes) "
        "{ return static_cast<const Model*>(bytes); } }\n"
    )
    methods = "\n".join(
        f"  TfLiteStatus {name}() {{ return ++added > Most ? kError : kTfLiteOk; }}" for name in PUBLISHED
    )
    (folder / "micro" / "micro_mutable_op_resolver.h").write_text(
        "#pragma once\nnamespace tflite { namespace micro {\nenum TfLiteStatus { kTfLiteOk, kError };\n"
        "struct MicroOpResolver {};\ntemplate <unsigned Most> struct MicroMutableOpResolver : MicroOpResolver {\n"
        f"  unsigned added = 0;\n{methods}\n}};\n}}  }}\n"
    )
    (folder / "micro" / "micro_interpreter.h").write_text(
        "#pragma once\n#include <cstdint>\n#include <cstdio>\n#include <cstddef>\n"
        '#include "micro_mutable_op_resolver.h"\n#include "../schema/schema_generated.h"\n'
        "namespace tflite { namespace micro {\n"
        "struct TfLiteTensor { union { std::int8_t* int8; std::int16_t* i16; } data; };\n"
        "struct MicroInterpreter {\n"
        "  std::int8_t in[32 * 32 * 3], out[10] = {0, 0, 0, 0, 0, 0, 0, 9};\n  TfLiteTensor a, b;\n"
        "  MicroInterpreter(const Model*, const MicroOpResolver&, unsigned char*, std::size_t) "
        "{ a.data.int8 = in; b.data.int8 = out; }\n"
        "  TfLiteStatus AllocateTensors() { return kTfLiteOk; }\n"
        '  TfLiteStatus Invoke() { for (int x : in) std::fprintf(stderr, "%d ", x); return kTfLiteOk; }\n'
        "  TfLiteTensor* input(int) { return &a; }\n  TfLiteTensor* output(int) { return &b; }\n"
        "};\n} }\n"
    )
