"""Training moves a quantization-aware model as it moves the original, and leaves what is constant or frozen."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_se
from keras_se.export import quantize_aware
from keras_se.export.qat import fake_quant
from keras_se.export.qat.fake_quant import FakeQuantize, RoundedWeights


def images_of(pixels=8, number=8):
    return np.random.default_rng(0).random((number, pixels, pixels, 3), "float32")


def unrounded(aware, monkeypatch):
    """Return the model with its parameters, which computes without any rounding."""
    monkeypatch.setattr(fake_quant, "rounded_kernel", lambda layer, kernel: kernel)
    for layer in aware.layers:
        if isinstance(layer, FakeQuantize):
            monkeypatch.setattr(layer, "call", lambda x: x)
    return aware


def after_steps(model, images, wanted, *, rate, steps=1):
    """Outputs after steps of plain SGD on a squared error, batch normalisation as at inference."""
    optimizer = keras.optimizers.SGD(rate)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(images, training=False) - wanted) ** 2)
        gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    return np.asarray(model(images, training=False))


@pytest.mark.parametrize("target", ["phone_cpu", "ethos_u55_128"])
def test_a_step_of_sgd_moves_the_function_as_far_as_the_original(target, randomise, monkeypatch):
    """Hard swish's sixth in the next kernel made it move 36 times as far, and a normalisation by its own scale."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Rescaling(2.0, -1.0, name="centre")(inputs)
    x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(x)
    x = keras.layers.Activation("hard_swish", name="swish")(keras.layers.BatchNormalization(name="stem_bn")(x))
    x = keras.layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = keras.layers.Activation("hard_swish", name="swish2")(keras.layers.BatchNormalization(name="depthwise_bn")(x))
    x = keras_se.SqueezeExcite(2, gate="hard_sigmoid", name="se")(x)
    x = keras.layers.BatchNormalization(name="bn")(keras.layers.Conv2D(8, 1, name="project")(x))
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    model = keras.Model(inputs, keras.layers.Dense(4, name="logits")(x))
    randomise(model, 0)
    images, wanted = images_of(16), np.random.default_rng(1).normal(size=(8, 4)).astype("float32")
    aware = unrounded(quantize_aware(model, calibration=images, target=target, learned=False), monkeypatch)
    before = np.asarray(model(images, training=False))
    np.testing.assert_allclose(aware(images), before, atol=1e-5)
    rate = 1e-2
    moved = after_steps(model, images, wanted, rate=rate) - before
    assert np.abs(moved).max() > 1e-3
    got = after_steps(aware, images, wanted, rate=rate) - before
    if target == "phone_cpu":
        # Float32 knows outputs of about 1 to 1e-7, and so a step of some thousandths to 1e-4.
        np.testing.assert_allclose(got, moved, rtol=0, atol=3e-4 * np.abs(moved).max())
    else:  # a squeeze behind its convolution is a kernel of its own, of two; it moves no further than these
        assert np.linalg.norm(got) < 2 * np.linalg.norm(moved)


def test_what_is_constant_stays_so_in_training(on_images, randomise, tmp_path):
    """A Rescaling is a convolution by 1 in the file; it was trained as one."""
    model = on_images(keras.layers.Rescaling([2.0, 3.0, 4.0], -1.0, name="centre"))
    randomise(model, 0)
    aware = quantize_aware(model, calibration=images_of())
    [rescaling] = [layer for layer in aware.layers if layer.name == "centre"]
    assert isinstance(rescaling, RoundedWeights)
    assert rescaling.trainable_variables == []
    aware.save(tmp_path / "aware.keras")
    aware = keras.models.load_model(tmp_path / "aware.keras")
    after_steps(aware, images_of(), np.ones((8, 5), "float32"), rate=0.1, steps=3)
    kernel, bias = aware.get_layer("centre").folded()
    np.testing.assert_array_equal(np.ravel(kernel), [2, 3, 4])
    np.testing.assert_array_equal(bias, [-1, -1, -1])


def test_what_was_frozen_stays_so_and_its_ranges_too(randomise):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="frozen")(inputs)
    x = keras.layers.ReLU(name="relu")(keras.layers.BatchNormalization(name="norm")(x))
    x = keras.layers.Conv2D(4, 1, use_bias=False, name="free")(x)
    x = keras.layers.BatchNormalization(name="frozen_norm")(x)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D(name="mean")(x))
    randomise(model, 0)

    def trained_by(*frozen):
        for name in ("frozen", "norm", "free", "frozen_norm"):
            model.get_layer(name).trainable = name not in frozen
        aware = quantize_aware(model, calibration=images_of())
        # A kernel has the name of the normalisation that is folded into it.
        return {variable.path.rpartition("/")[0].rpartition("/")[2] + "/" + variable.name
                for variable in aware.trainable_variables}  # fmt: skip

    assert trained_by("frozen", "norm", "frozen_norm") == {
        "frozen_norm/kernel",
        "frozen_norm_range/ends",
        "mean_range/ends",
    }
    assert {"norm/gamma", "norm/beta", "relu_range/ends"} <= trained_by("frozen")
    assert "norm/kernel" not in trained_by("frozen")
    assert trained_by("frozen", "norm", "free", "frozen_norm") == set()


def aware_of_every_other_position(*before):
    """Return the layer "every_other" of the quantization-aware model: a pooling of one position behind others."""
    x = inputs = keras.Input((8, 8, 3))
    for layer in (*before, keras.layers.MaxPooling2D(1, 2, name="every_other")):
        x = layer(x)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    aware = quantize_aware(model, calibration=np.random.default_rng(0).random((2, 8, 8, 3), "float32"))
    [wrapped] = [layer for layer in aware.layers if layer.name == "every_other"]
    assert isinstance(wrapped, RoundedWeights)
    return wrapped


def test_which_positions_a_shortcut_takes_is_not_trained():
    """Behind no convolution it becomes one by 1."""
    wrapped = aware_of_every_other_position(keras.layers.Conv2D(4, 3, padding="same"), keras.layers.ReLU())
    assert wrapped.trainable_variables == []
    assert np.array_equal(wrapped.layer.kernel, np.ones((1, 1, 4, 1)))


def test_a_convolution_that_takes_every_other_position_is_trained_as_before():
    convolution = keras.layers.Conv2D(4, 3, padding="same")
    wrapped = aware_of_every_other_position(convolution)
    assert wrapped.layer.strides == (2, 2)
    assert len(wrapped.trainable_variables) == 2
    assert np.array_equal(wrapped.layer.kernel, convolution.kernel)
