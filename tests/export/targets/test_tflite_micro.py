"""Files for TFLite Micro: the arena's size, and results equal to LiteRT's to the bit."""

import copy

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from micro_registrations import PUBLISHED
from tflite_micro.python.tflite_micro import runtime

import keras_se
from keras_se.errors import InputError
from keras_se.export import export
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
from published_networks import NETWORKS

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
    "mnasnet_a1": 64,
    "efficientnet_b0": 64,
    "efficientnet_lite0": 64,
}
"""Every one of `NETWORKS` whose int8 file has up to 10 MB, at a size in pixels that bounds the time."""
UNLABELLED = (Preprocessing(32, 32, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0)), None)


@pytest.mark.parametrize(
    "recipe", [pytest.param(name, marks=[pytest.mark.slow] * (name != "static_wi8_ai8")) for name in INTEGER]
)
def test_the_arena_is_the_least(recipe, trained):
    file = trained.files[recipe]
    size = arena_bytes(file.read_bytes())
    assert size % 256 == 0
    assert run_python(["-P", TRIAL, file, size]).returncode == 0
    assert run_python(["-P", TRIAL, file, size - 256]).returncode != 0


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
    assert {name for name in NETWORKS if size_of(name)[0] <= 10e6} == UP_TO_10_MB.keys()


def settle(model, images):
    """Give each batch normalisation the statistics of the images: untrained, a deep network's activations explode."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)


def differences(file, images):
    """Return the greatest difference of LiteRT's reference kernels to TFLite Micro in steps, by operation and type.

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
    """Return the file of one operation of another."""
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
        TFLiteModel(trained.files["static_wi8_ai8_se_fp32"].read_bytes()), MIXED_PRECISION, "digits", *UNLABELLED
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
    """SE-ResNet-152 in float32 is as large: TFLite Micro crashed the process for it."""
    assert 64 << 20 < ample_arena(range(250_000_000)) < 1 << 31
