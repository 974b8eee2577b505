"""The layers beside SE against their papers' formulas written in NumPy, in every layout and rank that they promise."""

import itertools
import re

import keras
import numpy as np
import pytest

from excite_formula import features
from keras_se import (
    ChannelAttention,
    EffectiveSqueezeExcite,
    EfficientChannelAttention,
    GatherExcite,
    SpatialAttention,
)


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def formula(layer, u):
    """The layer's output, written as in its paper; `u` is (batch, …, channels), float64."""
    positions = tuple(range(1, u.ndim - 1))
    weights = [weight.astype("float64") for weight in layer.get_weights()]
    z, largest = u.mean(positions), u.max(positions)
    everywhere = (slice(None), *[None] * len(positions))
    match layer:
        case EfficientChannelAttention():  # arXiv 1910.03151, equation 7, and k of equation 12
            kernel, half = weights[0].ravel(), weights[0].size // 2
            padded = np.pad(z, ((0, 0), (half, half)))
            gate = np.stack([padded[:, i : i + kernel.size] @ kernel for i in range(z.shape[1])], axis=1)
            return u * sigmoid(gate)[everywhere]
        case EffectiveSqueezeExcite():  # arXiv 1911.06667, equations 2 and 3
            return u * sigmoid(z @ weights[0][0, 0] + weights[1])[everywhere]
        case GatherExcite(learned=True):
            return u * sigmoid(gathered(layer, u))
        case GatherExcite(extent=None):  # arXiv 1810.12348, section 3.1: GE-θ⁻, global
            return u * sigmoid(z)[everywhere]
        case GatherExcite():  # the mean of |u - e·i| < e, for the position i that is nearest from above
            _, height, width, _ = u.shape
            means, e = np.empty(u.shape), layer.extent
            for y, x in np.ndindex(height, width):
                top, left = y // e * e, x // e * e
                window = u[:, max(top - e + 1, 0) : top + e, max(left - e + 1, 0) : left + e]
                means[:, y, x] = window.mean((1, 2))
            return u * sigmoid(means)
        case ChannelAttention():  # arXiv 1807.06521, equation 2
            reduce, expand = weights[0][0, 0], weights[1][0, 0]
            both = [np.maximum(vector @ reduce, 0) @ expand for vector in (z, largest)]
            return u * sigmoid(sum(both))[everywhere]
        case SpatialAttention():  # equation 3
            maps, half = np.stack([u.mean(-1), u.max(-1)], -1), layer.kernel_size // 2
            padded = np.pad(maps, [(0, 0), *[(half, half)] * len(positions), (0, 0)])
            gate = 0
            for offset in np.ndindex(weights[0].shape[:-2]):
                window = tuple(slice(o, o + size) for o, size in zip(offset, u.shape[1:-1], strict=True))
                gate = gate + padded[:, *window] @ weights[0][offset]
            return u * sigmoid(gate)
    raise AssertionError(layer)


