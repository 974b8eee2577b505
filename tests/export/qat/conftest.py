"""A network for tests of `quantize_aware`."""

import keras
import pytest


@pytest.fixture
def on_images():
    """Return a function that builds a network around some layers."""
    return _on_images


def _on_images(*between, pixels=8):
    """A model with layers between its input and a convolution with a dense layer behind."""
    x = inputs = keras.Input((pixels, pixels, 3))
    for layer in between:
        x = layer(x)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(keras.layers.Conv2D(4, 3, name="conv")(x))
    return keras.Model(inputs, keras.layers.Dense(5, name="logits")(x))
