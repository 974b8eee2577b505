"""SE put into networks: what they compute stays, what they are made of too, and what cannot be done is refused."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_se
from keras_se import InputError, SqueezeExcite, insert, remove
from keras_se.training import distributed

LAYERS = keras.layers
RELU = LAYERS.ReLU()
NETWORKS = [
    pytest.param("MobileNetV2", {"alpha": 0.35}, 32, "residual", 8, id="MobileNetV2"),
    pytest.param("MobileNet", {"alpha": 0.25}, 32, "conv_pw_*_relu", 16, id="MobileNet"),
    *(
        pytest.param(name, {}, size, after, 16, marks=pytest.mark.slow, id=name)
        for name, size, after in (
            ("ResNet50", 32, "residual"),
            ("ResNet50V2", 32, "residual"),
            ("DenseNet121", 32, "conv*_block*_concat"),
            ("InceptionV3", 75, "mixed[0-9]*"),
            ("NASNetMobile", 32, "normal_concat_*"),
            ("VGG16", 32, LAYERS.MaxPooling2D),
            ("Xception", 71, "residual"),
        )
    ),
]


def randomise_all(model, randomise):
    """Give a model, and those within it, statistics and scales as of trained networks."""
    for part in model._flatten_layers():
        if isinstance(part, keras.Model):
            randomise(part, 0)


def two_inputs(randomise):
    """A network that has at once what makes surgery hard."""
    left, right, inner = (
        keras.Input((8, 8, 3), name="left"),
        keras.Input((8, 8, 3), name="right"),
        keras.Input((8, 8, 8)),
    )
    branch = LAYERS.BatchNormalization(name="bn")(LAYERS.Conv2D(16, 3, padding="same", name="conv")(inner))
    backbone = keras.Model(inner, LAYERS.Add()([branch, LAYERS.Conv2D(16, 1)(inner)]), name="backbone")
    shared, relu = LAYERS.Conv2D(8, 3, padding="same", name="shared"), LAYERS.ReLU(name="relu")
    x = LAYERS.Concatenate()([backbone(relu(shared(side))) for side in (left, right)])
    x = keras.Sequential([keras.Input((8, 8, 32)), LAYERS.Conv2D(16, 1, name="inner"), LAYERS.ReLU()], name="head")(x)
    x = LAYERS.Lambda(lambda value: 2 * value)(x) + 1.0
    scores = LAYERS.Dense(3, name="scores")(LAYERS.GlobalAveragePooling2D()(x))
    model = keras.Model({"left": left, "right": right}, {"map": x, "scores": scores}, name="two")
    randomise_all(model, randomise)
    backbone.get_layer("conv").trainable = False
    model.get_layer("head").trainable = False
    return model


def state(model):
    """Names, flags and weights."""
    every = list(model._flatten_layers())
    return [(layer.name, layer.trainable) for layer in every], [weight.tobytes() for weight in model.get_weights()]


def small(**arguments):
    image = keras.Input((16, 16, 3))
    x = LAYERS.Conv2D(16, 3, 2, activation="relu", name="stem")(image)
    x = LAYERS.Add(name="add")([x, LAYERS.Conv2D(16, 3, padding="same", name="branch")(x)])
    model = keras.Model(
        image, LAYERS.Dense(3, name="scores")(LAYERS.GlobalAveragePooling2D(name="pool")(x)), name="net"
    )
    return insert(model, **arguments) if arguments else model


@pytest.mark.parametrize(("name", "arguments", "size", "after", "r"), NETWORKS)
def test_identity_leaves_the_outputs_and_remove_gives_the_network_back(name, arguments, size, after, r, randomise):
    plain = getattr(keras.applications, name)(
        input_shape=(size, size, 3), weights=None, classes=5, classifier_activation=None, **arguments
    )
    randomise_all(plain, randomise)
    before, images = state(plain), np.random.default_rng(0).random((2, size, size, 3), "float32")
    outputs = plain.predict_on_batch(images)
    model = insert(plain, after=after, r=r, identity=True)
    blocks = [layer for layer in model.layers if isinstance(layer, SqueezeExcite)]
    assert len(blocks) >= 3
    tolerance = 1e-6 * np.abs(outputs).max()
    np.testing.assert_allclose(model.predict_on_batch(images), outputs, rtol=0, atol=tolerance)
    for block in blocks:
        block.expand.bias.assign(np.linspace(-4, 4, block.expand.filters))
    assert np.abs(model.predict_on_batch(images) - outputs).max() > 1000 * tolerance  # the gates show in the outputs
    assert state(plain) == before
    assert state(remove(model)) == before


def test_inputs_outputs_shared_layers_and_models_inside_stay(randomise):
    plain = two_inputs(randomise)
    rng = np.random.default_rng(0)
    images = {side: rng.random((2, 8, 8, 3), "float32") for side in ("left", "right")}
    outputs, before = plain.predict_on_batch(images), state(plain)
    model = insert(plain, after=["shared", "relu", "backbone/bn", "inner", "backbone"], r=4, identity=True)
    blocks = [layer.name for layer in model._flatten_layers() if isinstance(layer, SqueezeExcite)]
    # One for both calls of a layer with weights, one for each call of a layer without.
    assert sorted(blocks) == ["backbone_se", "bn_se", "inner_se", "relu_se", "relu_se_2", "shared_se"]
    for name, values in model.predict_on_batch(images).items():
        np.testing.assert_allclose(values, outputs[name], rtol=1e-6, atol=1e-6)
    assert state(plain) == before
    assert state(remove(model)) == before


def test_residual_is_the_end_of_the_branch_and_not_the_shortcut():
    model = small(after="residual")
    assert [tensor._keras_history.operation.name for tensor in model.get_layer("add").input] == ["stem", "branch_se"]


def test_the_first_step_from_identity_moves_each_block():
    model = small(after="residual", identity=True)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    rng = np.random.default_rng(0)
    model.fit(rng.random((8, 16, 16, 3)), rng.random((8, 3)), epochs=1, verbose=0)
    assert np.abs(model.get_layer("branch_se").expand.kernel).max() > 0


def test_a_sequential_model_stays_sequential():
    plain = keras.Sequential([keras.Input((8, 8, 3)), LAYERS.Conv2D(16, 3, name="conv"), LAYERS.Flatten()])
    model = insert(plain, after=LAYERS.Conv2D, squeeze="max", hidden=3)
    assert isinstance(model, keras.Sequential)
    assert [layer.name for layer in model.layers] == ["conv", "conv_se", plain.layers[-1].name]
    assert model.layers[1].squeeze == "max"
    assert model.layers[1].reduce.filters == 3


def test_the_input_keeps_its_preprocessing():
    plain = keras_se.create_model("se_mobilenet", input_shape=(32, 32, 3), classes=3, alpha=0.25)
    again = insert(remove(plain), after="*_depthwise_conv", r=4)
    assert keras_se.preprocessing_of(again) == keras_se.preprocessing_of(plain)


def test_it_is_saved_and_loaded(tmp_path):
    model = small(after="residual", identity=True)
    model.get_layer("branch_se").expand.bias.assign(np.linspace(-1, 1, 16))
    model.save(tmp_path / "net.keras")
    images = np.random.default_rng(0).random((2, 16, 16, 3), "float32")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(loaded.predict_on_batch(images), model.predict_on_batch(images))


def test_it_trains_under_a_strategy():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model = distributed(small(after="residual", identity=True))
        model.compile(keras.optimizers.SGD(0.01), "mse")
    rng = np.random.default_rng(0)
    losses = model.fit(rng.random((8, 16, 16, 3)), rng.random((8, 3)), epochs=2, verbose=0).history["loss"]
    assert losses[1] < losses[0]


BESIDE_SE = {
    "efficient_channel_attention": keras_se.EfficientChannelAttention(kernel_size=5),
    "effective_squeeze_excite": keras_se.EffectiveSqueezeExcite("hard_sigmoid"),
    "gather_excite": keras_se.GatherExcite(2, learned=True),
    "channel_attention": keras_se.ChannelAttention(4),
    "spatial_attention": keras_se.SpatialAttention(3),
}


@pytest.mark.parametrize("suffix", BESIDE_SE)
def test_layers_beside_se_are_inserted_as_they_are_configured_and_removed(suffix):
    template, plain = BESIDE_SE[suffix], small()
    model = insert(plain, after=["residual", "stem"], layer=template)
    for place in ("stem", "branch"):
        block = model.get_layer(f"{place}_{suffix}")
        assert type(block) is type(template)
        added = {**template.get_config(), "name": block.name, "dtype": block.get_config()["dtype"]}
        assert block.get_config() == added
    images = np.random.default_rng(0).random((2, 16, 16, 3), "float32")
    shared = model.get_layer("stem").output
    gated = keras.Model(model.input, [shared, model.get_layer(f"stem_{suffix}").output])
    x, scaled = gated.predict_on_batch(images)
    # The same product, through the same kernels.
    np.testing.assert_allclose(scaled, np.asarray(model.get_layer(f"stem_{suffix}")(x)), rtol=1e-6, atol=1e-6)
    assert state(remove(model)) == state(plain)


def test_cbam_is_its_two_halves_one_behind_the_other():
    half = insert(small(), after="residual", layer=keras_se.ChannelAttention(4))
    model = insert(half, after="branch_channel_attention", layer=keras_se.SpatialAttention())
    chain = [tensor._keras_history.operation for tensor in model.get_layer("add").input]
    assert [operation.name for operation in chain] == ["stem", "branch_channel_attention_spatial_attention"]
    assert chain[1].input._keras_history.operation.name == "branch_channel_attention"


def test_a_layer_takes_the_layout_of_its_place():
    image = keras.Input((3, 8, 8))
    plain = keras.Model(image, LAYERS.Conv2D(16, 3, data_format="channels_first", name="conv")(image))
    model = insert(plain, after="conv", layer=keras_se.EffectiveSqueezeExcite())
    assert model.layers[-1].data_format == "channels_first"
    assert model.layers[-1].dense.filters == 16


ON_TWO_REPLICAS = """
import json, sys
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
import numpy as np

