"""SqueezeExcite against the paper's formula written in NumPy, in every type, layout and size that it promises."""

import json
import re
import zipfile

import hypothesis
import hypothesis.strategies as st
import keras
import numpy as np
import pytest

from excite_formula import ACTIVATIONS, SQUEEZES, excite, features, with_random_weights
from keras_se import SqueezeExcite


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


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("squeeze", SQUEEZES)
@pytest.mark.parametrize("sizes", [(35,), (5, 7, 1), (1, 5, 7)])
def test_signals_and_volumes_are_excited_as_the_image_of_their_positions(sizes, squeeze, data_format):
    u = features(2, 5, 7, 32)
    x = u.reshape(2, *sizes, 32)
    x = x if data_format == "channels_last" else np.moveaxis(x, -1, 1)
    layer = SqueezeExcite(8, squeeze=squeeze, data_format=data_format)
    layer.build(x.shape)
    weights = with_random_weights(layer, channels=32, hidden=4)
    y = keras.ops.convert_to_numpy(layer(x))
    y = y if data_format == "channels_last" else np.moveaxis(y, 1, -1)
    # As above.
    np.testing.assert_allclose(y.reshape(u.shape), excite(u, *weights, squeeze=squeeze), rtol=1e-5, atol=1e-5)


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
        ((None, 32), "channels_last", "SqueezeExcite takes an input of rank 3 to 5; got the shape (None, 32)"),
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
