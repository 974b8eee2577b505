"""SqueezeExcite against the paper's formula written in NumPy, in every type, layout and size that it promises."""

import json
import re
import zipfile

import hypothesis
import hypothesis.strategies as st
import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_se import SqueezeExcite
from keras_se.export.conversion.converter import to_tflite

SQUEEZES = {
    "avg": lambda u: u.mean((1, 2), keepdims=True),
    "max": lambda u: u.max((1, 2), keepdims=True),
    "none": lambda u: u,
}
ACTIVATIONS = {
    "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    "hard_sigmoid": lambda v: np.clip(v + 3, 0, 6) / 6,
    "tanh": np.tanh,
    "relu": lambda v: np.maximum(v, 0),
}


def excite(u, w1, b1, w2, b2, *, squeeze="avg", activation="relu", gate="sigmoid"):
    """`s · u`, `s = gate(W2 · relu(W1 · z))`, `z` the mean of `u` over height and width.

    `u` is (batch, height, width, C), `w1` (C/r, C), `w2` (C, C/r), as in arXiv 1709.01507, equations 2 to 4.
    """
    z = SQUEEZES[squeeze](u)
    s = ACTIVATIONS[gate](ACTIVATIONS[activation](z @ w1.T + b1) @ w2.T + b2)
    return s * u


def features(*shape, scale=1.0, seed=0):
    return scale * np.random.default_rng(seed).normal(size=shape).astype("float32")


def with_random_weights(layer, channels, hidden, seed=1):
    """The layer's weights set, and returned in the paper's layout: W1, b1, W2, b2 (zeros without biases)."""
    rng = np.random.default_rng(seed)
    # Logits of a standard deviation between 1 and 4: each gate is seen on both sides of its bends.
    w1 = rng.normal(size=(hidden, channels)) * 4 / np.sqrt(channels)
    w2 = rng.normal(size=(channels, hidden)) * 1.5 / np.sqrt(hidden)
    b1, b2 = rng.normal(size=hidden), rng.normal(size=channels)
    if not layer.use_bias:
        b1, b2 = np.zeros(hidden), np.zeros(channels)
    for dense, w, b in ((layer.reduce, w1, b1), (layer.expand, w2, b2)):
        dense.set_weights([w.T[None, None], b] if layer.use_bias else [w.T[None, None]])
    return w1, b1, w2, b2


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("gate", ACTIVATIONS)
@pytest.mark.parametrize("squeeze", SQUEEZES)
def test_equals_the_formula(squeeze, gate, use_bias, data_format):
    u = features(2, 5, 7, 32)
    x = u if data_format == "channels_last" else u.transpose(0, 3, 1, 2)
    layer = SqueezeExcite(8, squeeze=squeeze, gate=gate, use_bias=use_bias, data_format=data_format)
    layer.build(x.shape)
    weights = with_random_weights(layer, channels=32, hidden=4)
    y = keras.ops.convert_to_numpy(layer(x))
    y = y if data_format == "channels_last" else y.transpose(0, 2, 3, 1)
    # float32 sums of 35 and 32 terms of order 1 against float64: some 70 roundings of 2**-24, 4e-6.
    np.testing.assert_allclose(y, excite(u, *weights, squeeze=squeeze, gate=gate), rtol=1e-5, atol=1e-5)


def test_activation_sits_between_the_two_dense_layers():
    u = features(2, 3, 3, 16)
    layer = SqueezeExcite(4, activation="tanh")
    layer.build(u.shape)
    weights = with_random_weights(layer, channels=16, hidden=4)
    # As above.
    np.testing.assert_allclose(layer(u), excite(u, *weights, activation="tanh"), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "channels", "units"),
    [
        ({}, 64, 4),  # r = 16 by default
        ({"r": 16}, 32, 2),
        ({"r": 4}, 32, 8),
        ({"r": 1}, 32, 32),
        ({"r": 3}, 32, 10),  # floor
        ({"r": 16}, 8, 1),  # never none
        ({"r": 16, "hidden": 12}, 32, 12),  # hidden over r
        ({"hidden": 40}, 32, 40),
    ],
)
def test_hidden_units_are_hidden_or_channels_over_r(arguments, channels, units):
    layer = SqueezeExcite(**arguments)
    layer.build((None, None, None, channels))
    shapes = [tuple(weight.shape) for weight in layer.trainable_weights]
    assert shapes == [(1, 1, channels, units), (units,), (1, 1, units, channels), (channels,)]
    u = features(2, 4, 4, channels)
    weights = with_random_weights(layer, channels, units)
    # As above.
    np.testing.assert_allclose(layer(u), excite(u, *weights), rtol=1e-5, atol=1e-5)


