"""Weight decay: the kernels that it is on, and the loss that it adds."""

import keras
import pytest

from keras_se.registry import create_model
from keras_se.training.optimizer import decay_kernels

FLOAT32 = 1e-6  # relative: some roundings of 6e-8


def decayed(tiny_model, weight_decay):
    model = create_model(tiny_model, input_shape=(32, 32, 3), classes=10, use_bias=True)
    decay_kernels(model, weight_decay)
    return model


def test_decay_is_on_convolution_and_dense_kernels_and_on_nothing_else(tiny_model):
    model = decayed(tiny_model, 1e-2)
    kept = {variable.path for variable in model.trainable_variables if variable.regularizer is not None}
    kernels = {path for path in (variable.path for variable in model.trainable_variables) if path.endswith("/kernel")}
    assert kept == kernels
    others = {variable.name for variable in model.trainable_variables} - {"kernel"}
    assert others == {"gamma", "beta", "bias"}  # what must be free is there to be free


def test_the_loss_that_decay_adds_is_half_the_squares_of_the_kernels(tiny_model):
    """`wd / 2 · Σ|w|²`, in float64 by NumPy, so that the gradient is `wd · w`."""
    model = decayed(tiny_model, 1e-2)
    kernels = [variable.numpy().astype(float) for variable in model.trainable_variables if variable.name == "kernel"]
    expected = 1e-2 / 2 * sum((kernel**2).sum() for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=FLOAT32)


def test_decay_of_the_model_is_in_the_loss_of_a_network_made_of_its_layers(tiny_model):
    """Training runs on the logits of the model, through a second `keras.Model`."""
    model = decayed(tiny_model, 1e-2)
    trained = keras.Model(model.input, model.get_layer("logits").output)
    assert float(sum(trained.losses)) == pytest.approx(float(sum(model.losses)))


def test_no_decay_adds_no_loss(tiny_model):
    assert decayed(tiny_model, 0.0).losses == []
