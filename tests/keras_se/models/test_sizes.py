"""Parameters and multiply-accumulates of SE-ResNets and SE-MobileNet against the papers' figures and formulas."""

import re

import keras
import pytest

import keras_se
from keras_se import SqueezeExcite
from published_networks import IMAGE, PUBLISHED, size, without_values


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
