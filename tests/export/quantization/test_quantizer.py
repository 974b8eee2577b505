"""Quantized files against the float file."""

import keras
import numpy as np
import pytest
from litert_quantizer.quantizer import Quantizer

from keras_se.export import RECIPES, export
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.quantization.calibration import calibrate
from keras_se.export.quantization.quantizer import quantize
from keras_se.export.quantization.recipe_detection import recipe_of
from keras_se.export.runtimes.litert import xnnpack_partitions
from keras_se.export.runtimes.registry import find_engine
from keras_se.export.tflite import flatbuffer
from keras_se.export.tflite.constants import constants, weight_error
from keras_se.export.tflite.model import TFLiteModel
from keras_se.preprocessing import Preprocessing

STATIC = ("static_wi8_ai8", "static_wi8_ai16")


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "float32"])
def test_each_constant_is_the_float_one_rounded(trained, recipe):
    content = TFLiteModel(trained.files[recipe].read_bytes())
    error = weight_error(TFLiteModel(trained.files["float32"].read_bytes()), content)
    # 27 convolutions, 26 of SE and a dense layer have a kernel, and all but the dense layer a bias besides, of which
    # those that are equal may be one in the file.
    assert error.compared >= 54 + 27
    assert 0.4 < error.steps <= 0.51, error  # among 120,000 weights some are rounded by nearly half a step


@pytest.mark.parametrize(
    ("recipe", "activations", "outer"),
    [
        ("static_wi8_ai8", {"INT8"}, "INT8"),
        ("static_wi8_ai16", {"INT16"}, "INT16"),
        ("static_wi8_ai8_se_ai16", {"INT8", "INT16"}, "INT8"),
    ],
)
@pytest.mark.parametrize("network", ["trained", pytest.param("wide", marks=pytest.mark.slow)])
def test_an_integer_file_holds_no_float(network, recipe, activations, outer, request):
    content = TFLiteModel(request.getfixturevalue(network).files[recipe].read_bytes())
    assert not {"FLOAT32", "FLOAT16"} & content.dtype_counts.keys()
    graph, names = content.graph, flatbuffer.tensor_types()
    assert {names[graph.tensors[index].type] for index in content.activations} == activations
    ends = [names[graph.tensors[int(index)].type] for index in (*graph.inputs, *graph.outputs)]
    assert ends == [outer] * 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "se_shufflenet"])
def test_an_int8_file_of_every_kind_of_operation_holds_no_float(name):
    """Hard-swish, a gate that is a clipped line, group convolutions, concatenation, channel shuffle."""
    import keras_se

    keras.utils.set_random_seed(0)
    float_file = to_tflite(keras_se.create_model(name, input_shape=(32, 32, 3), classes=10))
    ranges = calibrate(float_file, np.random.default_rng(0).random((2, 32, 32, 3), "float32"), (0.0, 1.0))
    for recipe in ("static_wi8_ai8", "static_wi8_ai8_se_ai16"):
        content = quantize(float_file, RECIPES[recipe], ranges)
        assert not {"FLOAT32", "FLOAT16"} & content.dtype_counts.keys()
        assert recipe_of(content).name == recipe


@pytest.mark.parametrize("recipe", ["dynamic_wi8_afp32", "weight_only_wi8_afp32"])
def test_every_kernel_is_int8_and_every_activation_float(trained, recipe):
    """The converter's own dynamic range leaves tensors of less than 1,024 elements float."""
    content = TFLiteModel(trained.files[recipe].read_bytes())
    kernels = [values for _, values, _ in constants(content) if values.ndim >= 2]
    assert len(kernels) == 54, "27 convolutions, 26 of SE and a dense layer"
    assert {values.dtype for values in kernels} == {np.dtype("int8")}
    assert min(values.size for values in kernels) < 1024
    graph, names = content.graph, flatbuffer.tensor_types()
    assert {names[graph.tensors[index].type] for index in content.activations} == {"FLOAT32"}


