"""The registry against published sizes and costs, and SE's place in a block against the formulas of the paper."""

import contextlib
import functools
import math
import re
from typing import NamedTuple

import keras
import numpy as np
import pytest

import keras_se
from keras_se import SqueezeExcite
from keras_se.models.head import Head
from keras_se.models.mobilenet import Separable, mobilenet
from keras_se.models.placement import SE
from keras_se.models.resnet import ResNet, resnet

IMAGE = (32, 32, 3)
PLACEMENTS = ("standard", "pre", "post", "identity", "3x3", "none")


class Published(NamedTuple):
    """Trainable parameters for 1000 classes, with SE and without, and channels of the last feature map.

    With SE: osmr/imgclsmob, tensorflow2/README.md; (d) by arithmetic, from the plain network and `2C²/r` a block (and
    `C + C/r` for biases). Plain: torchvision's documentation; MobileNet's is that of keras.applications.
    """

    with_se: int
    plain: int
    features: int


PUBLISHED = {
    "se_resnet18": Published(11_778_592, 11_689_512, 512),
    "se_resnet34": Published(21_958_868, 21_797_672, 512),  # (d)
    "se_resnet50": Published(28_088_024, 25_557_032, 2048),
    "se_resnet101": Published(49_326_872, 44_549_160, 2048),
    "se_resnet152": Published(66_821_848, 60_192_808, 2048),
    "se_mobilenet": Published(4_711_720, 4_231_976, 1024),  # (d), without biases
}
SMALL = {"se_resnet18": {}, "se_mobilenet": {"alpha": 0.25}}  # one of each family


@contextlib.contextmanager
def without_values():
    """Variables have a shape and no content: a network is built in a third of a second, to be looked at."""
    with keras.StatelessScope(initialize_variables=False):
        yield


class Size(NamedTuple):
    parameters: int
    macs: int


@functools.cache
def size(name, **arguments):
    """Trainable parameters and multiply-accumulates of a model for 224x224 images and 1000 classes."""
    with without_values():
        model = keras_se.create_model(name, **arguments)
        return Size(sum(math.prod(weight.shape) for weight in model.trainable_variables), keras_se.macs(model))


def se_layers(model):
    return [layer for layer in model.layers if isinstance(layer, SqueezeExcite)]


