"""Keras to the float file, and from there to files with manifests."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_se
from keras_se.errors import InputError
from keras_se.export import compare, export, quantize_aware
from keras_se.export.conversion.converter import load_model, to_tflite
from keras_se.export.evaluation.profile import operations
from keras_se.export.tflite.model import TFLiteModel


def test_one_image_at_a_time_and_built_in_operations(trained):
    content = TFLiteModel(trained.files["float32"].read_bytes())
    graph = content.graph
    image = graph.tensors[int(graph.inputs[0])]
    assert list(image.shape) == [1, 32, 32, 3]
    assert image.shapeSignature is None or list(image.shapeSignature) == [1, 32, 32, 3]
    # 13 blocks with SE, a stem and a dense layer; the last two blocks see 1x1, whose mean is itself.
    assert content.operation_counts == {
        "CONV_2D": 40,
        "DEPTHWISE_CONV_2D": 13,
        "FULLY_CONNECTED": 1,
        "LOGISTIC": 13,
        "MEAN": 12,
        "MUL": 13,
        "SOFTMAX": 1,
    }


def test_mixed_precision_leaves_no_casts():
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(16, 3, dtype="mixed_float16")(image)
    x = keras_se.SqueezeExcite(4, dtype="mixed_float16")(x)
    model = keras.Model(image, x)
    content = to_tflite(model)
    assert "FLOAT16" not in content.dtype_counts
    assert "CAST" not in content.operation_counts


class Own(keras.layers.Layer):
    """A layer of a user's that does not say how it was made."""

    def __init__(self, function):
        super().__init__(name="own")
        self._function = function

    def call(self, x):
        return self._function(x)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (keras.layers.Lambda(lambda x: 2 * x, name="twice"), "the layer twice is a Lambda, and its Python function"),
        (Own(lambda x: 2 * x), "the layer own, a Own, must be able to be made again from its get_config; Keras says: "),
    ],
)
def test_a_layer_that_no_configuration_holds_is_refused_by_name(layer, message, tmp_path):
    """Hard swish is written in other layers, for which the model is made anew."""
    image = keras.Input((8, 8, 3))
    x = layer(keras.layers.Conv2D(4, 3, activation="hard_silu")(image))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))
    calibration = np.full((1, 8, 8, 3), 0.5, "float32")
    with pytest.raises(InputError, match=f"^{message}"):
        export(model, tmp_path, recipes=["static_wi8_ai8"], calibration=calibration)
    assert not any(tmp_path.iterdir())


class Counting(keras.layers.Layer):
    """Multiplies by the number of its calls."""

    def build(self, shape):
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        self.calls.assign_add(1.0)
        return x * self.calls


@pytest.mark.parametrize("kernel", [1, 0])
def test_what_a_layer_assigns_stays_in_the_file(kernel):
    """The largest variable is saved as one and the others as constants, unless one of them is assigned to."""
    layers = [keras.layers.Conv2D(2, 1)] * kernel + [Counting()]
    content = to_tflite(keras.Sequential([keras.Input((4, 4, 3)), *layers]))
    assert {"READ_VARIABLE", "ASSIGN_VARIABLE"} <= content.operation_counts.keys()


@pytest.mark.parametrize("shape", [(None, None, 3), (8, None, 3)])
def test_an_unknown_size_is_refused(shape):
    model = keras.Sequential([keras.Input(shape), keras_se.SqueezeExcite(hidden=1)])
    with pytest.raises(InputError, match=r"of known size; got \(None, "):
        to_tflite(model)


def test_a_failing_recipe_leaves_no_file(trained, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(InputError, match="needs calibration images"):
        export(trained.model, out, recipes=("float32", "static_wi8_ai8"))
    assert not out.exists()


def test_what_is_no_model_is_refused(tmp_path):
    text = tmp_path / "text.keras"
    text.write_text("not a model")
    with pytest.raises(InputError, match="is not a model that Keras can load"):
        load_model(text)
    with pytest.raises(InputError, match="there is no model file"):
        load_model(tmp_path / "missing.keras")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shape"), [("se_resnet50", (224, 224, 3)), ("se_mobilenet", (224, 224, 3))])
def test_full_size_networks_stay_in_one_partition(name, shape, tmp_path):
    keras.utils.set_random_seed(0)
    model = keras_se.create_model(name, input_shape=shape)
    images = np.random.default_rng(0).random((4, *shape), "float32")
    files = export(model, tmp_path, calibration=images)
    for artifact in files:
        assert artifact.manifest["xnnpack_partitions"] == 1
        # Of an untrained network's logits an 8-bit one says nothing; of its constants, that they are the float ones.
        parity = compare(model, artifact.path, images, float_file=files[0].path)
        assert parity.weight_steps <= 0.51
        assert parity.verdict == "pass" or artifact.recipe != "float32"


@pytest.mark.parametrize(
    "layer",
    [
        lambda: keras.layers.MaxPooling2D(1, strides=(2, 1)),
        lambda: keras.layers.DepthwiseConv2D(3, strides=(2, 1)),
    ],
    ids=["MaxPooling2D", "DepthwiseConv2D"],
)
def test_strides_that_differ_are_exported_profiled_and_trained_for(layer, tmp_path):
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = layer()(keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image))
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))
    images = np.random.default_rng(0).random((8, 8, 8, 3), "float32")
    recipes = ["float32", "static_wi8_ai8"]
    try:
        model.predict(images, verbose=0)
    except tf.errors.InvalidArgumentError:  # TensorFlow without oneDNN: of depthwise convolutions alone
        assert any(isinstance(layer, keras.layers.DepthwiseConv2D) for layer in model.layers)
        [artifact] = export(model, tmp_path, recipes=["float32"])
        with pytest.raises(InputError, match=r"must run in Keras on this processor; .* equal length strides"):
            compare(model, artifact.path, images)
        return
    files = [artifact.path for artifact in export(model, tmp_path, recipes=recipes, calibration=images)]
    # Of an untrained network's classes an 8-bit file says nothing; of its constants, that they are the float ones.
    exact, rounded = (compare(model, file, images) for file in files)
    assert exact.verdict == "pass"
    assert rounded.weight_steps <= 0.51
    assert rounded.sqnr_db > 30  # 40 to 51 with five seeds
    assert len([*operations(files[1].read_bytes())]) == len(TFLiteModel(files[1].read_bytes()).operation_names)
    aware = quantize_aware(model, calibration=images)
    [artifact] = export(aware, tmp_path / "aware", recipes=["static_wi8_ai8"])
    assert compare(aware, artifact.path, images).sqnr_db > 30
