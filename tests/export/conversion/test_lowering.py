"""A model in a target's form computes what it computed, in operations that the target has."""

import functools

import keras
import numpy as np
import pytest

import keras_se
from keras_se.cli import main
from keras_se.export import export
from keras_se.export.conversion.converter import load_model, to_tflite
from keras_se.export.conversion.lowering import lower
from keras_se.export.conversion.lowering_config import (
    CONV_BEFORE_POOL,
    DECOMPOSED,
    ONE_PARTITION,
    PLAIN,
    LoweringConfig,
)
from keras_se.export.conversion.matching import effective_config
from keras_se.export.evaluation.parity import compare_all
from keras_se.export.quantization.calibration import calibrate
from keras_se.export.quantization.quantizer import quantize
from keras_se.export.quantization.recipes import RECIPES
from keras_se.export.runtimes.litert import xnnpack_partitions
from keras_se.export.runtimes.registry import ENGINES
from keras_se.export.targets.registry import TARGETS

LOWERINGS = [PLAIN, DECOMPOSED, ONE_PARTITION, LoweringConfig(squeeze="conv_before_pool"), CONV_BEFORE_POOL]
# Random weights magnify the last bit of a float64 layer by layer: 2e-6 is left of it behind 152 of them.
DEEP = {
    "se_inception_resnet_v2",
    "se_resnet101",
    "se_resnet152",
    "se_resnext101_32x4d",
    "se_resnext101_64x4d",
    "senet154",
}
FAST = ("se_resnet20_cifar", "mobilenet_v3_small")
SMALL = ("se_mobilenet", "mobilenet_v3_small", "se_resnet20_cifar")


@pytest.mark.parametrize(
    # Each block in every form stands below; of a whole network the form that changes most.
    "lowering",
    [*(pytest.param(lowering, marks=pytest.mark.slow) for lowering in LOWERINGS[:-1]), LOWERINGS[-1]],
    ids=str,
)
@pytest.mark.parametrize("name", FAST)
@pytest.mark.usefixtures("float64")
def test_a_network_in_a_form_is_the_same_function(name, lowering, rewritten):
    _, got, expected = rewritten(name, lambda model: lower(model, lowering))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(keras_se.list_models()) - set(FAST)))
@pytest.mark.usefixtures("float64")
def test_every_other_network_in_the_furthest_form_is_the_same_function(name, rewritten):
    _, got, expected = rewritten(name, lambda model: lower(model, LOWERINGS[-1]))
    np.testing.assert_allclose(got, expected, rtol=0, atol=(1e-5 if name in DEEP else 1e-9) * np.abs(expected).max())


def hard_swish_twice_read(x):
    y = keras.layers.Activation("hard_swish")(x)
    return keras.layers.Add()([y, keras.layers.Conv2D(4, 3, padding="same")(y)])


def hard_swish_twice_settled(x):
    y = keras.layers.Activation("hard_swish")(x)
    return keras.layers.Add()([keras.layers.Add()([x, y]), y])


def padded(size, **arguments):
    def block(x):
        x = keras.layers.ZeroPadding2D(size)(x)
        return keras.layers.Conv2D(4, 3, 2, **arguments)(x)

    return block


def se_before_a_stride(*, squeeze="avg", **arguments):
    def block(x):
        x = keras_se.SqueezeExcite(2, squeeze=squeeze, gate="hard_sigmoid")(x)
        x = keras.layers.DepthwiseConv2D(3, 2, use_bias=False, **arguments)(x)
        return keras.layers.ReLU()(keras.layers.BatchNormalization()(x))

    return block


def se_read_by_a_stride_and_an_addition(x):
    x = keras_se.SqueezeExcite(2)(x)
    y = keras.layers.DepthwiseConv2D(3, 2, padding="same", use_bias=False)(x)
    return keras.layers.Add()([y, keras.layers.MaxPooling2D(2)(x)])


def se_behind_a_wide_convolution(x):
    y = keras.layers.Conv2D(8, 1, use_bias=False)(keras.layers.Activation("hard_swish")(x))
    return keras_se.SqueezeExcite(2)(keras.layers.BatchNormalization()(y))


def se_on_a_normalisation_before_a_stride(x):
    x = keras.layers.ReLU(6)(keras.layers.BatchNormalization()(keras.layers.Conv2D(6, 1)(x)))
    return se_before_a_stride(padding="same")(x)


