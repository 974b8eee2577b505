"""What TFLite Micro takes: the arena's size, the C++ sources, and results equal to LiteRT's to the bit."""

import copy
import re
import shutil
import subprocess

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tflite_micro.python.tflite_micro import runtime

import keras_se
from keras_se.errors import InputError
from keras_se.export import RECIPES, export
from keras_se.export.artifacts import build_artifact, write
from keras_se.export.quantization.recipes import MIXED_PRECISION
from keras_se.export.runtimes.base import quantized_input
from keras_se.export.runtimes.tflite_micro import MICRO_STEPS, ample_arena
from keras_se.export.sandbox.command import run_python
from keras_se.export.targets.base import QuantizedModel
from keras_se.export.targets.registry import TARGETS
from keras_se.export.targets.tflite_micro_arena import TRIAL, arena_bytes
from keras_se.export.targets.tflite_micro_sources import registration
from keras_se.export.tflite import flatbuffer
from keras_se.export.tflite.model import TFLiteModel
from keras_se.preprocessing import Preprocessing
from keras_se.registry import size_of

MICRO = TARGETS["tflite_micro"]
INTEGER = ("static_wi8_ai8", "static_wi8_ai16", "static_wi8_ai8_se_ai16")
UP_TO_10_MB = {
    "se_resnet20_cifar": 32,
    "se_resnet56_cifar": 32,
    "se_resnet110_cifar": 32,
    "se_resnet164_cifar": 32,
    "se_shufflenet": 64,
    "mobilenet_v3_small": 64,
    "mobilenet_v3_large": 64,
    "se_mobilenet": 64,
}
"""Every network of the registry whose int8 file has up to 10 MB, at a size in pixels that bounds the time."""

PUBLISHED = """AddAdd AddAveragePool2D AddConcatenation AddConv2D AddCumSum AddDepthwiseConv2D AddFullyConnected
AddHardSwish AddL2Normalization AddLogistic AddMaxPool2D AddMaximum AddMean AddMinimum AddMul AddPad AddPadV2
AddQuantize AddReduceMax AddRelu AddRelu6 AddReshape AddResizeNearestNeighbor AddSoftmax AddSpaceToBatchNd AddSplit
AddSplitV AddStridedSlice AddSub AddTanh AddTranspose""".split()  # noqa: SIM905
"""Methods of `MicroMutableOpResolver`, in tensorflow/lite/micro/micro_mutable_op_resolver.h of tflite-micro."""


@pytest.fixture(scope="module")
def sources(trained, tmp_path_factory):
    """The folder of the trained network's files for TFLite Micro, and its manifest."""
    folder = tmp_path_factory.mktemp("micro")
    content = QuantizedModel(
        TFLiteModel(trained.files["static_wi8_ai8"].read_bytes()), RECIPES["static_wi8_ai8"], "digits-v1", *EIGHT
    )
    artifact = write(build_artifact(content, MICRO, source=None, calibration=None), folder)
    return folder, artifact.manifest


EIGHT = (Preprocessing(32, 32, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0)), None)


@pytest.mark.parametrize("recipe", INTEGER)
def test_the_arena_is_the_least(recipe, trained):
    file = trained.files[recipe]
    size = arena_bytes(file.read_bytes())
    assert size % 256 == 0
    assert run_python(["-P", TRIAL, file, size]).returncode == 0
    assert run_python(["-P", TRIAL, file, size - 256]).returncode != 0


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
    values = (pixels / 255 - EIGHT[0].mean) / EIGHT[0].std
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


@pytest.mark.parametrize("recipe", INTEGER)
def test_each_operation_equals_litert_to_the_bit(recipe, trained):
    pixels = trained.images[:2]
    differ = differences(TFLiteModel(trained.files[recipe].read_bytes()), pixels)
    assert {name: steps for name, steps in differ.items() if steps > MICRO_STEPS.get(name, 0)} == {}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", INTEGER[:2])
@pytest.mark.parametrize("name", UP_TO_10_MB)
def test_each_operation_of_every_small_network_equals_litert_to_the_bit(name, recipe, tmp_path):
    keras.utils.set_random_seed(0)
    side = UP_TO_10_MB[name]
    model = keras_se.create_model(name, input_shape=(side, side, 3))
    images = np.random.default_rng(0).random((8, side, side, 3)).astype("float32")
    settle(model, images)
    [artifact] = export(model, tmp_path, recipes=(recipe,), calibration=images)
    content = TFLiteModel(artifact.path.read_bytes()).without_softmax  # of an untrained network's logits
    assert not content.float_operations
    differ = differences(content, images[:2])
    assert {name: steps for name, steps in differ.items() if steps > MICRO_STEPS.get(name, 0)} == {}
    assert {registration(name) for name in content.operation_counts} <= set(PUBLISHED)