@pytest.mark.parametrize("opened", [0.0, 1e-4])
def test_a_layer_that_no_image_opens_runs(opened):
    """XNNPACK refused the file: steps of 4e-6 behind an input whose own are 3."""
    inputs = keras.Input((4, 4, 2))
    hidden = keras.layers.Conv2D(3, 1, activation="relu", name="hidden")(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1, name="last")(hidden))
    kernel = np.full((1, 1, 2, 3), -0.5, "float32")
    model.get_layer("hidden").set_weights([kernel, np.full(3, opened, "float32")])
    model.get_layer("last").bias.assign([1.0, -2.0])
    float_file = to_tflite(model)
    images = np.random.default_rng(0).uniform(0, 800, (4, 4, 4, 2)).astype("float32")
    content = quantize(float_file, RECIPES["static_wi8_ai8"], calibrate(float_file, images))
    assert xnnpack_partitions(content) == 1
    [reference, xnnpack] = (
        find_engine(name).run(content.content, images).values for name in ("litert_reference", "litert")
    )
    np.testing.assert_array_equal(xnnpack, reference)
    np.testing.assert_allclose(xnnpack.reshape(4, 4, 4, 2), model.predict(images, verbose=0), atol=3 / 255 / 2)


def test_a_branch_that_adds_next_to_nothing_does_not_cut_the_graph():
    """A block that weight decay or pruning has emptied: XNNPACK does not add what differs by 1,024 in scale."""
    inputs = keras.Input((4, 4, 2))
    identity = keras.initializers.Constant(np.eye(2))
    stem = keras.layers.Conv2D(2, 1, name="stem", kernel_initializer=identity)(inputs)
    branch = keras.layers.Conv2D(2, 1, name="branch", kernel_initializer=keras.initializers.Constant(1e-5))(stem)
    last = keras.layers.Conv2D(2, 1, name="last", kernel_initializer=identity)
    model = keras.Model(inputs, last(keras.layers.Add()([stem, branch])))
    float_file = to_tflite(model)
    images = np.random.default_rng(0).uniform(0, 8, (4, 4, 4, 2)).astype("float32")
    ranges = calibrate(float_file, images)
    content = quantize(float_file, RECIPES["static_wi8_ai8"], ranges)
    assert xnnpack_partitions(content) == 1
    got = find_engine("litert_reference").run(content.content, images)
    expected = model.predict(images, verbose=0).reshape(4, 32)
    assert (
        np.abs(got.values - expected).max() <= 2.01 * got.lsb
    )  # four roundings of half a step, as identities magnify none


def test_a_branch_that_something_else_reads_too_keeps_its_steps():
    """Its sum with the stem is a thousand times as large; but the other reader makes it as large again."""
    inputs = keras.Input((4, 4, 2))
    stem = keras.layers.Conv2D(2, 1, name="stem")(inputs)
    small = keras.layers.Conv2D(2, 1, name="small", kernel_initializer=keras.initializers.Constant(1e-4))(inputs)
    large = keras.layers.Conv2D(2, 1, name="large", kernel_initializer=keras.initializers.Constant(1e4))(small)
    model = keras.Model(inputs, keras.layers.Add()([keras.layers.Add()([stem, small]), large]))
    float_file = to_tflite(model)
    images = np.random.default_rng(0).uniform(0, 80, (4, 4, 4, 2)).astype("float32")
    ranges = calibrate(float_file, images)
    [wanted] = [ends["max"].item() for name, ends in ranges.items() if "/small" in name]
    content = quantize(float_file, RECIPES["static_wi8_ai8"], ranges)
    graph, kinds = content.graph, content.operation_names
    ends = [(*op.inputs, *op.outputs) for op, kind in zip(graph.operators, kinds, strict=True) if kind == "ADD"]
    scales = [graph.tensors[index].quantization.scale[0] for indices in ends for index in indices]
    assert min(scales) == pytest.approx(wanted / 255)
    assert max(scales) > 1024 * min(scales)


