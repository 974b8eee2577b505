"""Right files pass and wrong ones fail, whatever their target, their number format and their network's ending."""

import dataclasses
import functools
import itertools

import keras
import numpy as np
import pytest
from coloured_images import coloured, network

from keras_se.export import RECIPES, compare, export
from keras_se.export.artifacts import build_artifact, write
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.conversion.lowering import lower
from keras_se.export.conversion.lowering_config import PLAIN
from keras_se.export.conversion.matching import effective_config
from keras_se.export.evaluation.parity import compare_all
from keras_se.export.pipeline import activation_ranges
from keras_se.export.quantization.quantizer import quantize
from keras_se.export.targets.base import QuantizedModel
from keras_se.export.targets.registry import TARGETS
from keras_se.export.tflite import flatbuffer
from keras_se.preprocessing import Preprocessing

ENDINGS = ("softmax", "sigmoid", "none", "two_dense", "pool", "inner")
SCORES = ("softmax", "sigmoid", "inner")
"""Endings that MediaPipe takes."""
QUICK = {("softmax", "mediapipe"), ("inner", "mediapipe"), ("pool", "phone_cpu")}
REACHED = ("phone_cpu", "mediapipe", "browser", "tflite_micro", "edgetpu", "phone_gpu", "openvino")
"""Targets whose files other engines than the device's own run."""


def weighted(model, graph):
    """Return the operations with kernels, in order; and the tensor of a kernel, behind the cast of a float16 one."""
    codes = [
        flatbuffer.builtin_names()[flatbuffer.builtin_code(model.operatorCodes[op.opcodeIndex])]
        for op in graph.operators
    ]
    return [op for op, code in zip(graph.operators, codes, strict=True) if code in flatbuffer.WEIGHTED]


def kernel_of(graph, op):
    index = int(op.inputs[1])
    casts = [op for op in graph.operators if index in op.outputs]
    return graph.tensors[int(casts[0].inputs[0]) if casts else index]


def with_values(model, tensor, change):
    """Changes the numbers of a constant, as they are stored."""
    types = flatbuffer.schema.TensorType
    dtype = {types.FLOAT32: "float32", types.FLOAT16: "float16", types.INT8: "int8", types.INT32: "int32"}[tensor.type]
    old = np.frombuffer(model.buffers[tensor.buffer].data.tobytes(), dtype)
    model.buffers[tensor.buffer].data = np.frombuffer(change(old.copy()).astype(dtype).tobytes(), np.uint8)


def turned_sign(model, graph):
    with_values(model, kernel_of(graph, weighted(model, graph)[-1]), lambda old: -old.clip(-127, None))


def logits_by_1_05(model, graph):
    kernel = kernel_of(graph, weighted(model, graph)[-1])
    if kernel.quantization is not None and kernel.quantization.scale is not None and len(kernel.quantization.scale):
        kernel.quantization.scale = np.asarray(kernel.quantization.scale) * np.float32(1.05)
    else:
        with_values(model, kernel, lambda old: old * 1.05)


def one_weight_off(model, graph):
    """Change one weight of a 1x1 convolution by a twentieth of the greatest."""

    def change(old):
        greatest, least = np.abs(old.astype("float64")).max(), np.abs(old.astype("float64")).argmin()
        old[least] += np.round(0.05 * greatest) if old.dtype == "int8" else 0.05 * greatest
        return old

    [pointwise] = [op for op in weighted(model, graph) if graph.tensors[op.outputs[0]].shape[-1] == 16]
    with_values(model, kernel_of(graph, pointwise), change)


def no_relu(model, graph):
    [pointwise] = [op for op in weighted(model, graph) if graph.tensors[op.outputs[0]].shape[-1] == 16]
    assert pointwise.builtinOptions.fusedActivationFunction
    pointwise.builtinOptions.fusedActivationFunction = 0


def no_bias(model, graph):
    weighted(model, graph)[-1].inputs[2] = -1


WRONG = (turned_sign, logits_by_1_05, one_weight_off, no_relu, no_bias)


def edited(path, edit):
    """A copy beside the file, with the file's manifest."""
    model = flatbuffer.unpack(path.read_bytes())
    edit(model, model.subgraphs[0])
    copy = path.with_name(f"{edit.__name__}.{path.name}")
    copy.write_bytes(flatbuffer.pack(model))
    copy.with_name(f"{copy.name}.json").write_text(path.with_name(f"{path.name}.json").read_text())
    return copy


