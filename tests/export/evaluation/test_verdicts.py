"""Right files pass and wrong ones fail, whatever their target, their number format and their network's ending."""

import dataclasses
import functools
import itertools

import keras
import numpy as np
import pytest

import keras_se
from keras_se.export import RECIPES, compare, export
from keras_se.export.artifacts import build_artifact, write
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.conversion.lowering import lower
from keras_se.export.conversion.lowering_config import PLAIN
from keras_se.export.conversion.matching import effective_config
from keras_se.export.evaluation.parity import compare_all
from keras_se.export.evaluation.verdict import PREDICTED_NOISE
from keras_se.export.pipeline import activation_ranges
from keras_se.export.quantization.quantizer import quantize
from keras_se.export.targets.base import QuantizedModel
from keras_se.export.targets.registry import TARGETS
from keras_se.export.tflite import flatbuffer
from keras_se.preprocessing import Preprocessing

CLASSES = 4
UNEVEN_RIGHT, UNEVEN_LOST = 15, 40
"""Ranges of one channel in those of the others: int8 is at 19 and 5 dB, of 0.99 and 0.81 of the classes."""


def coloured(count, seed):
    """Images of noise in which one colour, the class, is brighter; in those of the last class none is."""
    rng = np.random.default_rng(seed)
    images, labels = 0.3 * rng.random((count, 8, 8, 3), "float32"), rng.integers(0, CLASSES, count)
    for image, label in zip(images, labels, strict=True):
        image[..., label : label + 1] += 0.7
    return images, labels


def fitted(layer, model, images, labels):
    """Ridge regression of the classes, at 4 and -4, on what the layer takes, averaged over positions."""
    features = keras.Model(model.input, layer.input).predict(images, verbose=0).astype("float64")
    features = features.reshape(len(images), -1, features.shape[-1]).mean(1)
    design = np.hstack([features, np.ones((len(features), 1))])
    penalty = 1e-4 * np.trace(design.T @ design) / design.shape[1] * np.eye(design.shape[1])
    solution = np.linalg.solve(design.T @ design + penalty, design.T @ (8.0 * np.eye(CLASSES)[labels] - 4.0))
    shapes = [weight.shape for weight in layer.weights]
    layer.set_weights([solution[:-1].reshape(shapes[0]), solution[-1].reshape(shapes[1])])


def network(ending):
    """A network with SE that classifies `coloured`, its last layer fitted in closed form."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, 2, activation="relu", name="stem")(image)
    x = keras_se.SqueezeExcite(2, name="se")(x)
    x = keras.layers.Conv2D(16, 1, activation="relu", name="pointwise")(x)
    if ending == "pool":
        logits = keras.layers.Conv2D(CLASSES, 1, name="logits")
        outputs = keras.layers.GlobalAveragePooling2D()(logits(x))
    else:
        x = keras.layers.GlobalAveragePooling2D()(x)
        if ending == "two_dense":
            x = keras.layers.Dense(12, activation="relu", name="hidden")(x)
        logits = keras.layers.Dense(CLASSES, name="logits")
        outputs = logits(x)
        if ending == "inner":
            inner = keras.Input((CLASSES,))
            outputs = keras.Model(inner, keras.layers.Softmax()(inner), name="scores")(outputs)
        elif ending in ("softmax", "sigmoid"):
            outputs = keras.layers.Activation(ending)(outputs)
        if ending == "softmax":
            outputs = keras.layers.Dropout(0.1)(outputs)
    model = keras.Model(image, outputs, name=ending)
    fitted(logits, model, *coloured(300, seed=1))
    return model


ENDINGS = ("softmax", "sigmoid", "none", "two_dense", "pool", "inner")
SCORES = ("softmax", "sigmoid", "inner")
"""Endings that MediaPipe takes."""
QUICK = {("softmax", "mediapipe"), ("inner", "mediapipe"), ("pool", "phone_cpu")}
REACHED = ("phone_cpu", "mediapipe", "browser", "tflite_micro", "edgetpu", "phone_gpu", "openvino")
"""Targets whose files other engines than the device's own run."""


def weighted(model, graph):
    """The operations with kernels, in order; and the tensor of a kernel, behind the cast of a float16 one."""
    codes = [
        flatbuffer.builtin_names()[flatbuffer.builtin_code(model.operatorCodes[op.opcodeIndex])]
        for op in graph.operators
    ]
    return [op for op, code in zip(graph.operators, codes, strict=True) if code in flatbuffer.WEIGHTED]


