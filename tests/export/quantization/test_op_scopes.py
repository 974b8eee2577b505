"""Operations of SE, and of the first and the last layer, on graphs whose parts are known."""

import re

import keras
import pytest

import keras_se
from keras_se.errors import InputError
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.conversion.lowering import lower
from keras_se.export.conversion.lowering_config import CONV_BEFORE_POOL
from keras_se.export.quantization.op_scopes import first_and_last, se_branch_ops

SMALL = {
    "se_mobilenet": {"alpha": 0.25, "r": 4},
    "mobilenet_v3_small": {},
    "se_shufflenet": {},
}


@pytest.fixture(
    scope="module",
    params=["se_mobilenet", *(pytest.param(name, marks=pytest.mark.slow) for name in SMALL if name != "se_mobilenet")],
)
def float_file(request):
    keras.utils.set_random_seed(0)
    return to_tflite(keras_se.create_model(request.param, input_shape=(32, 32, 3), classes=10, **SMALL[request.param]))


def test_se_is_what_the_layers_names_say(float_file):
    """The graph knows no names; the layers are called `…_se`, and their last operation, the MUL, is `mul`."""
    graph = float_file.graph
    written = [graph.tensors[op.outputs[0]].name.decode() for op in graph.operators]
    named = [f"{name};" for name in written if re.search(r"_se_1/(?!mul$)", name)]
    assert len(named) >= 3 * 9
    assert se_branch_ops(float_file) == named


def test_the_ends_are_the_first_convolution_and_the_classifier(float_file):
    graph, names = float_file.graph, float_file.operation_names
    written = [f"{graph.tensors[op.outputs[0]].name.decode()};" for op in graph.operators]
    assert (names[0], *names[-2:]) == ("CONV_2D", "FULLY_CONNECTED", "SOFTMAX")
    assert first_and_last(float_file) == [f"{float_file.input_name};", written[0], *written[-2:]]


def small(layer):
    image = keras.Input((8, 8, 3))
    x = layer(keras.layers.Conv2D(4, 3)(image))
    return to_tflite(keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(x))))


@pytest.mark.parametrize(
    ("arguments", "operations"),
    [
        ({"squeeze": "avg"}, 4),
        ({"squeeze": "max"}, 4),
        ({"squeeze": "none"}, 3),
        ({"gate": "hard_sigmoid"}, 4),
        ({"gate": "tanh"}, 4),
        ({"activation": "silu"}, 6),
    ],
)
def test_every_form_of_se(arguments, operations):
    """Squeeze, reduce, expand and gate; the layer's own silu is two more, fused into no convolution."""
    assert len(se_branch_ops(small(keras_se.SqueezeExcite(hidden=2, **arguments)))) == operations


def test_se_is_found_where_its_gate_does_not_come_from_what_it_rescales():
    """In an NPU's form the first branch starts before a convolution, and the second one's product stands behind one."""
    image = keras.Input((16, 16, 4))
    x = keras_se.SqueezeExcite(2, name="first_se")(keras.layers.Conv2D(8, 1)(image))
    x = keras_se.SqueezeExcite(2, name="second_se")(keras.layers.ReLU()(x))
    x = keras.layers.BatchNormalization()(keras.layers.DepthwiseConv2D(3, 2, use_bias=False)(x))
    content = to_tflite(lower(keras.Model(image, keras.layers.ReLU()(x)), CONV_BEFORE_POOL))
    operations = se_branch_ops(content)
    graph = content.graph
    written = [f"{graph.tensors[op.outputs[0]].name.decode()};" for op in graph.operators]
    assert operations == [name for name in written if re.search(r"_se_(reduce|squeeze|expand)", name)]
    assert {"first", "second"} == {re.search(r"(\w+)_se_", name)[1].split("/")[-1] for name in operations}


@pytest.mark.parametrize("layer", [keras.layers.Activation("silu"), keras.layers.Conv2D(4, 3), keras.layers.ReLU()])
def test_swish_and_plain_networks_have_no_se(layer):
    with pytest.raises(InputError, match="the network has no SE: nothing in it is scaled"):
        se_branch_ops(small(layer))


def test_one_layer_has_no_two_ends():
    image = keras.Input((8, 8, 3))
    with pytest.raises(InputError, match="a first and a last layer with weights; the network has 1 of them"):
        first_and_last(to_tflite(keras.Model(image, keras.layers.Conv2D(4, 3)(image))))
