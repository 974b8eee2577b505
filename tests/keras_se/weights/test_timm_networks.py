"""Weights of timm's networks: the logits of timm itself, the heads, and the names that a model takes."""

import logging
import math
import re

import keras
import numpy as np
import pytest

import keras_se
from keras_se import registry
from keras_se.weights.state_dict import tensors
from keras_se.weights.timm_mapping import ARCHITECTURES, NAMINGS, PUBLISHED, architecture_of
from timm_networks import ANSWERS, CLASSES, PORTED, ROWS, create, error_of, golden, images, network

DEEP = "1[05]|^tf|efficientnet_(b[1-7]|lite)"
"""Networks of many layers, and those whose twin has the same names."""


@pytest.mark.parametrize("size", ["even", "odd"])
@pytest.mark.parametrize("name", ROWS)
def test_logits_are_timms(name, size, tiny):
    model = tiny(name)
    if size == "even":
        loaded = network(name)
    else:
        loaded = create(model, golden(name), size, classifier_activation=None, **PORTED.get(name, {}))
    assert error_of(loaded(images(size)), ANSWERS[f"{name}/{size}"]) < 1e-4  # float32 in another order: 1e-6 measured


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("seresnet18", {"stem_pool": "ceil"}),
        ("seresnet18", {"last_activation": "relu"}),
        ("seresnet50", {"stride_in": "1x1"}),
        ("seresnet50", {"padding": "same"}),
        ("senet154", {"padding": "same"}),
        ("legacy_seresnet18", {"last_activation": None}),
        ("legacy_seresnet50", {"stride_in": "3x3"}),
        ("legacy_senet154", {"stem_pool": "padded"}),
        ("mobilenetv3_small_100", {"padding": "same"}),
        ("tf_mobilenetv3_small_100", {"padding": "symmetric"}),
        ("efficientnet_b0", {"padding": "same"}),
        ("tf_efficientnet_b0", {"padding": "symmetric"}),
        ("efficientnet_b0", {"activation": "relu"}),
        ("semnasnet_100", {"activation": "swish"}),
    ],
)
def test_the_golden_answers_tell_each_topology_from_its_neighbour(name, wrong, tiny):
    architecture = ARCHITECTURES[name]
    tiny(name)
    right = network(name)
    arguments = {**architecture.arguments, **wrong}
    other = create(architecture.model, None, classes=CLASSES, classifier_activation=None, **arguments)
    for layer in other.layers:
        if layer.weights:
            layer.set_weights(right.get_layer(layer.name).get_weights())
    assert error_of(other(images()), ANSWERS[f"{name}/even"]) > 1e-2


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * bool(re.search(DEEP, name))) for name in ARCHITECTURES]
)
def test_every_variable_of_the_whole_network_has_its_own_key(name):
    architecture = ARCHITECTURES[name]
    naming = NAMINGS[architecture.naming]
    with keras.StatelessScope(initialize_variables=False):
        model = keras_se.create_model(architecture.model, **architecture.arguments)
        mapped = list(tensors(model, naming.names(registry.find(architecture.model).row), naming))
    assert len({tensor.key for tensor in mapped}) == len(mapped) == len(model.weights)
    assert all(math.prod(tensor.shape) == math.prod(tensor.variable.shape) for tensor in mapped)
    assert any(tensor.key.startswith(naming.mark) for tensor in mapped)


@pytest.mark.parametrize("name", ["seresnet50", "legacy_seresnet50", "mobilenetv3_small_100"])
def test_other_classes_keep_the_backbone_and_name_the_head_that_is_replaced(name, tiny, caplog):
    model = tiny(name)
    whole = network(name)
    with caplog.at_level(logging.WARNING, "keras_se"):
        tuned = create(model, golden(name), classes=3)
    (message,) = (record.getMessage() for record in caplog.records)
    head = NAMINGS[ARCHITECTURES[name].naming].head[-1]
    assert f"its classifier {head}, of 7 classes, is replaced by one of 3" in message
    assert tuned.output_shape == (None, 3)
    for ours, theirs in zip(tuned.get_weights()[:-2], whole.get_weights()[:-2], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert np.all(tuned.get_layer("logits").bias == 0)


@pytest.mark.parametrize("name", ["seresnet50", "mobilenetv3_small_100"])
def test_without_the_top_the_backbone_loads_and_nothing_is_said(name, tiny, caplog):
    model = tiny(name)
    features = create(model, golden(name), include_top=False, pooling="avg")
    whole = network(name)
    pooled = keras.Model(whole.input, whole.get_layer("avg_pool").output)
    np.testing.assert_array_equal(features(images()), pooled(images()))
    assert not caplog.records


def test_classes_are_the_checkpoints_unless_asked_otherwise(tiny):
    tiny("seresnet18")
    assert network("seresnet18").output_shape == (None, CLASSES)


def test_list_weights_names_what_loads_into_a_model():
    assert keras_se.list_weights("senet154") == ["timm/senet154.gluon_in1k", "timm/legacy_senet154.in1k"]
    assert keras_se.list_weights("se_vgg16") == []
    assert all(architecture_of(name) in ARCHITECTURES for name in PUBLISHED)
