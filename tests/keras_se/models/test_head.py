"""A network's input and its end: resolutions, pooling, classifier and the shapes of outputs."""

import keras
import numpy as np
import pytest

import keras_se
from published_networks import IMAGE, PUBLISHED, SMALL, images, with_random_statistics, without_values


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


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 28, 28)])
def test_channels_first_are_refused_with_the_shape_to_pass(shape):
    with pytest.raises(ValueError, match=rf"channels last.*pass \({shape[1]}, {shape[2]}, {shape[0]}\)"):
        keras_se.create_model("se_mobilenet", input_shape=shape, classes=10)


def test_one_class_is_binary_with_a_sigmoid():
    """A softmax of one output would be 1 for every image."""
    model = keras_se.create_model("se_mobilenet", input_shape=(32, 32, 3), classes=1, alpha=0.1)
    assert model.output_shape == (None, 1)
    assert model.layers[-1].activation is keras.activations.sigmoid