def test_without_biases_only_the_two_kernels_are_left():
    layer = SqueezeExcite(16, use_bias=False)
    layer.build((None, 8, 8, 32))
    assert [tuple(weight.shape) for weight in layer.weights] == [(1, 1, 32, 2), (1, 1, 2, 32)]


def test_every_weight_is_trained():
    u = features(8, 4, 4, 16)
    model = keras.Sequential([keras.Input((4, 4, 16)), SqueezeExcite(2)])
    with_random_weights(model.layers[0], channels=16, hidden=8)
    model.compile(keras.optimizers.SGD(1.0), "mse")
    before = model.get_weights()
    model.fit(u, u, epochs=1, verbose=0)
    assert len(before) == 4
    assert all(np.any(old != new) for old, new in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("policy", "dtype", "epsilon"),
    [("float32", "float32", 2**-23), ("mixed_float16", "float16", 2**-10), ("mixed_bfloat16", "bfloat16", 2**-7)],
)
def test_dtype_policies(policy, dtype, epsilon):
    u = features(2, 6, 6, 32)
    layer = SqueezeExcite(8, dtype=policy)
    layer.build(u.shape)
    weights = with_random_weights(layer, channels=32, hidden=4)
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    y = layer(u)
    assert keras.backend.standardize_dtype(y.dtype) == dtype
    error = np.abs(np.asarray(keras.ops.cast(y, "float32")) - excite(u, *weights))
    # Half a unit each from casting the input, the gate and the product; the rest from the logit, under a slope of 1/4.
    assert np.max(error / np.abs(u)) <= 4 * epsilon


@pytest.mark.parametrize("squeeze", ["avg", "max"])
def test_float16_does_not_overflow_on_a_large_bright_map(squeeze):
    u = np.full((1, 224, 224, 8), 300.0, "float32")  # its sum, 1.5e7, is 230 times float16's largest value
    layer = SqueezeExcite(2, squeeze=squeeze, dtype="mixed_float16")
    layer.build(u.shape)
    w1, w2 = np.full((4, 8), 1 / 2048), np.full((8, 4), 1 / 4)
    layer.reduce.set_weights([w1.T[None, None], np.zeros(4)])
    layer.expand.set_weights([w2.T[None, None], np.zeros(8)])
    expected = 300 / (1 + np.exp(-300 * 8 / 2048))
    # 300, 1/2048 and 1/4 are float16 values; the logit, the gate and the product are rounded by 2**-11 each.
    np.testing.assert_allclose(np.asarray(layer(u), "float32"), expected, rtol=3 * 2**-11)


@pytest.mark.parametrize("squeeze", SQUEEZES)
def test_height_and_width_may_be_unknown(squeeze):
    inputs = keras.Input((None, None, 16))
    layer = SqueezeExcite(4, squeeze=squeeze)
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == (None, None, None, 16)
    weights = with_random_weights(layer, channels=16, hidden=4)
    for size in ((9, 6), (4, 11)):
        u = features(2, *size, 16)
        # As above.
        expected = excite(u, *weights, squeeze=squeeze)
        np.testing.assert_allclose(model.predict(u, verbose=0), expected, rtol=1e-5, atol=1e-5)


NOT_THE_DEFAULTS = {
    "r": 4,
    "hidden": 5,
    "squeeze": "max",
    "activation": "tanh",
    "gate": "hard_sigmoid",
    "use_bias": False,
    "data_format": "channels_first",
    "name": "gate_keeper",
    "trainable": False,
}