def with_random_statistics(model, seed=0):
    """The model with every bias, scale and moving statistic drawn at random; fresh ones are zeros and ones."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def images(count=2, seed=0):
    return np.random.default_rng(seed).random((count, *IMAGE), "float32")


# Sizes


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_published_ones(name):
    assert size(name).parameters == PUBLISHED[name].with_se
    assert size(name, placement="none").parameters == PUBLISHED[name].plain


# arXiv 1709.01507, table 10 in the journal text; to the unit by arithmetic. Its networks have no biases in SE.
@pytest.mark.parametrize(
    ("r", "parameters"), [(2, 45_676_584), (4, 35_616_808), (8, 30_586_920), (16, 28_071_976), (32, 26_814_504)]
)
def test_parameters_of_se_resnet50_by_reduction_ratio(r, parameters):
    assert size("se_resnet50", r=r, use_bias=False).parameters == parameters


def test_parameters_of_se_after_the_3x3_convolution():
    # Of 25.8 M in the paper; 16 blocks of 2C²/16 on the inner width C.
    assert size("se_resnet50", placement="3x3", use_bias=False).parameters == 25_714_216
    assert size("se_mobilenet", placement="3x3").parameters == 4_580_776


def test_biases_of_mobilenet_are_one_a_unit():
    outputs = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    biases = sum(channels + channels // 16 for channels in outputs)
    assert size("se_mobilenet", use_bias=True).parameters == PUBLISHED["se_mobilenet"].with_se + biases


@pytest.mark.parametrize("placement", ["pre", "post", "identity"])
def test_parameters_of_the_other_placements(placement):
    # Post and identity rescale as many channels as standard; pre those of the block's input, of 16 blocks.
    inputs = [64, 256, 256, 256, 512, 512, 512, 512, *[1024] * 6, 2048, 2048]
    outputs = [256] * 3 + [512] * 4 + [1024] * 6 + [2048] * 3
    added = sum(2 * c * (c // 16) for c in (inputs if placement == "pre" else outputs))
    expected = PUBLISHED["se_resnet50"].plain + added
    assert size("se_resnet50", placement=placement, use_bias=False).parameters == expected


# arXiv 1709.01507, tables 2 and 3: GFLOPs, which are multiply-accumulates, of one 224x224 image.
@pytest.mark.parametrize(
    ("name", "plain", "with_se"),
    [
        ("se_resnet50", 3.86, 3.87),
        ("se_resnet101", 7.58, 7.60),
        ("se_resnet152", 11.30, 11.32),
        ("se_mobilenet", 0.569, 0.572),
    ],
)
def test_macs_are_the_papers_gflops(name, plain, with_se):
    # 1 %: the paper counts some of the pooling and additions, and does not say which.
    assert size(name, placement="none").macs / 1e9 == pytest.approx(plain, rel=0.01)
    assert size(name).macs / 1e9 == pytest.approx(with_se, rel=0.01)


def test_macs_of_se_are_its_two_kernels_once_an_image_or_once_a_position():
    inputs = keras.Input((8, 4, 32))
    assert keras_se.macs(keras.Model(inputs, SqueezeExcite(16)(inputs))) == 2 * 32 * 2
    assert keras_se.macs(keras.Model(inputs, SqueezeExcite(16, squeeze="none")(inputs))) == 8 * 4 * 2 * 32 * 2


def test_macs_count_each_kernel_at_each_output_position_and_nested_models_too():
    inner = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(16, 3, strides=2, padding="same")])
    depthwise = keras.layers.DepthwiseConv2D(3, padding="same")
    top = [keras.layers.BatchNormalization(), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10)]
    model = keras.Sequential([keras.Input((8, 8, 3)), inner, depthwise, *top])
    assert keras_se.macs(model) == 4 * 4 * (3 * 3 * 3 * 16) + 4 * 4 * (3 * 3 * 16) + 16 * 10


def test_macs_refuse_an_unknown_size():
    inputs = keras.Input((None, 8, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(4, 1, name="mix")(inputs))
    with pytest.raises(ValueError, match=re.escape("known height and width; layer mix has (None, None, 8, 4)")):
        keras_se.macs(model)


# arXiv 1704.04861, table 6: million multiply-adds and parameters by width multiplier.
@pytest.mark.parametrize(
    ("alpha", "mega_macs", "mega_parameters"), [(1.0, 569, 4.2), (0.75, 325, 2.6), (0.5, 149, 1.3), (0.25, 41, 0.5)]
)
def test_alpha_scales_mobilenet_as_published(alpha, mega_macs, mega_parameters):
    network = size("se_mobilenet", placement="none", alpha=alpha)
    # To the digits that the table prints.
    assert round(network.macs / 1e6) == mega_macs
    assert round(network.parameters / 1e6, 1) == mega_parameters


@pytest.mark.parametrize(("alpha", "stem", "last"), [(0.3, 9, 307), (0.01, 1, 10)])  # of 32 and 1024
def test_alpha_rounds_down_to_at_least_one_filter(alpha, stem, last):
    with without_values():
        model = keras_se.create_model("se_mobilenet", input_shape=IMAGE, alpha=alpha, include_top=False)
    assert model.get_layer("stem_conv").filters == stem
    assert model.output_shape[-1] == last


# Placements


def expression(tensor):
    """How `tensor` is computed, as text: `relu(x + SE(bn(conv3x3(x))))` with `/2` after a stride of 2."""
    operation, _, _ = tensor._keras_history
    arguments = [expression(argument) for argument in operation._inbound_nodes[0].input_tensors]
    if isinstance(operation, keras.layers.InputLayer):
        return "image"
    if isinstance(operation, keras.layers.Add):
        return " + ".join(arguments)
    return f"{_name(operation)}({', '.join(arguments)})"


def _name(layer):
    match layer:
        case SqueezeExcite():
            return "SE"
        case keras.layers.BatchNormalization():
            return "bn"
        case keras.layers.Activation():
            return layer.activation.__name__
        case keras.layers.DepthwiseConv2D():
            return f"depthwise{_window(layer.kernel_size, layer.strides)}"
        case keras.layers.Conv2D():
            return f"conv{_window(layer.kernel_size, layer.strides)}"
        case keras.layers.MaxPooling2D():
            return f"maxpool{_window(layer.pool_size, layer.strides)}"
    raise AssertionError(f"no name for {layer}")


def _window(size, strides):
    assert strides[0] == strides[1]
    return f"{size[0]}x{size[1]}" + ("" if strides[0] == 1 else f"/{strides[0]}")


def se(x):
    return f"SE({x})"


def same(x):
    return x


def basic(x, inner=same):
    return f"bn(conv3x3({inner(f'relu(bn(conv3x3({x})))')}))"


def bottleneck(x, inner=same):
    return f"bn(conv1x1({inner(f'relu(bn(conv3x3(relu(bn(conv1x1({x}))))))')}))"


# arXiv 1709.01507, section 6.5: x is the block's input, s its shortcut (x itself or its projection), f what it adds.
FORMULAS = {
    "standard": lambda x, s, f: f"relu({s} + {se(f(x))})",
    "pre": lambda x, s, f: f"relu({s} + {f(se(x))})",
    "post": lambda x, s, f: se(f"relu({s} + {f(x)})"),
    "identity": lambda x, s, f: f"relu({se(s)} + {f(x)})",
    "3x3": lambda x, s, f: f"relu({s} + {f(x, inner=se)})",
    "none": lambda x, s, f: f"relu({s} + {f(x)})",
}
STEM = "maxpool3x3/2(relu(bn(conv7x7/2(image))))"


def feature_map(row, placement, **arguments):
    """The expression of a ResNet of that row, up to its classifier."""
    with without_values():
        head = Head(include_top=False)
        return expression(resnet(row, keras.Input(IMAGE, name="image"), se=SE(placement), head=head, **arguments))


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_basic_block_computes_the_placements_formula(placement):
    formula = FORMULAS[placement]
    x = formula(STEM, STEM, basic)
    x = formula(x, x, basic)  # both shortcuts of stage 2 are the identity: 64 channels come in
    assert feature_map(ResNet(bottleneck=False, depths=(2, 0, 0, 0)), placement) == x


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_bottleneck_computes_the_placements_formula(placement):
    formula = FORMULAS[placement]
    x = formula(STEM, f"bn(conv1x1({STEM}))", bottleneck)  # 64 channels to 256: a projection
    x = formula(x, x, bottleneck)
    assert feature_map(ResNet(bottleneck=True, depths=(2, 0, 0, 0)), placement) == x


@pytest.mark.parametrize(("name", "blocks"), [("se_resnet18", 8), ("se_resnet50", 16)])
@pytest.mark.parametrize("placement", [placement for placement in PLACEMENTS if placement != "none"])
def test_every_block_of_a_resnet_has_se(placement, name, blocks):
    with without_values():
        model = keras_se.create_model(name, input_shape=IMAGE, placement=placement)
    assert len(se_layers(model)) == blocks


@pytest.mark.parametrize(
    ("placement", "block"),
    [
        ("standard", "SE(relu(bn(conv1x1(relu(bn(depthwise3x3/2({x})))))))"),
        ("pre", "relu(bn(conv1x1(relu(bn(depthwise3x3/2(SE({x})))))))"),
        ("3x3", "relu(bn(conv1x1(SE(relu(bn(depthwise3x3/2({x})))))))"),
        ("none", "relu(bn(conv1x1(relu(bn(depthwise3x3/2({x}))))))"),
    ],
)
def test_separable_block_computes_the_placements_formula(placement, block):
    rows = (Separable(stage=2, out=8, stride=2), Separable(stage=3, out=16, stride=2))
    with without_values():
        head = Head(include_top=False)
        outputs = mobilenet(rows, keras.Input(IMAGE, name="image"), se=SE(placement), head=head)
    stem = "relu(bn(conv3x3/2(image)))"
    assert expression(outputs) == block.format(x=block.format(x=stem))


@pytest.mark.parametrize(
    ("stride_in", "residual"),
    [
        ("1x1", "bn(conv1x1(relu(bn(conv3x3(relu(bn(conv1x1/2({x}))))))))"),
        ("3x3", "bn(conv1x1(relu(bn(conv3x3/2(relu(bn(conv1x1({x}))))))))"),
    ],
)
def test_stride_in_names_the_convolution_that_halves_the_resolution(stride_in, residual):
    row = ResNet(bottleneck=True, depths=(0, 1, 0, 0))
    expected = f"relu(bn(conv1x1/2({STEM})) + SE({residual.format(x=STEM)}))"
    assert feature_map(row, "standard", stride_in=stride_in) == expected


def test_stride_in_changes_no_parameter_and_the_cost():
    assert size("se_resnet50", stride_in="3x3").parameters == PUBLISHED["se_resnet50"].with_se
    # SE-ResNet-50b in osmr/imgclsmob, tensorflow2/README.md; 1 %, as it counts the additions and the pooling.
    assert size("se_resnet50", stride_in="3x3").macs == pytest.approx(4115.78e6, rel=0.01)


def test_basic_block_halves_the_resolution_in_its_first_convolution():
    expected = f"relu(bn(conv1x1/2({STEM})) + SE(bn(conv3x3(relu(bn(conv3x3/2({STEM})))))))"
    assert feature_map(ResNet(bottleneck=False, depths=(0, 1, 0, 0)), "standard") == expected


@pytest.mark.parametrize("name", SMALL)
def test_arguments_reach_every_se(name):
    arguments = {"r": 4, "squeeze": "max", "gate": "hard_sigmoid", "use_bias": False}
    with without_values():
        model = keras_se.create_model(name, input_shape=IMAGE, **arguments)
    configs = [layer.get_config() for layer in se_layers(model)]
    assert configs
    assert all({key: config[key] for key in arguments} == arguments for config in configs)


@pytest.mark.parametrize("name", SMALL)
def test_activation_is_the_networks_own(name):
    with without_values():
        model = keras_se.create_model(name, input_shape=IMAGE, activation="relu6", include_top=False)
    activations = {layer.activation for layer in model.layers if isinstance(layer, keras.layers.Activation)}
    assert activations == {keras.activations.relu6}
    assert {layer.activation for layer in se_layers(model)} == {keras.activations.relu}


@pytest.mark.parametrize(
    ("name", "stage", "channels"),
    [
        ("se_resnet50", 2, [256] * 3),
        ("se_resnet50", 3, [512] * 4),
        ("se_resnet50", 4, [1024] * 6),
        ("se_resnet50", 5, [2048] * 3),
        ("se_mobilenet", 1, [64]),
        ("se_mobilenet", 4, [512] * 6),
        ("se_mobilenet", 5, [1024] * 2),
    ],
)
def test_se_stages_restrict_se_to_a_stage(name, stage, channels):
    with without_values():
        model = keras_se.create_model(name, input_shape=IMAGE, se_stages=[stage])
    assert [layer.output.shape[-1] for layer in se_layers(model)] == channels


def test_leaving_se_out_of_the_last_stage_cuts_what_it_adds_from_10_to_4_percent():
    plain = PUBLISHED["se_resnet50"].plain
    # arXiv 1709.01507, section 4 ("~10 %", "~4 %"): to the percent that the paper prints.
    assert round(100 * (size("se_resnet50").parameters / plain - 1)) == 10
    assert round(100 * (size("se_resnet50", se_stages=(2, 3, 4)).parameters / plain - 1)) == 4


# Inputs and outputs


@pytest.mark.parametrize("name", PUBLISHED)
def test_feature_map_has_a_32nd_of_the_resolution(name):
    with without_values():
        model = keras_se.create_model(name, input_shape=(64, 96, 3), include_top=False)
    assert model.output_shape == (None, 2, 3, PUBLISHED[name].features)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({"classes": 7}, (None, 7)),
        ({"classes": 7, "pooling": "max"}, (None, 7)),  # the top has its own pooling
        ({"classes": 7, "classifier_activation": None}, (None, 7)),
        ({"include_top": False, "pooling": "avg"}, (None, "features")),
        ({"include_top": False, "pooling": "max"}, (None, "features")),
        ({"include_top": False, "input_shape": (None, None, 1)}, (None, None, None, "features")),
    ],
)
def test_output_shapes(name, arguments, shape):
    features = PUBLISHED[name].features
    with without_values():
        model = keras_se.create_model(name, **{"input_shape": IMAGE, **arguments})
    assert model.output_shape == tuple(features if axis == "features" else axis for axis in shape)


def test_default_model_takes_224_and_gives_1000_probabilities():
    with without_values():
        model = keras_se.create_model("se_mobilenet")
    assert (model.input_shape, model.output_shape) == ((None, 224, 224, 3), (None, 1000))


@pytest.mark.parametrize(("pooling", "reduction"), [("avg", np.mean), ("max", np.max)])
def test_pooling_is_over_the_feature_map(pooling, reduction):
    shape = (64, 64, 3)
    model = keras_se.create_model("se_mobilenet", input_shape=shape, include_top=False, pooling=pooling, alpha=0.25)
    both = keras.Model(model.input, [model.layers[-1].input, model.output])
    feature_map, pooled = both(np.random.default_rng(0).random((2, *shape), "float32"))
    assert feature_map.shape == (2, 2, 2, 256)
    # A mean of four float32 values; a maximum is exact.
    np.testing.assert_allclose(pooled, reduction(feature_map, axis=(1, 2)), rtol=1e-6)


@pytest.mark.parametrize(
    ("activation", "formula"),
    [
        ({}, lambda v: np.exp(v) / np.exp(v).sum(-1, keepdims=True)),  # a softmax unless told otherwise
        ({"classifier_activation": "sigmoid"}, lambda v: 1 / (1 + np.exp(-v))),
    ],
)
def test_classifier_activation_is_applied_to_the_logits(activation, formula):
    model = keras_se.create_model("se_mobilenet", input_shape=IMAGE, classes=5, alpha=0.25, **activation)
    with_random_statistics(model)
    both = keras.Model(model.input, [model.get_layer("logits").output, model.output])
    logits, outputs = both(images())
    assert np.ptp(logits) > 0.1  # else a wrong formula could agree
    # One exponential and one division in float32.
    np.testing.assert_allclose(outputs, formula(np.asarray(logits, "float64")), rtol=1e-5)


def test_classifier_activation_none_ends_in_the_logits():
    with without_values():
        model = keras_se.create_model("se_mobilenet", input_shape=IMAGE, classifier_activation=None)
    assert model.layers[-1] is model.get_layer("logits")
    assert model.layers[-1].activation is keras.activations.linear


def test_unknown_size_takes_images_of_any():
    model = keras_se.create_model("se_mobilenet", input_shape=(None, None, 3), classes=5, alpha=0.25)
    for height, width in ((32, 32), (48, 33)):
        assert model(np.zeros((1, height, width, 3), "float32")).shape == (1, 5)


@pytest.mark.parametrize("name", SMALL)
def test_keras_file_round_trip_gives_the_same_outputs(name, tmp_path):
    model = keras_se.create_model(name, input_shape=IMAGE, classes=5, **SMALL[name])
    with_random_statistics(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(images()), model(images()))  # the same numbers through the same kernels


def test_weights_are_read_from_a_file(tmp_path):
    arguments = {"input_shape": IMAGE, "classes": 5, "alpha": 0.25}
    model = with_random_statistics(keras_se.create_model("se_mobilenet", **arguments))
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    again = keras_se.create_model("se_mobilenet", weights=str(path), **arguments)
    np.testing.assert_array_equal(again(images()), model(images()))


# Names


def test_list_models_matches_shell_style_patterns_in_the_tables_order():
    resnets = ["se_resnet18", "se_resnet34", "se_resnet50", "se_resnet101", "se_resnet152"]
    assert keras_se.list_models("se_resnet???") == ["se_resnet101", "se_resnet152"]
    assert [name for name in keras_se.list_models() if name in resnets] == resnets
    assert keras_se.list_models("*mobilenet") == ["se_mobilenet"]
    assert keras_se.list_models("SE_*") == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_function_builds_what_create_model_builds(name):
    (function,) = (getattr(keras_se, public) for public in vars(keras_se) if public.lower() == name.replace("_", ""))
    assert getattr(keras_se, function.__name__) is function
    arguments = {"input_shape": IMAGE, "classes": 7, "r": 8, "placement": "pre", "gate": "tanh"}
    with without_values():
        model, same_model = function(**arguments), keras_se.create_model(name, **arguments)
    assert (model.name, model.output_shape) == (name, (None, 7))
    assert model.get_config() == same_model.get_config()


# Refusals


def test_refuses_an_unknown_name_and_lists_the_known_ones():
    known = ", ".join(keras_se.list_models())
    with pytest.raises(ValueError, match=re.escape(f"model must be one of {known}; got 'resnet50'")):
        keras_se.create_model("resnet50")


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"placement": "before"}, "got placement='before'"),
        ({"se_stages": (2, 6)}, "got se_stages=(2, 6)"),
        ({"r": 0}, "r must be an integer of at least 1; got r=0"),
        ({"squeeze": "sum"}, "squeeze must be one of avg, max, none; got squeeze='sum'"),
        ({"gate": "gated"}, "gate must be a Keras activation; got gate='gated'"),
        ({"classes": 0}, "classes must be at least 1; got classes=0"),
        ({"pooling": "mean"}, "pooling must be None, avg or max; got pooling='mean'"),
    ],
)
def test_refuses_an_argument_with_the_value(name, arguments, message):
    with without_values(), pytest.raises(ValueError, match=re.escape(message)):
        keras_se.create_model(name, input_shape=IMAGE, **arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "se_resnet50",
            {"placement": "PRE"},
            "placement must be one of standard, pre, post, identity, 3x3, none in this family; got placement='PRE'",
        ),
        (
            "se_mobilenet",
            {"placement": "post"},
            "placement must be one of standard, pre, 3x3, none in this family; got placement='post'",
        ),
        (
            "se_mobilenet",
            {"placement": "identity"},
            "placement must be one of standard, pre, 3x3, none in this family; got placement='identity'",
        ),
        ("se_resnet50", {"se_stages": (6,)}, "se_stages must be among 2, 3, 4, 5; got se_stages=(6,)"),
        ("se_resnet50", {"se_stages": (1,)}, "se_stages must be among 2, 3, 4, 5; got se_stages=(1,)"),
        ("se_mobilenet", {"se_stages": (0,)}, "se_stages must be among 1, 2, 3, 4, 5; got se_stages=(0,)"),
        ("se_resnet50", {"stride_in": "2x2"}, "stride_in must be 1x1 or 3x3; got stride_in='2x2'"),
        ("se_mobilenet", {"alpha": 0}, "alpha must be a number above 0; got alpha=0"),
        ("se_mobilenet", {"alpha": -0.5}, "alpha must be a number above 0; got alpha=-0.5"),
    ],
)
def test_refuses_what_the_family_has_no_room_for_with_the_rule(name, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        keras_se.create_model(name, input_shape=IMAGE, **arguments)


@pytest.mark.parametrize(("name", "argument"), [("se_resnet18", "alpha"), ("se_mobilenet", "stride_in")])
def test_refuses_an_argument_of_another_family(name, argument):
    with pytest.raises(TypeError, match=f"the arguments must be among activation.*, weights; got {argument}=1"):
        keras_se.create_model(name, **{argument: 1})


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 28, 28)])
def test_channels_first_are_refused_with_the_shape_to_pass(shape):
    with pytest.raises(ValueError, match=rf"channels last.*pass \({shape[1]}, {shape[2]}, {shape[0]}\)"):
        keras_se.create_model("se_mobilenet", input_shape=shape, classes=10)


def test_one_class_is_binary_with_a_sigmoid():
    """A softmax of one output would be 1 for every image."""
    model = keras_se.create_model("se_mobilenet", input_shape=(32, 32, 3), classes=1, alpha=0.1)
    assert model.output_shape == (None, 1)
    assert model.layers[-1].activation is keras.activations.sigmoid
