"""Range of the pixels that a network takes, found in its own layers or by whose network it is."""

import keras
import numpy as np
import pytest
from keras import layers
from pixel_networks import SIDE, conv, network

from keras_se.errors import InputError
from keras_se.preprocessing import Preprocessing, bring_preprocessing, find_preprocessing
from keras_se.registry import create_model, list_models

IMAGENET = Preprocessing(SIDE, SIDE, 0.875, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
RNG = np.random.default_rng(0)


def normalisation(images):
    layer = layers.Normalization()
    layer.adapt(images)
    return layer


def headed(base, *before, side=SIDE):
    x = inputs = keras.Input((side, side, 3))
    for layer in before:
        x = layer(x)
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(base(x)))


def application(name, /, **arguments):
    with keras.StatelessScope(initialize_variables=False):
        return getattr(keras.applications, name)(weights=None, include_top=False, input_shape=(96, 96, 3), **arguments)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (lambda: network(layers.Rescaling(1 / 255), conv()), (0, 255)),
        (lambda: network(layers.Rescaling(1 / 127.5, -1), conv()), (0, 255)),
        (lambda: network(layers.Rescaling(1 / 256), conv()), (0, 255)),
        (lambda: network(layers.Rescaling(1 / 16), conv(), channels=1), (0, 16)),
        (lambda: network(layers.Rescaling(0.5, 0.5), conv()), (-1, 1)),
        (lambda: network(layers.Rescaling(2, -1), conv()), (0, 1)),
        (lambda: network(layers.RandomFlip(), layers.Resizing(8, 8), layers.Rescaling(1 / 255), conv()), (0, 255)),
        (lambda: network(normalisation(255 * RNG.random((9, 4, 4, 3))), conv()), (0, 255)),
        (lambda: network(normalisation(RNG.random((9, 4, 4, 3))), conv()), (0, 1)),
        (lambda: network(network(network(layers.Rescaling(1 / 255)), conv())), (0, 255)),
        (lambda: network(conv()), (0, 1)),
    ],
)
def test_scaling_layers_tell_the_range(model, expected):
    assert find_preprocessing(model()).preprocessing.input_range == pytest.approx(expected, rel=1e-5)


def test_preprocess_input_within_a_network_tells_the_range():
    for module in (keras.applications.mobilenet_v2, keras.applications.resnet50):
        inputs = keras.Input((SIDE, SIDE, 3))
        model = keras.Model(inputs, conv()(module.preprocess_input(inputs)))
        assert find_preprocessing(model).preprocessing.input_range == (0, 255)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("MobileNetV3Small", {}, (0, 255)),
        ("MobileNetV3Small", {"include_preprocessing": False}, (-1, 1)),
        ("MobileNetV2", {}, (-1, 1)),
        ("ResNet50V2", {}, (-1, 1)),
        *(
            pytest.param(name, arguments, expected, marks=pytest.mark.slow)
            for name, arguments, expected in [
                ("EfficientNetB0", {}, (0, 255)),
                ("EfficientNetV2S", {}, (0, 255)),
                ("EfficientNetV2S", {"include_preprocessing": False}, (-1, 1)),
                ("ConvNeXtTiny", {}, (0, 255)),
                ("MobileNet", {}, (-1, 1)),
                ("MobileNetV3Large", {"include_preprocessing": False}, (-1, 1)),
                ("Xception", {}, (-1, 1)),
                ("InceptionV3", {}, (-1, 1)),
                ("InceptionResNetV2", {}, (-1, 1)),
                ("NASNetMobile", {}, (-1, 1)),
                ("DenseNet121", {}, IMAGENET.input_range),
            ]
        ),
    ],
)
def test_networks_of_keras_applications_are_known(name, arguments, expected):
    """Under any name, and behind a head of somebody's."""
    # Keras 3.15 looks EfficientNetV2's blocks up by the model's name.
    model = application(name, **arguments, **({} if "V2S" in name else {"name": "mine"}))
    assert find_preprocessing(model).preprocessing.input_range == pytest.approx(expected)
    with keras.StatelessScope(initialize_variables=False):
        whole = headed(model, side=96)
    assert find_preprocessing(whole).preprocessing.input_range == pytest.approx(expected)


@pytest.mark.parametrize("name", ["VGG16", pytest.param("ResNet50", marks=pytest.mark.slow)])
def test_a_network_that_takes_blue_green_red_is_refused_with_the_remedy(name):
    with pytest.raises(InputError, match="build preprocess_input into the model, or"):
        find_preprocessing(application(name))


@pytest.mark.parametrize("name", ["se_mobilenet", "mobilenet_v3_small", "se_resnet18", "vgg16"])
def test_no_network_of_ours_is_taken_for_one_of_theirs(name):
    if name not in list_models():
        name = "se_vgg16"
    with keras.StatelessScope(initialize_variables=False):
        assert find_preprocessing(create_model(name)).reason is None


def test_a_preprocessing_belongs_to_the_network_that_brought_it(tmp_path):
    base = bring_preprocessing(keras.Model(image := keras.Input((SIDE, SIDE, 3)), conv()(image)), IMAGENET)
    flat = keras.Model(base.input, layers.GlobalAveragePooling2D()(base.output))
    for number, model in enumerate((base, flat, headed(base), headed(base, layers.RandomFlip()))):
        model.save(tmp_path / f"{number}.keras")
        again = keras.models.load_model(tmp_path / f"{number}.keras")
        assert find_preprocessing(model).preprocessing == find_preprocessing(again).preprocessing == IMAGENET
    assert find_preprocessing(keras.models.clone_model(headed(base))).preprocessing == IMAGENET
    behind_pixels = find_preprocessing(headed(base, layers.Rescaling(1 / 255))).preprocessing
    assert behind_pixels.input_range == (0, 255)
    assert behind_pixels.crop == IMAGENET.crop