def test_config_holds_every_argument():
    config = SqueezeExcite(**NOT_THE_DEFAULTS).get_config()
    assert {key: config[key] for key in NOT_THE_DEFAULTS} == NOT_THE_DEFAULTS
    json.dumps(config)  # raises on what a .keras file could not hold
    again = SqueezeExcite.from_config(config)
    assert again.get_config() == config
    assert (again.activation, again.gate) == (keras.activations.tanh, keras.activations.hard_sigmoid)


def test_keras_file_round_trip_under_the_registered_name(tmp_path):
    path = tmp_path / "model.keras"
    arguments = {**NOT_THE_DEFAULTS, "data_format": "channels_last", "use_bias": True}
    model = keras.Sequential([keras.Input((6, 6, 16)), SqueezeExcite(**arguments)])
    with_random_weights(model.layers[0], channels=16, hidden=5)
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        stored = json.loads(archive.read("config.json"))["config"]["layers"][1]
    assert stored["registered_name"] == "keras_se>SqueezeExcite"
    loaded = keras.models.load_model(path)  # without custom_objects
    assert type(loaded.layers[0]) is SqueezeExcite
    assert loaded.layers[0].get_config() == model.layers[0].get_config()
    u = features(2, 6, 6, 16)
    np.testing.assert_array_equal(loaded(u), model(u))  # the same numbers through the same kernels


def test_is_added_to_a_sequential_model_like_any_layer():
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(64, 3, padding="same", activation="relu")])
    model.add(SqueezeExcite(r=16))
    model.add(keras.layers.GlobalAveragePooling2D())
    model.add(keras.layers.Dense(10))
    assert model.layers[1].output.shape == (None, 32, 32, 64)
    assert model.predict(features(2, 32, 32, 3), verbose=0).shape == (2, 10)


def test_sequential_model_without_an_input_is_built_by_its_first_batch():
    model = keras.Sequential([keras.layers.Conv2D(32, 3)])
    model.add(SqueezeExcite(r=16))
    assert model(features(2, 8, 8, 3)).shape == (2, 6, 6, 32)


def test_lowers_to_five_builtin_operations():
    inputs = keras.Input((8, 8, 32))
    model = keras.Model(inputs, SqueezeExcite(16)(inputs))
    assert to_tflite(model).operation_counts == {"MEAN": 1, "CONV_2D": 2, "LOGISTIC": 1, "MUL": 1}


