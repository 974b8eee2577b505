"""Models that do not say what image they take compute the same on an input that does."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_se.cloning import is_graph
from keras_se.errors import InputError
from keras_se.export import check, compare, export
from keras_se.export.conversion.known_input import with_input_shape
from keras_se.export.conversion.lowering_config import PLAIN
from keras_se.export.conversion.matching import is_rewritten
from keras_se.preprocessing import Preprocessing, bring_preprocessing, preprocessing_of

SHAPE = (16, 12, 3)
IMAGES = np.random.default_rng(0).random((5, *SHAPE), "float32")


def of_any_size():
    """A graph within a graph, a padding to be lowered, and a layer that is called twice."""
    image = keras.Input((None, None, 3))
    inner = keras.Model(image, layers.ReLU()(layers.ZeroPadding2D(1)(image)), name="inner")
    image = keras.Input((None, None, 3), name="photograph")
    twice = layers.Conv2D(3, 3, padding="same", name="twice")
    x = layers.GlobalAveragePooling2D()(twice(twice(inner(image))))
    return keras.Model(image, layers.Dense(4, activation="softmax")(x), name="any_size")


@keras.saving.register_keras_serializable("known_input")
class Own(keras.Model):
    """A subclassed model; its configuration holds no name."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.stem, self.classifier = layers.Conv2D(4, 3), layers.Dense(4)

    def call(self, images, training=None):
        return self.classifier(keras.ops.mean(keras.ops.relu(self.stem(images)), (1, 2)))


def of_a_class():
    model = Own()
    model(IMAGES)
    return model


@pytest.mark.parametrize("make", [of_any_size, of_a_class])
def test_the_function_stays(make):
    model = make()
    known = with_input_shape(model, SHAPE)
    assert known.input_shape == (None, *SHAPE)
    assert all(None not in layer.output.shape[1:] for layer in known.layers)
    np.testing.assert_allclose(known.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0), atol=1e-6)


@pytest.mark.parametrize("make", [of_any_size, of_a_class])
def test_its_file_agrees_with_the_model_as_it_was(make, tmp_path):
    model = make()
    assert check(model, input_shape=SHAPE) is not None
    artifacts = export(model, tmp_path, calibration=IMAGES, input_shape=SHAPE)
    for artifact in artifacts:
        assert compare(model, artifact.path, IMAGES, engine="litert_reference").verdict == "pass"


def test_a_model_with_an_input_is_returned_itself():
    model = keras.Sequential([keras.Input(SHAPE), layers.Flatten(), layers.Dense(2)])
    assert with_input_shape(model) is model
    assert with_input_shape(model, SHAPE) is model


def test_a_model_of_a_class_that_says_no_name_has_the_same_one_each_time(tmp_path):
    of_a_class().save(tmp_path / "own.keras")
    loaded = [keras.models.load_model(tmp_path / "own.keras") for _ in range(2)]
    assert {with_input_shape(model, SHAPE).name for model in loaded} == {"own"}


def test_the_pixels_that_its_weights_brought_stay():
    wanted = Preprocessing(16, 12, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1))
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image)), name="brought")
    known = with_input_shape(bring_preprocessing(model, wanted), SHAPE)
    assert preprocessing_of(known) == wanted


class WithoutCall(keras.Model):
    """As KerasHub's classifiers: a class of its own that is built as a functional model."""

    def __init__(self, **arguments):
        image = keras.Input((None, None, 3))
        padded = layers.Conv2D(4, 3, 2, name="stem")(layers.ZeroPadding2D(((0, 1), (0, 1)))(image))
        super().__init__(image, layers.GlobalAveragePooling2D()(padded), name="without_call")


def test_a_class_that_computes_as_its_graph_is_lowered_as_one():
    model = WithoutCall()
    assert is_graph(model)
    assert not is_graph(of_a_class())
    assert is_rewritten(with_input_shape(model, SHAPE), PLAIN)


def two_outputs():
    image = keras.Input(SHAPE)
    x = layers.Flatten()(image)
    return keras.Model(image, [layers.Dense(2)(x), layers.Dense(3)(x)])


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (of_any_size, None, r"of known size; got \(None, None, None, 3\); give --image-size, in Python input_shape="),
        (of_a_class, None, r"of the class Own, says nowhere what it takes; give --input-shape HEIGHT WIDTH CHANNELS"),
        (of_any_size, (16, 12, 1), r"must be what the model takes, \(None, None, None, 3\); got \(16, 12, 1\)"),
        (of_any_size, (16, 12), r"must be height, width and channels, each at least 1; got \(16, 12\)"),
        (of_a_class, (1, 1, 3), r"of the class Own, must take an image of \(1, 1, 3\); Keras says: "),
        (lambda: keras.Sequential([layers.Dense(2)]), SHAPE, r"was never built and has no weights"),
        (two_outputs, None, r"must give one output; it gives 2; export one .* keras.Model\(model.input, model.outputs"),
    ],
)
def test_a_model_that_cannot_be_exported_is_refused_with_the_remedy(make, shape, message):
    with pytest.raises(InputError, match=message):
        with_input_shape(make(), shape)
