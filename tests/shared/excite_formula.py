"""SqueezeExcite's formula in NumPy, and random features and weights for it."""

import numpy as np

SQUEEZES = {
    "avg": lambda u: u.mean((1, 2), keepdims=True),
    "max": lambda u: u.max((1, 2), keepdims=True),
    "none": lambda u: u,
}


ACTIVATIONS = {
    "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    "double_sigmoid": lambda v: 2 / (1 + np.exp(-v)),
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
    """Set the layer's weights, and return them in the paper's layout: W1, b1, W2, b2 (zeros without biases)."""
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
