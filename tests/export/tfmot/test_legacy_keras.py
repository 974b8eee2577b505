"""A Keras 3 model in tf_keras computes what it computed, and so it does with its weights brought back."""

import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_se
from keras_se.errors import InputError, MissingExtraError
from keras_se.export.tfmot.legacy_keras import copy_weights_back, tf_keras, to_tf_keras
from keras_se.optional_packages import import_extra
from published_networks import NETWORKS

FAST = "se_resnet20_cifar"
PIXELS = {"se_inception_resnet_v2": 96}


@pytest.fixture
def both_float64(float64):
    """Keras and tf_keras."""
    tf_keras.backend.set_floatx("float64")
    yield
    tf_keras.backend.set_floatx("float32")


def there_and_back(build, shape, randomise):
    """Return the outputs of a model, of its tf_keras form, and of another that got that one's weights."""
    keras.utils.set_random_seed(0)
    model, other = build(), build()
    randomise(model, 0)
    images = np.random.default_rng(0).random((2, *shape))
    legacy = to_tf_keras(model)
    back = copy_weights_back(legacy, other)
    return [network.predict_on_batch(images) for network in (model, legacy, back)]


def assert_equal(outputs, tolerance):
    expected, legacy, back = outputs
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(legacy, expected, rtol=0, atol=tolerance * np.abs(expected).max())
    np.testing.assert_array_equal(back, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.usefixtures("both_float64")
def test_a_network_is_the_same_function_in_tf_keras_and_back(name, randomise):
    side = PIXELS.get(name, 32 if name == FAST else 64)

    def build():
        return keras_se.create_model(name, input_shape=(side, side, 3), classes=10, classifier_activation=None)

    # tf_keras's Rescaling holds the hard sigmoid's sixth in float32.
    assert_equal(there_and_back(build, (side, side, 3), randomise), 1e-6 if name.startswith("mobilenet_v3") else 1e-9)


def small(block):
    def build():
        inputs = keras.Input((8, 8, 4))
        return keras.Model(inputs, block(inputs))

    return build


BLOCKS = {
    "swish": lambda x: keras.layers.Conv2D(4, 3, activation="silu", name="c")(x),
    "hard sigmoid": lambda x: keras.layers.Conv2D(4, 3, activation="hard_sigmoid", name="c")(x),
    "hard sigmoid without a bias": lambda x: keras.layers.Conv2D(
        4, 3, activation="hard_sigmoid", use_bias=False, name="c"
    )(x),
    "hard sigmoid alone": lambda x: keras.layers.Activation("hard_sigmoid")(keras.layers.Add()([x, x])),
    "softmax": lambda x: keras.layers.Dense(4, activation="softmax", name="d")(keras.layers.Flatten()(x)),
    "depthwise with a multiplier": lambda x: keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="c")(x),
    "normalisation without scale": lambda x: keras.layers.BatchNormalization(scale=False, name="n")(x),
    "maximum squeeze, hard gate": lambda x: keras_se.SqueezeExcite(2, squeeze="max", gate="hard_sigmoid", name="s")(x),
    "no squeeze, ReLU gate": lambda x: keras_se.SqueezeExcite(2, squeeze="none", gate="relu", name="s")(x),
    "a model in a model": lambda x: keras.Sequential([keras.layers.Conv2D(4, 3, name="c")])(x),
    "padded channels": lambda x: keras.ops.pad(x, ((0, 0), (0, 0), (0, 0), (1, 2))),
}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS.keys())
def test_a_block_is_the_same_function_in_tf_keras_and_back(block, randomise):
    assert_equal(there_and_back(small(block), (8, 8, 4), randomise), 1e-5)


def test_a_layer_that_tf_keras_lacks_is_named():
    class Strange(keras.layers.Layer):
        def call(self, x):
            return x

    with pytest.raises(InputError, match=r"has not Strange \(layer odd\)"):
        to_tf_keras(small(lambda x: Strange(name="odd")(x))())
    with pytest.raises(InputError, match="has not activation gelu"):
        to_tf_keras(small(lambda x: keras.layers.Activation("gelu")(x))())
    with pytest.raises(InputError, match=r"pads width and channels with zeros only.*\(1, 2\)"):
        to_tf_keras(small(lambda x: keras.ops.pad(x, ((0, 0), (1, 2), (0, 0), (0, 0))))())


def test_weights_of_another_network_are_refused():
    legacy = to_tf_keras(small(lambda x: keras.layers.Conv2D(4, 3, name="c")(x))())
    with pytest.raises(InputError, match="layer other"):
        copy_weights_back(legacy, small(lambda x: keras.layers.Conv2D(4, 3, name="other")(x))())
    with pytest.raises(InputError, match="layer c"):
        copy_weights_back(legacy, small(lambda x: keras.layers.Conv2D(5, 3, name="c")(x))())


def test_without_the_extra_its_name_is_given():
    with pytest.raises(InputError, match=r"tf_keras_nowhere is not installed; pip install 'keras-se\[tfmot\]'"):
        import_extra("tf_keras_nowhere", "tfmot")


def test_keras_3_stays_what_keras_is():
    """`tf.keras`, which can be only one of the two in a process, is not even loaded, and is Keras 3 when it is."""
    program = (
        "import os, keras, tensorflow as tf; import keras_se.export.tfmot.legacy_keras; "
        "assert keras.version().startswith('3.'); assert 'TF_USE_LEGACY_KERAS' not in os.environ; "
        "assert vars(vars(tf)['keras'])['_tfll_initialized'] is False; "
        "import keras_se.export.tfmot.training; assert tf.keras.Model is keras.Model"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_missing_extra_is_an_import_error_too():
    with pytest.raises(ImportError, match=r"keras_se_nowhere is not installed; pip install 'keras-se\[edge\]'"):
        import_extra("keras_se_nowhere", "edge")
    assert issubclass(MissingExtraError, InputError)