def test_channels_first_lowers_to_the_same_operations_and_two_changes_of_shape():
    inputs = keras.Input((32, 8, 8))
    model = keras.Model(inputs, SqueezeExcite(16, data_format="channels_first")(inputs))
    expected = {"MEAN": 1, "RESHAPE": 2, "CONV_2D": 2, "LOGISTIC": 1, "MUL": 1}
    assert to_tflite(model).operation_counts == expected


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("squeeze", SQUEEZES)
def test_convolves_with_channels_last(squeeze, data_format):
    """TensorFlow convolves channels first on a CPU only through oneDNN, which not every processor has."""
    layer = SqueezeExcite(4, squeeze=squeeze, data_format=data_format)
    layer.build((2, 16, 16, 16))
    shape = tf.TensorSpec((2, 16, 16, 16), "float32")
    graph = tf.function(layer).get_concrete_function(shape).graph
    layouts = [node.get_attr("data_format") for node in graph.get_operations() if node.type == "Conv2D"]
    assert layouts == [b"NHWC", b"NHWC"]


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_a_softmax_gate_is_taken_over_the_channels(data_format):
    u = features(2, 5, 7, 16)
    x = u if data_format == "channels_last" else u.transpose(0, 3, 1, 2)
    layer = SqueezeExcite(4, gate="softmax", data_format=data_format)
    layer.build(x.shape)
    w1, b1, w2, b2 = with_random_weights(layer, channels=16, hidden=4)
    logits = np.maximum(u.mean((1, 2), keepdims=True) @ w1.T + b1, 0) @ w2.T + b2
    gate = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    y = keras.ops.convert_to_numpy(layer(x))
    y = y if data_format == "channels_last" else y.transpose(0, 2, 3, 1)
    # As above.
    np.testing.assert_allclose(y, gate * u, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("squeeze", SQUEEZES)
def test_channels_first_in_mixed_precision_with_an_unknown_size_compiled(squeeze):
    inputs = keras.Input((16, None, None))
    layer = SqueezeExcite(4, squeeze=squeeze, data_format="channels_first", dtype="mixed_float16")
    model = keras.Model(inputs, layer(inputs))
    weights = with_random_weights(layer, channels=16, hidden=4)
    model.compile(jit_compile=True)
    for size in ((9, 6), (4, 11)):
        u = features(2, *size, 16)
        y = model.predict(u.transpose(0, 3, 1, 2), verbose=0)
        assert y.dtype == "float16"
        error = np.abs(y.transpose(0, 2, 3, 1) - excite(u, *weights, squeeze=squeeze))
        assert np.max(error / np.abs(u)) <= 4 * 2**-10  # as of the dtype policies


@hypothesis.settings(max_examples=30, deadline=None, derandomize=True, database=None)
@hypothesis.given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.integers(1, 24)),
    r=st.integers(1, 32),
    squeeze=st.sampled_from(sorted(SQUEEZES)),
    data_format=st.sampled_from(["channels_last", "channels_first"]),
    scale=st.floats(1e-6, 1e6),
    seed=st.integers(0, 2**32 - 1),
)
def test_keeps_the_shape_and_a_sigmoid_never_enlarges(shape, r, squeeze, data_format, scale, seed):
    x = features(*shape, scale=np.float32(scale), seed=seed)
    layer = SqueezeExcite(r, squeeze=squeeze, data_format=data_format)
    y = keras.ops.convert_to_numpy(layer(x))
    assert layer.compute_output_shape(x.shape) == y.shape == x.shape
    # Exact: a gate of at most 1 cannot round a product above its factor; and a gate is never negative.
    assert np.all(np.abs(y) <= np.abs(x))
    assert np.all(y * x >= 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"r": 0}, "r must be an integer of at least 1; got r=0"),
        ({"r": -4}, "r must be an integer of at least 1; got r=-4"),
        ({"r": True}, "r must be an integer of at least 1; got r=True"),
        ({"r": 2.5}, "r must be an integer of at least 1; got r=2.5"),
        ({"r": "16"}, "r must be an integer of at least 1; got r='16'"),
        ({"hidden": 0}, "hidden must be an integer of at least 1; got hidden=0"),
        ({"hidden": 1.5}, "hidden must be an integer of at least 1; got hidden=1.5"),
        ({"squeeze": "mean"}, "squeeze must be one of avg, max, none; got squeeze='mean'"),
        ({"squeeze": None}, "squeeze must be one of avg, max, none; got squeeze=None"),
        ({"gate": "sigmoidal"}, "gate must be a Keras activation; got gate='sigmoidal'"),
        ({"activation": "rely"}, "activation must be a Keras activation; got activation='rely'"),
        ({"data_format": "NHWC"}, "data_format must be channels_last or channels_first; got data_format='NHWC'"),
    ],
)
def test_refuses_an_argument_with_the_rule_and_the_value(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        SqueezeExcite(**arguments)


@pytest.mark.parametrize(
    ("shape", "data_format", "message"),
    [
        ((None, 32), "channels_last", "SqueezeExcite takes an input of rank 4; got the shape (None, 32)"),
        ((None, 8, 32), "channels_last", "SqueezeExcite takes an input of rank 4; got the shape (None, 8, 32)"),
        (
            (None, 8, 8, None),
            "channels_last",
            "SqueezeExcite must know its number of channels (channels_last); got the shape (None, 8, 8, None)",
        ),
        (
            (None, None, 8, 8),
            "channels_first",
            "SqueezeExcite must know its number of channels (channels_first); got the shape (None, None, 8, 8)",
        ),
    ],
)
def test_refuses_an_input_with_the_rule_and_its_shape(shape, data_format, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        SqueezeExcite(data_format=data_format)(keras.Input(batch_shape=shape))