def gathered(layer, u):
    """GE-θ of arXiv 1810.12348, section 3.2, of images: convolutions of each channel, normalised, and repeated."""
    _, height, width, _ = u.shape
    x, stride = u, 1 if layer.extent is None else 2
    for number, (convolution, normalisation) in enumerate(layer.steps):
        kernel = np.asarray(convolution.kernel, "float64")[..., 0]
        mean, variance, scale, offset = (
            np.asarray(getattr(normalisation, name), "float64")
            for name in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        x = np.maximum(x, 0) if number else x
        x = x if layer.extent is None else np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        rows, columns = ((x.shape[axis] - kernel.shape[axis - 1]) // stride + 1 for axis in (1, 2))
        x = sum(
            x[:, i : i + stride * rows : stride, j : j + stride * columns : stride][:, :rows, :columns] * kernel[i, j]
            for i, j in np.ndindex(kernel.shape[:2])
        )
        x = scale * (x - mean) / np.sqrt(variance + normalisation.epsilon) + offset
    if layer.extent is None:
        return x
    return x.repeat(layer.extent, 1).repeat(layer.extent, 2)[:, :height, :width]


def with_random_weights(layer, size=1.0):
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        values = rng.normal(size=weight.shape) * size
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.name else values)
    return layer


def first(u):
    """Channels first."""
    return np.moveaxis(u, -1, 1)


LAYERS = {
    "ECA": (EfficientChannelAttention, {}),
    "ECA of 5": (EfficientChannelAttention, {"kernel_size": 5}),
    "eSE": (EffectiveSqueezeExcite, {}),
    "GE": (GatherExcite, {}),
    "GE by 1": (GatherExcite, {"extent": 1}),
    "GE by 2": (GatherExcite, {"extent": 2}),
    "GE by 4": (GatherExcite, {"extent": 4}),
    "GE learned": (GatherExcite, {"learned": True}),
    "GE learned by 2": (GatherExcite, {"extent": 2, "learned": True}),
    "GE learned by 4": (GatherExcite, {"extent": 4, "learned": True}),
    "GE learned by 8": (GatherExcite, {"extent": 8, "learned": True}),
    "channel": (ChannelAttention, {"r": 8}),
    "spatial": (SpatialAttention, {}),
    "spatial of 3": (SpatialAttention, {"kernel_size": 3}),
}
OF_ANY_RANK = ("ECA", "eSE", "GE", "channel", "spatial")


@pytest.mark.parametrize("name", LAYERS)
def test_equals_the_formula_also_as_its_config_says_it(name):
    kind, arguments = LAYERS[name]
    u = features(2, 6, 7, 32)
    for data_format in ("channels_last", "channels_first"):
        config = kind(**arguments, data_format=data_format).get_config()
        assert {key: config[key] for key in arguments} == arguments
        layer = kind.from_config(config)
        x = u if data_format == "channels_last" else first(u)
        layer.build(x.shape)
        y = np.asarray(with_random_weights(layer)(x))
        expected = formula(layer, u.astype("float64"))
        expected = expected if data_format == "channels_last" else first(expected)
        # float32 sums of up to 98 terms of order 1 against float64: some 200 roundings of 2**-24.
        np.testing.assert_allclose(y, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", OF_ANY_RANK)
def test_signals_and_volumes_are_gated_by_the_same_formula(name):
    kind, arguments = LAYERS[name]
    u = features(2, 6, 8, 16)
    for sizes, data_format in itertools.product([(48,), (6, 4, 2)], ["channels_last", "channels_first"]):
        of_sizes = u.reshape(2, *sizes, 16)
        x = of_sizes if data_format == "channels_last" else first(of_sizes)
        layer = kind(**arguments, data_format=data_format)
        layer.build(x.shape)
        y = np.asarray(with_random_weights(layer, 0.3)(x))
        y = y if data_format == "channels_last" else np.moveaxis(y, 1, -1)
        # Sums of up to 686 terms, of order 0.3.
        np.testing.assert_allclose(y, formula(layer, of_sizes.astype("float64")), rtol=2e-5, atol=2e-5)


@pytest.mark.slow
def test_in_mixed_precision_with_an_unknown_size_compiled():
    inputs = keras.Input((None, None, 16))
    known = [name for name in LAYERS if name != "GE learned"]  # whose kernel has the size of the map
    layers = [kind(**arguments, dtype="mixed_float16") for kind, arguments in map(LAYERS.get, known)]
    model = keras.Model(inputs, [layer(inputs) for layer in layers])
    assert set(model.output_shape) == {(None, None, None, 16)}
    assert {weight.dtype for weight in model.weights} == {"float32"}
    for layer in layers:
        with_random_weights(layer, 0.3)
    model.compile(jit_compile=True)
    for size in ((9, 6), (4, 11)):
        u = features(2, *size, 16)
        for name, layer, y in zip(known, layers, model.predict(u, verbose=0), strict=True):
            assert y.dtype == "float16"
            error = np.abs(y - formula(layer, u.astype("float64"))) / np.abs(u)
            # Logits of order 1 are rounded a few times by 2**-11, under a slope of 1/4; so are gate and product.
            assert np.max(error) <= 4 * 2**-10, name


def test_a_learned_gathering_trains_every_weight_and_the_statistics():
    u = features(8, 8, 8, 16)
    layer = GatherExcite(4, learned=True)
    model = keras.Sequential([keras.Input((8, 8, 16)), layer])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    before = model.get_weights()
    model.fit(u, u, epochs=1, verbose=0)
    assert len(before) == 2 * 5
    assert all(np.any(old != new) for old, new in zip(before, model.get_weights(), strict=True))


def test_a_keras_file_holds_a_learned_gathering(tmp_path):
    u = features(2, 6, 7, 16)
    model = keras.Sequential([keras.Input((6, 7, 16)), GatherExcite(2, learned=True)])
    with_random_weights(model.layers[0])
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(u), model(u))


@pytest.mark.parametrize(("channels", "size"), [(32, 3), (64, 3), (256, 5), (512, 5), (1024, 5), (2048, 7)])
def test_the_kernel_over_channels_grows_with_their_logarithm(channels, size):
    """arXiv 1910.03151, section 3.2.3: k of 3, 5 and 7 in ResNet's stages, of |log2(C) / 2 + 1 / 2| made odd."""
    layer = EfficientChannelAttention()
    layer.build((None, None, None, channels))
    assert layer.over_channels.kernel.shape == (1, size, 1, 1)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: EfficientChannelAttention(kernel_size=4), "kernel_size must be odd; got kernel_size=4"),
        (lambda: SpatialAttention(0), "kernel_size must be an integer of at least 1; got kernel_size=0"),
        (lambda: ChannelAttention(0.5), "r must be an integer of at least 1; got r=0.5"),
        (lambda: GatherExcite(0), "extent must be an integer of at least 1; got extent=0"),
        (lambda: GatherExcite(3, learned=True), "extent must be 2, 4, 8 or None with learned=True; got extent=3"),
        (lambda: GatherExcite(2)(keras.Input((8, 4))), "takes images, of rank 4, with an extent or learned=True; got"),
        (lambda: GatherExcite(learned=True)(keras.Input((None, 8, 4))), "must know the size of the map with learned="),
        (lambda: EffectiveSqueezeExcite(data_format="NHWC"), "data_format must be channels_last or channels_first"),
        (lambda: ChannelAttention()(keras.Input((4,))), "ChannelAttention takes an input of rank 3 to 5; got the sha"),
        (lambda: SpatialAttention()(keras.Input((8, 8, None))), "must know its number of channels (channels_last)"),
    ],
)  # fmt: skip
def test_refuses_with_the_rule_and_the_value(build, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build()