@functools.cache
def converted(ending):
    """A network, its float file and the ranges of its activations, which are the same for every target and recipe."""
    model = network(ending)
    content = to_tflite(lower(model, PLAIN))
    return model, content, activation_ranges(content, coloured(60, seed=3)[0], Preprocessing(8, 8), "min_max")


def written(ending, target, recipe, folder):
    """A network, its float file, and the file that a target takes."""
    model, content, ranges = converted(ending)
    assert effective_config(model, TARGETS[target].lowering(RECIPES[recipe])) == PLAIN
    float_file = folder / "float32.tflite"
    float_file.write_bytes(content.content)
    part = QuantizedModel(
        quantize(content, RECIPES[recipe], ranges), RECIPES[recipe], model.name, Preprocessing(8, 8), None
    )
    built = build_artifact(part, TARGETS[target], source=None, calibration=None, lowering=dataclasses.asdict(PLAIN))
    return model, float_file, write(built, folder).path


def cases():
    for ending, target, recipe in itertools.product(ENDINGS, REACHED, RECIPES):
        if recipe not in TARGETS[target].unsupported_recipes and (target != "mediapipe" or ending in SCORES):
            quick = (ending, target) in QUICK and recipe == "static_wi8_ai8"
            yield pytest.param(ending, target, recipe, marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize(("ending", "target", "recipe"), list(cases()))
def test_a_right_file_passes_and_one_of_a_turned_kernel_fails(ending, target, recipe, tmp_path):
    model, float_file, path = written(ending, target, recipe, tmp_path)
    images, labels = coloured(60, seed=2)
    right, wrong = (
        compare(model, file, images, labels=labels, float_file=float_file) for file in (path, edited(path, turned_sign))
    )
    assert right.accuracy > 0.95
    assert (right.verdict, right.failures) == ("pass", ())
    assert "a constant" in " ".join(wrong.failures)


@pytest.mark.parametrize(
    "recipe", [pytest.param(recipe, marks=() if recipe == "static_wi8_ai8" else pytest.mark.slow) for recipe in RECIPES]
)
def test_each_wrong_file_fails_by_itself(recipe, tmp_path):
    """Without the float32 file: the model itself says what its constants and operations are."""
    model, _, path = written("softmax", "phone_cpu", recipe, tmp_path)
    files = [path, *(edited(path, edit) for edit in WRONG)]
    whole, *wrong = compare_all(model, files, coloured(40, seed=2)[0], engines=["litert"])
    assert whole.failures == ()
    named = {edit.__name__: row.failures[-1] for edit, row in zip(WRONG, wrong, strict=True)}
    assert all("a constant" in named[name] for name in ("turned_sign", "logits_by_1_05", "one_weight_off"))
    assert "where the model has CONV_2D with RELU" in named["no_relu"]
    assert "FULLY_CONNECTED without a bias" in named["no_bias"]


def test_without_a_manifest_the_form_is_found(tmp_path):
    """Vela's file before its compiler has none, nor has a moved one: a hard swish's sixth is in other kernels."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, activation="hard_swish")(image)
    model = keras.Model(image, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x)))
    calibration = coloured(20, seed=3)[0]
    float32, int8 = export(model, tmp_path / "files", calibration=calibration)
    moved = tmp_path / "moved.tflite"
    moved.write_bytes(int8.path.read_bytes())
    told = compare(model, int8.path, calibration, float_file=float32.path)
    [untold] = compare_all(model, [moved], calibration, engines=["litert"])
    for row in (told, untold):
        assert "constant" not in " ".join(row.failures), row.failures
        assert row.weight_steps <= 0.51


@pytest.mark.parametrize("policy", ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)])
def test_a_model_of_mixed_precision_is_compared_in_float32(policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        model = network("none")
    finally:
        keras.config.set_dtype_policy("float32")
    [artifact] = export(model, tmp_path, recipes=("float32",))
    row = compare(model, artifact.path, coloured(20, seed=2)[0], float_file=artifact.path)
    assert row.failures == ()
    assert row.sqnr_db > 100, "float32's"
    assert f"of {policy.removeprefix('mixed_')}, computes in float32 here" in row.tolerance