def relu_of_a_concatenation_and_others(x):
    """All of Keras's own names, which number the layers of a kind."""
    y = keras.layers.Conv2D(4, 3, padding="same", activation="hard_swish")(x)
    y = keras.layers.ReLU(6)(keras.layers.Concatenate()([x, y]))
    return keras.layers.ReLU()(keras.layers.Conv2D(4, 1)(keras.layers.ReLU()(y)))


def relu_of_a_pooling_and_others(x):
    """As a strided unit of ShuffleNet has it."""
    x = keras.layers.ReLU()(keras.layers.Conv2D(4, 1)(x))
    pooled = keras.layers.AveragePooling2D(2, padding="same")(x)
    y = keras.layers.Concatenate()([pooled, keras.layers.Conv2D(4, 3, 2, padding="same")(x)])
    return keras.layers.Activation("relu")(y)


def relu_of_rows_that_others_read(x):
    rows = keras.layers.Concatenate(1)([x, x])
    return keras.layers.Add()([rows, keras.layers.Activation("relu")(rows)])


class Standardised(keras.layers.Conv2D):
    """Convolves with a kernel of mean 0."""

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel - keras.ops.mean(kernel))


BLOCKS = {
    "SE, then a stride": se_before_a_stride(padding="same"),
    "SE on a normalisation, then a stride": se_on_a_normalisation_before_a_stride,
    "SE by the maximum, then a stride": se_before_a_stride(squeeze="max"),
    "SE without a squeeze, then a stride": se_before_a_stride(squeeze="none"),
    "SE, then a stride with two outputs a channel": se_before_a_stride(depth_multiplier=2),
    "SE, then a stride and another reader": se_read_by_a_stride_and_an_addition,
    "SE behind a wide convolution": se_behind_a_wide_convolution,
    "hard swish before a normalisation": lambda x: keras.layers.BatchNormalization()(
        keras.layers.Activation("hard_swish")(x)
    ),
    "hard swish that others read too": hard_swish_twice_read,
    "hard swish that is settled for two readers": hard_swish_twice_settled,
    "hard swish as the output": lambda x: keras.layers.Conv2D(4, 3, activation="hard_swish")(x),
    "hard swish into an operation": lambda x: keras.ops.exp(keras.layers.Activation("hard_swish")(x) - 4.0),
    "hard sigmoid as the output": lambda x: keras.layers.Activation("hard_sigmoid")(x),
    "hard swish, then a maximum of windows and dense": lambda x: keras.layers.Dense(3)(
        keras.layers.Flatten()(keras.layers.MaxPooling2D(2)(keras.layers.Activation("hard_swish")(x)))
    ),
    "SE with a hard gate on a hard swish": lambda x: keras_se.SqueezeExcite(2, gate="hard_sigmoid")(
        keras.layers.Activation("hard_swish")(x)
    ),
    "SE without a squeeze": lambda x: keras_se.SqueezeExcite(2, squeeze="none", gate="hard_sigmoid")(x),
    "SE with a maximum": lambda x: keras_se.SqueezeExcite(2, squeeze="max")(keras.layers.Activation("hard_swish")(x)),
    "a model in a model": lambda x: keras.Sequential(
        [keras.layers.Conv2D(4, 3, activation="hard_swish"), keras.layers.BatchNormalization()]
    )(keras.layers.Activation("hard_swish")(x)),
    "every other position of a hard swish": lambda x: keras.layers.Conv2D(3, 1)(
        keras.layers.MaxPooling2D(1, 2)(keras.layers.Activation("hard_swish")(x))
    ),
    "SE, then every third position": lambda x: keras.layers.AveragePooling2D(1, 3, padding="same")(
        keras_se.SqueezeExcite(2)(x)
    ),
    "a normalisation of a sum": lambda x: keras.layers.Conv2D(3, 1)(
        keras.layers.BatchNormalization()(keras.layers.Add()([x, keras.layers.Conv2D(4, 1)(x)]))
    ),
    "an average within the map": lambda x: keras.layers.AveragePooling2D(2)(keras.layers.Activation("hard_swish")(x)),
    "an average beyond the border": keras.layers.AveragePooling2D(3, 1, padding="same"),
    "an average in strides beyond the border": keras.layers.AveragePooling2D((3, 5), 2, padding="same"),
    "an average in two strides": keras.layers.AveragePooling2D(3, (1, 2), padding="same"),
    "a ReLU of a concatenation, and others": relu_of_a_concatenation_and_others,
    "a ReLU of a concatenation with a pooling": relu_of_a_pooling_and_others,
    "a ReLU of a concatenation of rows that others read": relu_of_rows_that_others_read,
    "a convolution of a class of its own": lambda x: keras.layers.AveragePooling2D(2)(
        keras.layers.BatchNormalization()(Standardised(4, 3)(keras.layers.Activation("hard_swish")(x)))
    ),
    "padding behind": padded(((0, 1), (0, 1))),
    "padding on both sides": padded(1),
    "padding, then same": padded(1, padding="same"),
    "padding, then a dilation": lambda x: keras.layers.Conv2D(4, 3, dilation_rate=2)(keras.layers.ZeroPadding2D(2)(x)),
}


