"""SE's place in a block against the formulas of the paper, and how arguments reach every SE."""

import keras
import pytest

import keras_se
from keras_se import SqueezeExcite
from keras_se.models.head import Head
from keras_se.models.mobilenet import Separable, mobilenet
from keras_se.models.placement import SE
from keras_se.models.resnet import ResNet
from published_networks import IMAGE, PUBLISHED, SMALL, expression, feature_map, same, size, without_values

PLACEMENTS = ("standard", "pre", "post", "identity", "3x3", "none")


def se_layers(model):
    return [layer for layer in model.layers if isinstance(layer, SqueezeExcite)]


def se(x):
    return f"SE({x})"


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