@pytest.fixture(scope="module")
def large():
    """A convolution whose kernel has 36 MiB, as senet154 has some, its file, the ranges in it, and the image."""
    inputs = keras.Input((3, 3, 1024))
    float_file = to_tflite(keras.Model(inputs, keras.layers.Conv2D(1024, 3)(inputs)))
    image = np.random.default_rng(0).random((1, 3, 3, 1024), "float32")
    return float_file, calibrate(float_file, image), image


@pytest.mark.parametrize("recipe", ["float16", "weight_only_wi8_afp32", "static_wi8_ai8"])
def test_a_kernel_above_32_mib_is_rounded_as_any(large, recipe):
    float_file, ranges, image = large
    content = quantize(float_file, RECIPES[recipe], ranges)
    error = weight_error(float_file, content)
    assert error.compared == 2, "the kernel, in its shape, and the bias"
    assert 0.4 < error.steps <= 0.51
    got, expected = (find_engine("litert").run(file.content, image).values for file in (content, float_file))
    assert 10 * np.log10(np.sum(expected**2) / np.sum((got - expected) ** 2)) > 30  # one layer of 8 bits


@pytest.mark.filterwarnings("ignore:.*experimental_preserve_all_tensors")  # as quantize does
def test_the_quantizer_itself_cannot_round_such_a_kernel(large):
    """When it can, `_flatten_large_kernels` is of no more use."""
    float_file, ranges, _ = large
    quantizer = Quantizer(float_file.content, RECIPES["static_wi8_ai8"].rules(float_file))
    with pytest.raises(ValueError, match="axis remapping"):
        quantizer.quantize(ranges, enable_progress_report=False)


def test_an_int8_input_is_the_pixel_minus_128(trained):
    graph = flatbuffer.unpack(trained.files["static_wi8_ai8"].read_bytes()).subgraphs[0]
    quantization = graph.tensors[int(graph.inputs[0])].quantization
    assert quantization.zeroPoint[0] == -128
    assert quantization.scale[0] == pytest.approx(1 / 255, rel=1e-6)


@pytest.mark.parametrize("network", ["trained", pytest.param("wide", marks=pytest.mark.slow)])
@pytest.mark.parametrize("recipe", ["float32", "static_wi8_ai8"])
def test_xnnpack_takes_the_whole_graph(network, recipe, request):
    assert xnnpack_partitions(TFLiteModel(request.getfixturevalue(network).files[recipe].read_bytes())) == 1


def test_a_channel_that_never_opens_still_runs():
    """SE whose hidden units are dead on every image: their range of nothing gave a scale that XNNPACK refuses."""
    from keras_se import SqueezeExcite

    image = keras.Input((8, 8, 3))
    layer = SqueezeExcite(hidden=2)
    model = keras.Model(image, layer(keras.layers.Conv2D(4, 3)(image)))
    layer.reduce.set_weights([np.zeros((1, 1, 4, 2)), np.full(2, -1.0)])
    float_file = to_tflite(model)
    images = np.random.default_rng(0).random((4, 8, 8, 3), "float32")
    content = quantize(float_file, RECIPES["static_wi8_ai8"], calibrate(float_file, images))
    assert xnnpack_partitions(content) == 1


def test_the_same_images_give_the_same_bytes(trained):
    float_file = TFLiteModel(trained.files["float32"].read_bytes())
    contents = [
        quantize(float_file, RECIPES[name], calibrate(float_file, trained.images[:4], (0.0, 1.0)))
        for name in STATIC[:1] * 2
    ]
    assert contents[0] == contents[1]


def test_the_input_has_the_range_of_the_preprocessing(trained, tmp_path):
    """Not that of the calibration images, which may lack black and white."""
    [artifact] = export(
        trained.model,
        tmp_path,
        recipes=("static_wi8_ai8",),
        calibration=trained.images[:4] - 0.5,
        preprocessing=Preprocessing.for_range(32, 32, -1, 1),
    )
    graph = flatbuffer.unpack(artifact.path.read_bytes()).subgraphs[0]
    assert graph.tensors[int(graph.inputs[0])].quantization.scale[0] == pytest.approx(2 / 255, rel=1e-5)