@pytest.mark.parametrize("lowering", LOWERINGS, ids=str)
@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS.keys())
@pytest.mark.usefixtures("float64")
def test_a_block_in_a_form_is_the_same_function(block, lowering, randomise):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((12, 10, 4))
    model = keras.Model(inputs, block(inputs))
    randomise(model, 1)
    images = np.random.default_rng(1).normal(0, 3, (2, 12, 10, 4))
    expected = model.predict_on_batch(images)
    np.testing.assert_allclose(lower(model, lowering).predict_on_batch(images), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("first", "left"), [("relu", 0), ("linear", 1)])
def test_no_relu_is_fused_into_a_pooling_of_what_is_positive(first, left):
    """The Edge TPU takes no AVERAGE_POOL_2D with an activation."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 1, activation=first)(image)
    joined = keras.layers.Concatenate()([keras.layers.AveragePooling2D(2)(x), keras.layers.Conv2D(4, 2, 2)(x)])
    file = to_tflite(lower(keras.Model(image, keras.layers.ReLU()(joined)), PLAIN))
    poolings = [
        op.builtinOptions.fusedActivationFunction
        for op, name in zip(file.graph.operators, file.operation_names, strict=True)
        if name == "AVERAGE_POOL_2D"
    ]
    assert poolings == [left]


@pytest.mark.parametrize(("padding", "size", "left"), [(((0, 1), (0, 1)), 8, 0), (1, 9, 0), (1, 8, 1)])
def test_no_pad_is_left_where_same_can_say_it(padding, size, left):
    model = keras.Sequential(
        [keras.Input((size, size, 3)), keras.layers.ZeroPadding2D(padding), keras.layers.Conv2D(4, 3, 2)]
    )
    assert to_tflite(lower(model, LoweringConfig())).operation_counts.get("PAD", 0) == left


@pytest.mark.parametrize(
    "name",
    ["se_resnet18", *(pytest.param(name, marks=pytest.mark.slow) for name in ("se_mobilenet", "mobilenet_v3_small"))],
)
def test_there_is_no_pad_and_no_reshape_in_a_network_of_ours(name):
    model = keras_se.create_model(name, input_shape=(64, 64, 3), classes=10)
    assert not {"PAD", "PADV2", "RESHAPE"} & to_tflite(lower(model, LOWERINGS[-1])).operation_counts.keys()


@pytest.fixture(scope="module")
def float_file(randomise):
    """A network's float file in a form, the last one kept for the next recipe, and its ranges."""

    @functools.lru_cache(1)
    def model_of(name):
        size = 96 if name == "se_inception_resnet_v2" else 64
        model = keras_se.create_model(name, input_shape=(size, size, 3), classes=10)
        randomise(model, 0)
        return model

    @functools.lru_cache(1)
    def made(name, lowering):
        model = model_of(name)
        content = to_tflite(lower(model, lowering))
        images = np.random.default_rng(0).random((2, *model.input_shape[1:]), "float32")
        return content, calibrate(content, images, (0.0, 1.0))

    return lambda name, lowering: made(name, effective_config(model_of(name), lowering))


def pieces(name, lowering, recipe, float_file):
    """Into how many XNNPACK cuts a network's file."""
    content, ranges = float_file(name, lowering)
    return xnnpack_partitions(quantize(content, RECIPES[recipe], ranges if RECIPES[recipe].calibrated else None))


@pytest.mark.parametrize("recipe", ["float32", "static_wi8_ai8"])
@pytest.mark.parametrize(
    "name",
    [name if name in SMALL else pytest.param(name, marks=pytest.mark.slow) for name in keras_se.list_models()],
)
def test_every_network_is_one_piece_on_a_phone(name, recipe, float_file):
    assert pieces(name, TARGETS["phone_cpu"].lowering(RECIPES[recipe]), recipe, float_file) == 1


