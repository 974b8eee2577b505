"""Rules of a family for its SE: hidden units, the published default, and arguments that it refuses."""

import re

import keras
import pytest

import keras_se
from keras_se.models.blocks import divisible


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("se_resnext50_32x4d", {"r": 16, "gate": "sigmoid", "use_bias": True}),
        ("se_shufflenet", {"r": 16, "gate": "sigmoid", "use_bias": False}),
        ("mobilenet_v3_large", {"r": 4, "gate": "hard_sigmoid", "use_bias": True}),
    ],
)
def test_se_is_the_published_one_unless_asked_otherwise(name, expected):
    def configurations(**arguments):
        with keras.StatelessScope(initialize_variables=False):
            model = keras_se.create_model(name, input_shape=(64, 64, 3), **arguments)
        layers = [layer for layer in model.layers if isinstance(layer, keras_se.SqueezeExcite)]
        return [{key: layer.get_config()[key] for key in expected} for layer in layers]

    assert set(map(str, configurations())) == {str(expected)}
    other = {"r": 8, "gate": "tanh", "use_bias": not expected["use_bias"]}
    assert set(map(str, configurations(**other))) == {str(other)}


@pytest.mark.parametrize(
    ("value", "units"),
    [
        (4, 8),  # at least one
        (18, 24),  # a quarter of 72; 16 is less than 0.9 of it
        (30, 32),
        (168, 168),
    ],
)
def test_hidden_units_of_mobilenet_v3_are_multiples_of_8(value, units):
    assert divisible(value) == units


def test_se_divisor_rounds_hidden_units():
    """timm's seresnet18 has eight hidden units at 64 channels; its `legacy_` one has four."""
    with keras.StatelessScope(initialize_variables=False):
        model = keras_se.create_model("se_resnet18", input_shape=(64, 64, 3), se_divisor=8)
    hidden = [layer.hidden for layer in model.layers if isinstance(layer, keras_se.SqueezeExcite)]
    assert hidden == [8, 8, 8, 8, 16, 16, 32, 32]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("senet154", {"padding": "valid"}, "padding must be one of same, symmetric; got padding='valid'"),
        ("senet154", {"stem_pool": "same"}, "stem_pool must be ceil or padded; got stem_pool='same'"),
        ("se_resnext50_32x4d", {"stride_in": "7x7"}, "stride_in must be 1x1 or 3x3; got stride_in='7x7'"),
        ("se_resnet18", {"se_divisor": 0}, "se_divisor must be an integer of at least 1; got se_divisor=0"),
        ("mobilenet_v3_small", {"padding": "torch"}, "padding must be one of same, symmetric; got padding='torch'"),
        ("mobilenet_v3_small", {"alpha": 0}, "alpha must be a number above 0; got alpha=0"),
        ("mobilenet_v3_small", {"r": 0}, "r must be an integer of at least 1; got r=0"),
        ("mobilenet_v3_small", {"placement": "post"}, "placement must be one of 3x3, standard, pre, none"),
        ("se_shufflenet", {"placement": "identity"}, "placement must be one of standard, pre, 3x3, none"),
        ("se_shufflenet", {"input_shape": (None, None, 3)}, "height and width must be known in this family; got"),
        ("se_vgg16", {"placement": "pre"}, "placement must be one of standard, none in this family; got"),
        ("se_vgg16", {"input_shape": (None, None, 3)}, "height and width must be at least 32 with include_top; got"),
        ("se_vgg16", {"input_shape": (16, 16, 3)}, "height and width must be at least 32 with include_top; got"),
        ("se_bn_inception", {"placement": "3x3"}, "placement must be one of standard, pre, none in this family; got"),
        ("se_bn_inception", {"se_stages": (1,)}, "se_stages must be among 3, 4, 5; got se_stages=(1,)"),
        ("se_inception_resnet_v2", {"input_shape": (64, 64, 3)}, "height and width must be at least 75"),
        (
            "se_inception_resnet_v2",
            {"modules": (5, 10)},
            "modules must be a list of 3 integers or None; got modules=(5, 10)",
        ),
        ("se_inception_resnet_v2", {"modules": (5, 0, 5)}, "modules must be an integer of at least 1; got modules=0"),
        ("se_wrn16_8", {"se_stages": (4,)}, "se_stages must be among 1, 2, 3; got se_stages=(4,)"),
    ],
)
def test_refuses_what_the_family_has_no_room_for_with_the_rule(name, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        keras_se.create_model(name, **arguments)