import keras_se
from keras_se.training import distributed


def trained(devices):
    keras.utils.set_random_seed(0)
    with tf.distribute.MirroredStrategy(devices).scope():
        plain = keras.models.load_model(sys.argv[1])
        model = distributed(keras_se.insert(plain, after="residual", r=4, identity=True))
        model.compile(keras.optimizers.SGD(0.01), "mse")
    model.fit(images, targets, batch_size=4, epochs=2, shuffle=False, verbose=0)
    return model


rng = np.random.default_rng(0)
images, targets = rng.random((8, 16, 16, 3), "float32"), rng.random((8, 3), "float32")
def loaded(devices):
    model = trained(devices)
    model.save(sys.argv[2])
    again = keras.models.load_model(sys.argv[2])
    for weight, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)
    return again


one, two = loaded(["CPU:0"]), loaded(["CPU:0", "CPU:1"])
print(json.dumps({
    "apart": float(np.abs(one.predict_on_batch(images) - two.predict_on_batch(images)).max()),
    "moved": float(np.abs(two.get_layer("branch_se").expand.kernel).max()),
}))
"""


@pytest.mark.slow
def test_two_replicas_train_it_as_one_does_and_it_is_saved_and_loaded(tmp_path):
    small().save(tmp_path / "plain.keras")
    done = subprocess.run(
        [sys.executable, "-c", ON_TWO_REPLICAS, str(tmp_path / "plain.keras"), str(tmp_path / "net.keras")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["moved"] > 0
    # Four updates of float32 whose sums over the batch are taken in two halves.
    assert answer["apart"] < 1e-5


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__(name="mine")
        self.conv = LAYERS.Conv2D(16, 3, name="conv")

    def call(self, images):
        return self.conv(images)


def test_a_subclassed_model_is_wrapped_as_the_message_says():
    with pytest.raises(
        InputError, match=r"mine, of the class Subclassed: give keras.Model\(image, model.call\(image\)"
    ):
        insert(Subclassed(), after="conv")
    image = keras.Input((8, 8, 3))
    assert insert(keras.Model(image, Subclassed().call(image)), after="conv").layers[-1].name == "conv_se"


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (small, {"after": "brunch"}, "no layer of net has the name 'brunch'; near it are branch"),
        (small, {"after": LAYERS.LSTM}, "no layer of net is a LSTM; it has Add, Conv2D, Dense, GlobalAveragePooling2D"),
        (small, {"after": lambda layer: False}, "the function says True of none"),
        (small, {"after": []}, "or a list of these; got "),
        (small, {"after": "scores"}, r"the layer scores gives \(None, 3\): choose one before the pooling"),
        (small, {"after": "stem", "r": 32}, "at least r=32 channels; the layer stem gives 16: lower r"),
        (small, {"after": "stem", "r": 0}, "r must be an integer of at least 1; got r=0"),
        (small, {"after": "stem", "squeeze": "mean"}, "squeeze must be one of avg, max, none"),
        (small, {"after": "stem", "identity": True, "gate": "tanh"}, "takes gate='double_sigmoid'"),
        (lambda: small(after="stem"), {"after": "stem"}, "SE stands at the layer stem already"),
        (
            lambda: small(after="stem", layer=keras_se.SpatialAttention()),
            {"after": "stem", "layer": keras_se.SpatialAttention()},
            "SpatialAttention stands at the layer stem already",
        ),
        (small, {"after": "stem", "layer": keras_se.SpatialAttention}, "layer must be a Keras layer, as keras_se.Cha"),
        (small, {"after": "stem", "layer": LAYERS.MaxPooling2D()}, "must keep the shape of a map; MaxPooling2D does "),
        (small, {"after": "stem", "layer": LAYERS.Conv1D(16, 3)}, "Conv1D cannot stand behind the layer stem: "),
        (small, {"after": "stem", "layer": keras_se.ChannelAttention(), "r": 4}, "without the arguments of SE"),
        (lambda: keras.Sequential([LAYERS.Dense(3)], name="new"), {"after": "x"}, "new was never: begin it with"),
        (lambda: remove(small(after="stem")), {"after": ["residual", "brunch"]}, "net has the name 'brunch'"),
        (lambda: keras.Sequential([keras.Input((4, 4, 8)), RELU], name="s"), {"after": "residual"}, "s has no Add of"),
        (lambda: 3, {"after": "x"}, "insert takes a Keras model; got int"),
    ],
)  # fmt: skip
def test_refusals_name_the_layer_and_the_remedy(model, arguments, message):
    plain = model()
    before = state(plain) if isinstance(plain, keras.Model) else None
    with pytest.raises(InputError, match=message):
        insert(plain, **arguments)
    assert before is None or state(plain) == before


@pytest.mark.parametrize("after", ["expanded_conv_depthwise", "expanded_conv_squeeze_excite_conv"])
def test_se_of_keras_layers_is_found_there_already(after):
    image = keras.Input((8, 8, 16))
    x = LAYERS.DepthwiseConv2D(3, name="expanded_conv_depthwise")(image)
    gate = LAYERS.GlobalAveragePooling2D(keepdims=True)(x)
    gate = LAYERS.Conv2D(16, 1, activation="sigmoid", name="expanded_conv_squeeze_excite_conv")(gate)
    with pytest.raises(InputError, match=f"SE stands at the layer {after}"):
        insert(keras.Model(image, LAYERS.Multiply()([gate, x])), after=after)
