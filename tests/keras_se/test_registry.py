"""`create_model` and `list_models`: names, files, the functions of each network, and what is refused."""

import re

import keras
import numpy as np
import pytest

import keras_se
from published_networks import IMAGE, PUBLISHED, SMALL, images, with_random_statistics, without_values


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "se_mobilenet")) for n in SMALL])
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


def test_list_models_matches_shell_style_patterns_in_the_tables_order():
    resnets = ["se_resnet18", "se_resnet34", "se_resnet50", "se_resnet101", "se_resnet152"]
    assert keras_se.list_models("se_resnet???") == ["se_resnet101", "se_resnet152"]
    assert [name for name in keras_se.list_models() if name in resnets] == resnets
    assert keras_se.list_models("*mobilenet") == ["se_mobilenet"]
    assert keras_se.list_models("SE_*") == []


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in SMALL)) for name in PUBLISHED]
)
def test_function_builds_what_create_model_builds(name):
    (function,) = (getattr(keras_se, public) for public in vars(keras_se) if public.lower() == name.replace("_", ""))
    assert getattr(keras_se, function.__name__) is function
    arguments = {"input_shape": IMAGE, "classes": 7, "r": 8, "placement": "pre", "gate": "tanh"}
    with without_values():
        model, same_model = function(**arguments), keras_se.create_model(name, **arguments)
    assert (model.name, model.output_shape) == (name, (None, 7))
    assert model.get_config() == same_model.get_config()


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
