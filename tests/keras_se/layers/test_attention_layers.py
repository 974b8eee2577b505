"""The layers beside SE against their papers' formulas written in NumPy."""

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
    """The layer's output, written as in its paper; `u` is (batch, height, width, channels)."""
    weights = [weight.astype("float64") for weight in layer.get_weights()]
    z, largest = u.mean((1, 2)), u.max((1, 2))
    match layer:
        case EfficientChannelAttention():  # arXiv 1910.03151, equation 7, and k of equation 12
            kernel, half = weights[0].ravel(), weights[0].size // 2
            padded = np.pad(z, ((0, 0), (half, half)))
            gate = np.stack([padded[:, i : i + kernel.size] @ kernel for i in range(z.shape[1])], axis=1)
            return u * sigmoid(gate)[:, None, None]
        case EffectiveSqueezeExcite():  # arXiv 1911.06667, equations 2 and 3
            return u * sigmoid(z @ weights[0][0, 0] + weights[1])[:, None, None]
        case GatherExcite(extent=None):  # arXiv 1810.12348, section 3.1: GE-θ⁻, global
            return u * sigmoid(z)[:, None, None]
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
            return u * sigmoid(sum(both))[:, None, None]
        case SpatialAttention():  # equation 3
            maps, half = np.stack([u.mean(-1), u.max(-1)], -1), layer.kernel_size // 2
            padded = np.pad(maps, ((0, 0), (half, half), (half, half), (0, 0)))
            size = layer.kernel_size
            gate = np.array(
                [
                    [
                        np.sum(padded[:, y : y + size, x : x + size] * weights[0][..., 0], (1, 2, 3))
                        for x in range(u.shape[2])
                    ]
                    for y in range(u.shape[1])
                ]
            )
            return u * sigmoid(gate.transpose(2, 0, 1))[..., None]
    raise AssertionError(layer)


LAYERS = [
    EfficientChannelAttention(),
    EfficientChannelAttention(kernel_size=5),
    EffectiveSqueezeExcite(),
    GatherExcite(),
    GatherExcite(extent=1),
    GatherExcite(extent=2),
    GatherExcite(extent=4),
    ChannelAttention(r=8),
    SpatialAttention(),
    SpatialAttention(kernel_size=3),
]


@pytest.mark.parametrize(
    "layer", LAYERS, ids=lambda layer: f"{type(layer).__name__}-{list(layer.get_config().values())[-1]}"
)
def test_equals_the_formula_also_as_its_config_says_it(layer):
    u = features(2, 6, 7, 32)
    layer = type(layer).from_config(layer.get_config())
    layer.build(u.shape)
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.get_weights()])
    # float32 sums of up to 98 terms of order 1 against float64: some 200 roundings of 2**-24.
    np.testing.assert_allclose(np.asarray(layer(u)), formula(layer, u.astype("float64")), rtol=2e-5, atol=2e-5)


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
        (lambda: GatherExcite(2)(keras.Input((None, 8, 4))), "GatherExcite must know the height and width"),
        *(
            (lambda layer=layer: layer(keras.Input((8, 4))), f"{type(layer).__name__} takes (batch, height, width, ch")
            for layer in (EffectiveSqueezeExcite(), ChannelAttention())
        ),
    ],
)  # fmt: skip
def test_refuses_with_the_rule_and_the_value(build, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build()