def test_as_it_is_mobilenet_v3_is_not_one_piece_in_int8(float_file):
    """XNNPACK has no HARD_SWISH in int8."""
    assert pieces("mobilenet_v3_small", PLAIN, "static_wi8_ai8", float_file) > 10


def outputs(content):
    """Each operation's name and the shape of what it writes."""
    graph = content.graph
    shapes = (list(map(int, graph.tensors[op.outputs[0]].shape)) for op in graph.operators)
    return list(zip(content.operation_names, shapes, strict=True))


def test_a_commuted_squeeze_pools_the_hidden_channels_only():
    inputs = keras.Input((24, 24, 32))
    model = keras.Model(inputs, keras_se.SqueezeExcite(16)(inputs))
    content = to_tflite(lower(model, LoweringConfig(squeeze="conv_before_pool")))
    pooled = [shape for name, shape in outputs(content) if name == "AVERAGE_POOL_2D"]
    assert pooled == [[1, 12, 12, 2], [1, 6, 6, 2], [1, 1, 1, 2]]
    assert "MEAN" not in content.operation_counts


@pytest.mark.usefixtures("float64")
def test_on_a_wide_map_the_first_step_of_a_commuted_squeeze_is_the_convolution(randomise):
    inputs = keras.Input((57, 112, 4))
    model = keras.Model(inputs, keras_se.SqueezeExcite(2)(keras.layers.Activation("hard_swish")(inputs)))
    randomise(model, 1)
    written = lower(model, CONV_BEFORE_POOL)
    [reduce] = [layer for layer in written.layers if layer.name.endswith("_reduce")]
    assert reduce.kernel.shape[:2] == reduce.strides == (3, 2)
    images = np.random.default_rng(1).normal(0, 3, (2, 57, 112, 4))
    np.testing.assert_allclose(written.predict_on_batch(images), model.predict_on_batch(images), rtol=1e-9)


@pytest.mark.parametrize("side", [65, 59])
def test_a_wide_map_of_a_side_that_no_step_divides_keeps_its_kernel(side):
    inputs = keras.Input((side, side, 4))
    written = lower(keras.Model(inputs, keras_se.SqueezeExcite(2)(inputs)), CONV_BEFORE_POOL)
    [reduce] = [layer for layer in written.layers if layer.name.endswith("_reduce")]
    assert reduce.kernel_size == (1, 1)