@pytest.mark.slow
def test_the_small_networks_are_all_of_the_registry():
    assert {name for name in keras_se.list_models() if size_of(name)[0] <= 10e6} == UP_TO_10_MB.keys()


def settle(model, images):
    """Give each batch normalisation the statistics of the images: untrained, a deep network's activations explode."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)


def differences(file, images):
    """By operation and type, the greatest difference between LiteRT's reference kernels and TFLite Micro, in steps.

    Each operation runs alone, on what LiteRT gives it in the network.
    """
    interpreter = Interpreter(
        model_content=file.content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    [taken] = interpreter.get_input_details()
    graph, moving, types = file.graph, file.activations, flatbuffer.tensor_types()
    greatest = {}
    for image in images:
        interpreter.set_tensor(taken["index"], quantized_input(image[None], taken["dtype"], *taken["quantization"]))
        interpreter.invoke()
        for op, name in zip(graph.operators, file.operation_names, strict=True):
            part = alone(file, op)
            micro = runtime.Interpreter.from_bytes(part, arena_size=ample_arena(part))
            for place, tensor in enumerate(index for index in dict.fromkeys(map(int, op.inputs)) if index in moving):
                micro.set_input(interpreter.get_tensor(tensor), place)
            micro.invoke()
            for place, tensor in enumerate(map(int, op.outputs)):
                expected = interpreter.get_tensor(tensor).astype(np.int64)
                steps = int(np.abs(micro.get_output(place).astype(np.int64) - expected).max())
                key = name, types[graph.tensors[tensor].type]
                greatest[key] = max(steps, greatest.get(key, 0))
    return greatest


def alone(file, op):
    """The file of one operation of another."""
    model, graph, moving = file.unpacked, file.graph, file.activations
    used = [int(index) for index in dict.fromkeys((*op.inputs, *op.outputs)) if index >= 0]
    places = {index: place for place, index in enumerate(used)} | {-1: -1}
    part, single, only = copy.copy(model), copy.copy(graph), copy.copy(op)
    part.signatureDefs = part.metadata = part.metadataBuffer = None
    part.subgraphs, single.operators = [single], [only]
    part.buffers = [model.buffers[0], *(model.buffers[graph.tensors[index].buffer] for index in used)]
    single.tensors = [copy.copy(graph.tensors[index]) for index in used]
    for number, tensor in enumerate(single.tensors, 1):
        tensor.buffer = number
    only.inputs = np.array([places[int(index)] for index in op.inputs], np.int32)
    only.outputs = np.array([places[int(index)] for index in op.outputs], np.int32)
    single.inputs = np.array(
        [places[index] for index in dict.fromkeys(map(int, op.inputs)) if index in moving], np.int32
    )
    single.outputs = only.outputs
    return flatbuffer.pack(part)


def test_a_part_in_float_is_refused_by_name(trained):
    """A search may higher_precision to float, past the names of recipes."""
    content = QuantizedModel(
        TFLiteModel(trained.files["static_wi8_ai8_se_fp32"].read_bytes()), MIXED_PRECISION, "digits", *EIGHT
    )
    with pytest.raises(InputError, match=r"^tflite_micro takes integers alone; .*CONV_2D, DEQUANTIZE, LOGISTIC, MEAN"):
        MICRO.package_for_target(content)


def test_what_ends_the_interpreter_is_one_line(tmp_path):
    """The logits of an untrained network are so small that the softmax aborts the process."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.GlobalAveragePooling2D()(image)
    dense = keras.layers.Dense(1000, activation="softmax", kernel_initializer=keras.initializers.RandomNormal(0, 1e-6))
    model = keras.Model(image, dense(x), name="small")
    images = np.random.default_rng(0).random((4, 8, 8, 3)).astype("float32")
    with pytest.raises(InputError, match=r"^TFLite Micro must run the file; [^\n]+$"):
        export(model, tmp_path, recipes=("static_wi8_ai8",), target="tflite_micro", calibration=images)
    assert not list(tmp_path.iterdir())


def test_a_file_of_250_megabytes_gets_an_arena_that_an_int32_counts():
    """As SE-ResNet-152 in float32 is, for which TFLite Micro crashed the process."""
    assert 64 << 20 < ample_arena(range(250_000_000)) < 1 << 31
