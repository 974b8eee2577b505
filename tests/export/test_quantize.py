"""The quantized files against the float file."""

import numpy as np
import pytest

from keras_se.export import RECIPES, export, flatbuffer
from keras_se.export.calibration import calibrate
from keras_se.export.convert import to_tflite
from keras_se.export.engines import xnnpack_partitions
from keras_se.export.quantize import quantize
from keras_se.export.weights import weight_error
from keras_se.preprocessing import Preprocessing

STATIC = ("static_wi8_ai8", "static_wi8_ai16")


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "float32"])
def test_each_constant_is_the_float_one_rounded(trained, recipe):
    content = trained.files[recipe].read_bytes()
    error = weight_error(trained.files["float32"].read_bytes(), content)
    assert error.compared >= 89, "27 convolutions, 26 of SE and a dense layer have a kernel and, most, a bias"
    assert 0.4 < error.steps <= 0.51, error  # among 300,000 weights some are rounded by nearly half a step


@pytest.mark.parametrize(("recipe", "dtype"), list(zip(STATIC, ("INT8", "INT16"), strict=True)))
def test_a_static_file_holds_no_float(trained, recipe, dtype):
    content = trained.files[recipe].read_bytes()
    assert not {"FLOAT32", "FLOAT16"} & flatbuffer.dtypes(content).keys()
    graph = flatbuffer.unpack(content).subgraphs[0]
    ends = [graph.tensors[int(index)].type for index in (*graph.inputs, *graph.outputs)]
    assert ends == [getattr(flatbuffer.schema.TensorType, dtype)] * 2


def test_an_int8_input_is_the_pixel_minus_128(trained):
    graph = flatbuffer.unpack(trained.files["static_wi8_ai8"].read_bytes()).subgraphs[0]
    quantization = graph.tensors[int(graph.inputs[0])].quantization
    assert quantization.zeroPoint[0] == -128
    assert quantization.scale[0] == pytest.approx(1 / 255, rel=1e-6)


@pytest.mark.parametrize("network", ["trained", "wide"])
@pytest.mark.parametrize("recipe", ["float32", "static_wi8_ai8"])
def test_xnnpack_takes_the_whole_graph(network, recipe, request):
    assert xnnpack_partitions(request.getfixturevalue(network).files[recipe].read_bytes()) == 1


def test_a_channel_that_never_opens_still_runs():
    """SE whose hidden units are dead on every image: their range of nothing gave a scale that XNNPACK refuses."""
    import keras

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
    float_file = trained.files["float32"].read_bytes()
    made = [
        quantize(float_file, RECIPES[name], calibrate(float_file, trained.images[:4], (0.0, 1.0)))
        for name in STATIC[:1] * 2
    ]
    assert made[0] == made[1]


def test_images_outside_the_record_bring_their_own_range(trained, tmp_path):
    """Calibration images of another preprocessing than 0..1 are not clipped to it."""
    images = 2 * trained.images[:4] - 1
    [artifact] = export(
        trained.model,
        tmp_path,
        recipes=("static_wi8_ai8",),
        calibration=images,
        preprocessing=Preprocessing(32, 32),
    )
    graph = flatbuffer.unpack(artifact.path.read_bytes()).subgraphs[0]
    assert graph.tensors[int(graph.inputs[0])].quantization.scale[0] == pytest.approx(np.ptp(images) / 255, rel=1e-5)