def test_late_rescaling_costs_int8_little_when_a_gate_is_nearly_closed():
    """A channel that is 16 times as large before its gate of 1/16 would leave the other ones few steps of a range."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 8))
    large = np.where(np.arange(8) == 3, 16.0, 1.0)
    normal = keras.layers.BatchNormalization()
    excite = keras_se.SqueezeExcite(hidden=4)
    x = keras.layers.ReLU()(normal(inputs))
    x = keras.layers.DepthwiseConv2D(3, 2, padding="same", use_bias=False)(excite(x))
    model = keras.Model(inputs, keras.layers.ReLU()(keras.layers.BatchNormalization()(x)))
    normal.gamma.assign(large)
    excite.reduce.kernel.assign(0 * excite.reduce.kernel)
    excite.expand.bias.assign(np.log(1 / (large - 0.9)))  # the gates are 0.06 and 0.91
    images = np.random.default_rng(0).normal(size=(64, 16, 16, 8)).astype("float32")
    expected = model.predict_on_batch(images).reshape(len(images), -1)

    def decibels(lowering):
        float_file = to_tflite(lower(model, lowering))
        content = quantize(float_file, RECIPES["static_wi8_ai8"], calibrate(float_file, images))
        got = ENGINES["litert_reference"].run(content.content, images).values
        return 10 * np.log10((expected**2).sum() / ((got - expected) ** 2).sum())

    # The late form rounds twice behind the convolution and not once: 3 dB if all roundings were alike.
    assert decibels(CONV_BEFORE_POOL) > decibels(DECOMPOSED) - 3


def test_a_late_rescaling_is_of_a_quarter():
    inputs = keras.Input((24, 24, 32))
    model = keras.Model(inputs, se_before_a_stride(padding="same")(inputs))
    multiplied = {
        lowering: [shape for name, shape in outputs(to_tflite(lower(model, lowering))) if name == "MUL"]
        for lowering in (DECOMPOSED, CONV_BEFORE_POOL)
    }
    assert multiplied == {DECOMPOSED: [[1, 24, 24, 32]], CONV_BEFORE_POOL: [[1, 12, 12, 32]]}


def test_a_squeeze_behind_a_wide_convolution_reads_what_that_reads():
    inputs = keras.Input((24, 24, 4))
    model = keras.Model(inputs, se_behind_a_wide_convolution(inputs))
    written = lower(model, CONV_BEFORE_POOL)
    [reduce] = [layer for layer in written.layers if layer.name.endswith("_reduce")]
    assert tuple(reduce.kernel.shape) == (1, 1, 4, 4)


def test_a_form_that_makes_no_difference_is_not_needed():
    plain = keras_se.create_model("se_mobilenet", placement="none", input_shape=(32, 32, 3), classes=10)
    assert {effective_config(plain, lowering) for lowering in LOWERINGS} == {LoweringConfig()}
    assert lower(plain, LoweringConfig()) is plain


class Normalised(keras.Model):
    def __init__(self):
        super().__init__()
        self.normal = keras.layers.BatchNormalization()

    def call(self, x):
        return self.normal(x)


def test_a_sequential_model_from_a_file_is_rewritten(tmp_path):
    """Loading it calls its layers anew."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, activation="hard_swish"),
            keras.layers.AveragePooling2D(3, 1, padding="same"),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    images = np.random.default_rng(0).random((2, 8, 8, 3), "float32")
    written = lower(loaded, ONE_PARTITION)
    assert not {"HARD_SWISH", "AVERAGE_POOL_2D"} & to_tflite(written).operation_counts.keys()
    np.testing.assert_allclose(written.predict_on_batch(images), model.predict_on_batch(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["shared", "channels_first", "of a class of its own", "around one", "twice named"])
def test_what_cannot_be_rewritten_stays(kind):
    inputs = keras.Input((8, 8, 4))
    if kind == "shared":
        swish = keras.layers.Conv2D(4, 3, padding="same", activation="hard_swish")
        model = keras.Model(inputs, swish(swish(inputs)))
    elif kind == "channels_first":
        model = keras.Model(inputs, keras_se.SqueezeExcite(2, data_format="channels_first")(inputs))
    elif kind == "of a class of its own":
        model = Normalised()
        model(np.zeros((1, 8, 8, 4)))
    elif kind == "around one":
        image = keras.Input((8, 8, 4))
        inner = keras.Model(image, Normalised()(image))
        model = keras.Model(inputs, keras.layers.AveragePooling2D(2)(inner(inputs)))
    else:
        parts = [keras.Sequential([keras.layers.Conv2D(4, 1, name="same")]) for _ in range(2)]
        model = keras.Model(inputs, keras.layers.AveragePooling2D(2)(parts[0](parts[1](inputs))))
    assert lower(model, LOWERINGS[-1]) is model
    assert effective_config(model, LOWERINGS[-1]) == LoweringConfig()


@pytest.fixture
def swishing():
    """A network with hard swishes and a hard gate, small enough to be converted in a second."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, 2, activation="hard_swish")(inputs)
    x = keras_se.SqueezeExcite(4, gate="hard_sigmoid")(keras.layers.Conv2D(8, 3, activation="hard_swish")(x))
    return keras.Model(inputs, keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x)), name="swishing")


def test_export_writes_each_recipe_in_its_form(tmp_path, swishing):
    model = swishing
    images = np.random.default_rng(0).random((8, 32, 32, 3), "float32")
    kinds = {one.recipe: one.manifest["operations"] for one in export(model, tmp_path, calibration=images)}
    assert "HARD_SWISH" in kinds["float32"]
    assert "HARD_SWISH" not in kinds["static_wi8_ai8"]


def test_parity_and_diagnosis_know_the_forms(tmp_path, swishing, capsys):
    """The int8 file's constants are not the float file's: a sixth is in the weights."""
    model = swishing
    model.save(tmp_path / "model.keras")
    images = np.random.default_rng(0).random((40, 32, 32, 3), "float32")
    made = export(model, tmp_path, recipes=("float32", "static_wi8_ai8"), calibration=images)
    float32, int8 = (one.path for one in made)
    rows = compare_all(model, [float32, int8], images[:4], engines=["litert"])
    assert all("constant" not in failure for row in rows for failure in row.failures), rows
    arguments = [str(int8), "--data", "digits", "--images", "2", "--json"]
    assert main.run(["diagnose", str(float32), *arguments]) == 2
    assert "another form" in capsys.readouterr().err
    assert main.run(["diagnose", str(tmp_path / "model.keras"), *arguments]) == 0
