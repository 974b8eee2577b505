"""EfficientNet, EfficientNet-Lite and MnasNet: their SE, their stochastic depth, and keras.applications' network."""

import keras
import numpy as np
import pytest

import keras_se
from keras_se.models.blocks import NORM
from keras_se.models.inverted_residual import Bneck, inverted_residual
from keras_se.models.placement import SE
from published_networks import assert_close, with_random_statistics, without_values

SMALL = {"input_shape": (32, 32, 3), "classes": 5, "alpha": 0.25}


def excitations_of(name, **arguments):
    """Return SE's layers of a network, by the number of their block."""
    with without_values():
        model = keras_se.create_model(name, **arguments)
    layers = [layer for layer in model.layers if isinstance(layer, keras_se.SqueezeExcite)]
    return {int(layer.name.removeprefix("block").removesuffix("_se")): layer for layer in layers}


@pytest.mark.parametrize("placement", ["3x3", *(pytest.param(p, marks=pytest.mark.slow) for p in ("standard", "pre"))])
def test_hidden_units_are_a_quarter_of_the_channels_that_a_block_is_given(placement):
    blocks = excitations_of("efficientnet_b0", placement=placement)
    # Outputs of the stages, arXiv 1905.11946, table 1; the depths are 1, 2, 2, 3, 3, 4 and 1.
    outputs = [16, *[24] * 2, *[40] * 2, *[80] * 3, *[112] * 3, *[192] * 4, 320]
    assert [layer.reduce.filters for layer in blocks.values()] == [inputs // 4 for inputs in (32, *outputs[:-1])]
    assert {layer.activation for layer in blocks.values()} == {keras.activations.silu}


def test_hidden_units_are_rounded_where_asked():
    blocks = excitations_of("mnasnet_a1", **SMALL, r=2, se_divisor=5)
    # Of 8, 16, 16, 24, 32, 32, 40 and 40 channels: halves to multiples of 5, and never less than 0.9 of them.
    assert [layer.reduce.filters for layer in blocks.values()] == [5, 10, 10, 15, 15, 15, 20, 20]


def test_mnasnet_has_se_in_three_stages_and_lite_in_none():
    blocks = excitations_of("mnasnet_a1", **SMALL)
    assert list(blocks) == [4, 5, 6, 11, 12, 13, 14, 15]  # arXiv 1807.11626, figure 7: depths 1, 2, 3, 4, 2, 3 and 1
    assert {layer.activation for layer in blocks.values()} == {keras.activations.relu}
    assert excitations_of("efficientnet_lite0", **SMALL) == {}


# Stochastic depth


def block(drop, seed=0):
    keras.utils.set_random_seed(seed)
    image = keras.Input((4, 4, 8))
    row = Bneck(kernel=3, expand=16, out=8, se=True, activation="relu", stride=1)
    return keras.Model(
        image, inverted_residual(image, row, "b", padding="same", norm=NORM, se=SE("3x3"), stage=1, drop=drop)
    )


def test_a_block_is_left_out_of_whole_images_and_else_scaled_so_that_the_mean_stays():
    x = np.random.default_rng(0).random((32, 4, 4, 8), "float32")
    added = np.array(block(0.0)(x, training=True)) - x
    dropped = np.array(block(0.25)(x, training=True)) - x
    kept = np.abs(dropped).max(axis=(1, 2, 3)) > 1e-6
    assert 0 < kept.sum() < 32
    np.testing.assert_allclose(dropped[kept], added[kept] / 0.75, rtol=1e-4, atol=1e-5)  # float32
    np.testing.assert_array_equal(block(0.25)(x), block(0.0)(x))


def test_the_share_that_is_left_out_grows_with_the_depth():
    with without_values():
        model = keras_se.create_model("efficientnet_b0", **SMALL, drop_connect=0.4)
        published = keras_se.create_model("mnasnet_a1", **SMALL)
    rates = {layer.name: layer.rate for layer in model.layers if layer.name.endswith("_drop")}
    shortcuts = [3, 5, 7, 8, 10, 11, 13, 14, 15]  # blocks that are no first one of a stage, of 16
    assert rates == pytest.approx({f"block{number}_drop": 0.4 * (number - 1) / 16 for number in shortcuts})
    assert not [layer.name for layer in published.layers if layer.name.endswith("_drop")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"drop_connect": 1.0}, r"drop_connect must be in 0..1, and below 1; got drop_connect=1.0"),
        ({"alpha": 0.0}, "alpha must be a number above 0; got alpha=0.0"),
        ({"epsilon": 0.0}, "epsilon must be above 0; got epsilon=0.0"),
        ({"placement": "post"}, "placement must be one of 3x3, standard, pre, none in this family"),
        ({"padding": "valid"}, "padding must be one of same, symmetric"),
    ],
)
def test_what_the_family_has_no_room_for_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        keras_se.create_model("efficientnet_b0", **{**SMALL, **arguments})


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 75])
@pytest.mark.parametrize("number", [0, 1])
def test_it_computes_what_keras_applications_do_with_the_same_weights(number, size):
    """Theirs scales pixels by 1/255 itself."""
    shape = (size, size, 3)
    ours = with_random_statistics(
        keras_se.create_model(f"efficientnet_b{number}", input_shape=shape, classes=10, classifier_activation=None)
    )
    theirs = getattr(keras.applications, f"EfficientNetB{number}")(
        weights=None, input_shape=shape, classes=10, classifier_activation=None
    )
    layers = [layer for layer in theirs.layers if not isinstance(layer, keras.layers.Normalization)]
    for variable, value in zip([weight for layer in layers for weight in layer.weights], ours.weights, strict=True):
        variable.assign(value)
    pixels = np.random.default_rng(0).random((2, *shape), "float32")
    assert_close(np.array(theirs(pixels * 255)), np.array(ours(pixels)), of=1e-4)