def kernel_of(graph, op):
    index = int(op.inputs[1])
    casts = [one for one in graph.operators if index in one.outputs]
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
    """By a twentieth of the greatest, in a 1x1 convolution."""

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
    made = build_artifact(part, TARGETS[target], source=None, calibration=None, lowering=dataclasses.asdict(PLAIN))
    return model, float_file, write(made, folder).path


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
    "recipe", [pytest.param(one, marks=() if one == "static_wi8_ai8" else pytest.mark.slow) for one in RECIPES]
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
    """As of Vela's file before its compiler, or of one that was moved: a hard swish's sixth is in other kernels."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, activation="hard_swish")(image)
    model = keras.Model(image, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x)))
    calibration = coloured(20, seed=3)[0]
    float32, int8 = export(model, tmp_path / "files", calibration=calibration)
    moved = tmp_path / "moved.tflite"
    moved.write_bytes(int8.path.read_bytes())
    told = compare(model, int8.path, calibration, float_file=float32.path)
    [found] = compare_all(model, [moved], calibration, engines=["litert"])
    for row in (told, found):
        assert "constant" not in " ".join(row.failures), row.failures
        assert row.weight_steps <= 0.51


@pytest.mark.parametrize("policy", ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)])
def test_a_model_of_mixed_precision_is_compared_in_float32(policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        model = network("none")
    finally:
        keras.config.set_dtype_policy("float32")
    [made] = export(model, tmp_path, recipes=("float32",))
    found = compare(model, made.path, coloured(20, seed=2)[0], float_file=made.path)
    assert found.failures == ()
    assert found.sqnr_db > 100, "float32's"
    assert f"of {policy.removeprefix('mixed_')}, computes in float32 here" in found.tolerance


@functools.cache
def uneven(factor):
    """A network with a channel of so many times the others' range, which the next layer ignores, and its float file."""
    model = network("none")
    stem, pointwise = model.get_layer("stem"), model.get_layer("pointwise")
    kernel, bias = stem.get_weights()
    kernel[..., 0], bias[0] = factor * np.abs(kernel[..., 0]), 0
    stem.set_weights([kernel, bias])
    kernel, bias = pointwise.get_weights()
    kernel[:, :, 0] = 0
    pointwise.set_weights([kernel, bias])
    se = model.get_layer("se")
    se.set_weights([0 * weight for weight in se.get_weights()])  # gates of a half
    fitted(model.get_layer("logits"), model, *coloured(300, seed=1))
    return model, to_tflite(lower(model, PLAIN))


def int8_of(factor, calibration, folder):
    """The uneven network, its float file and its int8 one."""
    model, content = uneven(factor)
    ranges = activation_ranges(content, calibration, Preprocessing(8, 8), "min_max")
    files = folder / "float32.tflite", folder / "int8.tflite"
    for file, made in zip(files, (content, quantize(content, RECIPES["static_wi8_ai8"], ranges)), strict=True):
        file.write_bytes(made.content)
    return model, *files


@pytest.mark.parametrize(("factor", "verdict"), [(UNEVEN_RIGHT, "pass"), (UNEVEN_LOST, "fail")])
def test_the_bounds_follow_from_what_eight_bits_can_do_for_the_network(factor, verdict, tmp_path):
    """Below 20 dB a file that loses next to nothing passes, and one that loses its classes fails."""
    model, float32, int8 = int8_of(factor, coloured(60, seed=3)[0], tmp_path)
    images, labels = coloured(200, seed=2)
    for given in (labels, None):
        row = compare(model, int8, images, labels=given, float_file=float32)
        assert row.sqnr_db < RECIPES["static_wi8_ai8"].tolerance.sqnr_db
        assert row.verdict == verdict, row
        assert f"{PREDICTED_NOISE} times the noise" in row.tolerance
        assert all("accuracy" in one or "agreement" in one for one in row.failures)


def test_ranges_that_clip_are_no_excuse(tmp_path):
    """The prediction takes the ranges of the images, not the file's: here of images a fifth as bright."""
    model, float32, int8 = int8_of(UNEVEN_RIGHT, coloured(60, seed=3)[0] / 5, tmp_path)
    images, labels = coloured(100, seed=2)
    row = compare(model, int8, images, labels=labels, float_file=float32)
    assert any("SQNR" in failure for failure in row.failures)
