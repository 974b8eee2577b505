"""Every model of the registry: its published size and cost, one update, its file, its .tflite and its twin under JAX.

A model is taken as a whole in the slow tests; in the fast ones its family builds a short row of the same kind.
"""

import functools
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

import keras
import numpy as np
import pytest

import keras_se
from keras_se.models.blocks import conv_bn, depthwise_bn, divisible, pool_stem
from keras_se.models.head import Head
from keras_se.registry import find, list_models

ELSEWHERE = {*list_models("se_resnet??"), *list_models("se_resnet???"), "se_mobilenet"}  # sizes: test_models.py


class Published(NamedTuple):
    """Millions of trainable parameters or, where an int, their number; and 10^9 multiply-accumulates."""

    with_se: int | float | None
    plain: int | float | None
    giga: float | None
    plain_giga: float | None


# With SE: osmr/imgclsmob, tensorflow2/README.md, and arXiv 1709.01507, tables 2 and 3, which give the GFLOPs too.
# Plain: torchvision's (ResNeXt, VGG) documentation.
# MobileNetV3: timm's results-imagenet.csv, and d-li14/mobilenetv3.pytorch, README.md, which counts as we do;
# arXiv 1905.02244, table 3, prints 219 and 56 million.
# CIFAR: the tables of the papers that cifar.py cites. BN-Inception: Cadene's pretrained-models.pytorch has 11,295,240
# with its convolutions' 10,016 biases.
PUBLISHED = {
    "se_resnext50_32x4d": Published(27_559_896, 25_028_904, 4.25, 4.24),
    "se_resnext101_32x4d": Published(48_955_416, 44_177_704, 8.00, 7.99),
    "se_resnext101_64x4d": Published(88_232_984, 83_455_272, None, None),
    "senet154": Published(115_088_984, None, 20.7, None),
    "mobilenet_v3_small": Published(2_542_856, None, 0.05652, None),
    "mobilenet_v3_large": Published(5_483_032, None, 0.21660, None),
    # Table 1 of arXiv 1707.01083 has 137 MFLOPs for three groups, of which 1709.01507's 0.140 is the round figure.
    "se_shufflenet": Published(2.4, 1.8, None, 0.137),
    "se_vgg16": Published(None, 138_365_992, 15.48, 15.47),
    "se_bn_inception": Published(None, 11_295_240 - 10_016, 2.04, 2.03),
    "se_inception_resnet_v2": Published(None, None, 11.76, 11.75),
    "se_resnet20_cifar": Published(None, 0.27, None, None),
    "se_resnet56_cifar": Published(None, 0.85, None, None),
    "se_resnet110_cifar": Published(None, 1.7, None, None),
    "se_resnet164_cifar": Published(None, 1.7, None, None),
    "se_wrn16_8": Published(None, 11.0, None, None),
}


def short_stages(row):
    return tuple(stage._replace(residual=stage.residual._replace(times=1)) for stage in row)


class Short(NamedTuple):
    """A row cut down to what makes its family, and the images it is tried on."""

    cut: Callable[..., tuple]
    size: int = 32
    arguments: Mapping[str, float] = {}


SHORT = {
    "se_resnext50_32x4d": Short(lambda row: row._replace(depths=(1, 1, 1, 1))),
    "se_resnet18": Short(lambda row: row._replace(depths=(1, 1, 1, 1))),
    "senet154": Short(lambda row: row._replace(depths=(1, 1, 1, 1))),
    "se_mobilenet": Short(lambda row: row[:3], arguments={"alpha": 0.25}),
    "mobilenet_v3_small": Short(lambda row: row._replace(blocks=row.blocks[:5])),
    "se_shufflenet": Short(lambda row: row._replace(depths=(2, 1, 1))),
    "se_vgg16": Short(lambda row: row._replace(depths=(1, 2, 1, 1, 1), hidden=(64, 32))),
    "se_bn_inception": Short(lambda row: row[1:4]),
    "se_inception_resnet_v2": Short(short_stages, size=75),
    "se_resnet20_cifar": Short(lambda row: row._replace(depth=1)),
    "se_resnet164_cifar": Short(lambda row: row._replace(depth=1)),
}
ONE_A_FAMILY = [name for name in SHORT if name == next(one for one in SHORT if find(one).build is find(name).build)]


def images(model, count=2):
    return np.random.default_rng(0).random((count, *model.input_shape[1:]), "float32")


def short(name):
    entry = find(name)
    cut, size, arguments = SHORT[name]
    head = Head(classes=5, classifier_activation=None)
    image = keras.Input((size, size, 3), name="image")
    outputs = entry.build(cut(entry.row), image, se=entry.se, head=head, **arguments)
    return with_random_statistics(keras.Model(image, outputs, name=name))


def whole(name):
    """The published network on the smallest images that leave it something to convolve."""
    size = min(find(name).input_shape[0], 96 if "inception_resnet" in name else 64)
    return with_random_statistics(
        keras_se.create_model(name, input_shape=(size, size, 3), classes=5, classifier_activation=None)
    )


def with_random_statistics(model):
    """The model with biases and scales drawn at random, and the statistics that they give on random images.

    Fresh ones are zeros and ones. With statistics of no image the activations of a hundred layers grow to 10^7, and
    the gates turn their rounding into another network.
    """
    rng = np.random.default_rng(0)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for weight in model.trainable_variables:
        if len(weight.shape) == 1:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    model(images(model, count=8), training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model


def assert_close(outputs, expected, of):
    """To `of` times the greatest: float32 rounding, in another order of summation, through a whole network."""
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=of * np.abs(expected).max())


# Size and cost


@functools.cache
def size(name, **arguments):
    with keras.StatelessScope(initialize_variables=False):
        model = keras_se.create_model(name, **arguments)
        return sum(math.prod(weight.shape) for weight in model.trainable_variables), keras_se.macs(model)


def assert_published(parameters, published):
    if isinstance(published, int):
        assert parameters == published
    elif published is not None:
        # To the printed precision, cut or rounded: ShuffleNet's 1.8 and 2.4 are 1.87 and 2.48 in full.
        step = 0.1 if published >= 1 else 0.01
        assert published - step / 2 <= parameters / 1e6 < published + step


@pytest.mark.parametrize("name", [name for name in list_models() if name not in ELSEWHERE])
def test_size_and_cost_are_the_published_ones(name):
    parameters, macs = size(name)
    assert_published(parameters, PUBLISHED[name].with_se)
    if PUBLISHED[name].giga is not None:
        # 1 %: the paper's are not MACs of convolutions and dense layers alone.
        assert macs / 1e9 == pytest.approx(PUBLISHED[name].giga, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in list_models() if name not in ELSEWHERE])
def test_size_and_cost_of_the_plain_network_are_the_published_ones(name):
    parameters, macs = size(name, placement="none")
    assert_published(parameters, PUBLISHED[name].plain)
    if PUBLISHED[name].plain_giga is not None:
        assert macs / 1e9 == pytest.approx(PUBLISHED[name].plain_giga, rel=0.01)


@pytest.mark.slow
def test_inception_resnet_v2_is_the_one_of_keras_applications():
    with keras.StatelessScope(initialize_variables=False):
        ours = keras_se.create_model("se_inception_resnet_v2", placement="none", modules=(10, 20, 10))
        theirs = keras.applications.InceptionResNetV2(weights=None)
        kernels = [
            sorted(tuple(weight.shape) for weight in model.weights if len(weight.shape) == 4)
            for model in (ours, theirs)
        ]
        assert kernels[0] == kernels[1]
        assert keras_se.macs(ours) == keras_se.macs(theirs)


def test_every_family_has_a_short_row():
    assert {find(name).build for name in SHORT} == {find(name).build for name in list_models()}


# What every model does


def check_update(model, **arguments):
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), **arguments)
    kernels = [weight for weight in model.trainable_variables if len(weight.shape) == 4]
    before = [weight.numpy() for weight in kernels]
    loss = model.train_on_batch(images(model), np.array([0, 1]))
    assert np.isfinite(loss)
    still = [weight.path for weight, old in zip(kernels, before, strict=True) if np.array_equal(weight.numpy(), old)]
    # A squeeze-and-excitation whose one hidden unit is dead passes no gradient.
    assert not [path for path in still if "_se/" not in path]


def check_file(model, folder):
    model.save(folder / "model.keras")
    again = keras.models.load_model(folder / "model.keras", compile=False)
    x = images(model)
    np.testing.assert_array_equal(np.array(again(x)), np.array(model(x)))


def check_tflite(model):
    convert = pytest.importorskip("keras_se.export.conversion.converter")
    engines = pytest.importorskip("keras_se.export.runtimes.registry")
    content = convert.to_tflite(model).content
    x = images(model)
    assert_close(engines.ENGINES["litert"].run(content, x).values, np.array(model(x)), of=1e-4)
    from ai_edge_litert import schema_py_generated as schema

    codes = schema.ModelT.InitFromPackedBuf(content).operatorCodes
    used = {max(code.builtinCode, code.deprecatedBuiltinCode) for code in codes}
    assert schema.BuiltinOperator.CUSTOM not in used


@pytest.mark.parametrize("name", SHORT)
def test_short_network_updates_and_keeps_in_a_file(name, tmp_path):
    model = short(name)
    check_file(model, tmp_path)
    check_update(model, run_eagerly=True)  # the gradients are the same, without the time to trace them


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in ("se_inception_resnet_v2",))) for name in ONE_A_FAMILY],
)
def test_short_network_becomes_tflite(name):
    check_tflite(short(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_network_updates_and_keeps_in_a_file(name, tmp_path):
    model = whole(name)
    check_file(model, tmp_path)
    check_update(model, jit_compile=False)  # XLA takes minutes to compile each of them


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_network_becomes_tflite(name):
    check_tflite(whole(name))


JAX = """
import pathlib, sys
import keras, keras_se, numpy as np
assert keras.backend.backend() == "jax"
for path in map(pathlib.Path, sys.argv[1:]):
    # Drawing initial values would cost JAX a compilation for each shape; the file replaces them all.
    with keras.StatelessScope(initialize_variables=False):
        model = keras.models.model_from_json(path.read_text())
    model.load_weights(path.with_suffix(".weights.h5"))
    np.save(path.with_suffix(".jax.npy"), model.predict(np.load(path.with_suffix(".npy")), verbose=0))
"""


def check_jax(models, folder):
    """Each model's configuration and weights, run by another process on the JAX backend."""
    pytest.importorskip("jax")
    expected = {}
    for model in models:
        path = folder / f"{model.name}.json"
        path.write_text(model.to_json())
        model.save_weights(path.with_suffix(".weights.h5"))
        np.save(path.with_suffix(".npy"), images(model))
        expected[path] = np.array(model(images(model)))
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    subprocess.run([sys.executable, "-c", JAX, *map(str, expected)], check=True, env=environment, cwd=folder)
    for path, outputs in expected.items():
        assert_close(np.load(path.with_suffix(".jax.npy")), outputs, of=1e-4)


@pytest.mark.slow
def test_short_networks_compute_the_same_on_jax(tmp_path):
    check_jax(map(short, ONE_A_FAMILY), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_network_computes_the_same_on_jax(name, tmp_path):
    check_jax([whole(name)], tmp_path)


# Paddings


def flipped(x):
    return x[:, ::-1, ::-1]


@pytest.mark.parametrize("size", [(8, 8), (9, 9), (8, 9)])
@pytest.mark.parametrize(("kernel", "layer"), [(3, conv_bn), (7, conv_bn), (5, depthwise_bn)])
def test_symmetric_padding_is_keras_padding_of_the_flipped_image(kernel, layer, size):
    """Half the kernel on each side, of which the last is not reached from an even size; Keras's is the reverse."""
    arguments = (4, kernel) if layer is conv_bn else (kernel,)
    inputs = keras.Input((*size, 4))
    same, symmetric = (
        keras.Model(inputs, layer(inputs, *arguments, "layer", stride=2, padding=padding))
        for padding in ("same", "symmetric")
    )
    kernels, *norm = same.get_weights()
    kernels = np.random.default_rng(0).normal(size=kernels.shape)
    same.set_weights([kernels[::-1, ::-1], *norm])
    symmetric.set_weights([kernels, *norm])
    x = images(same)
    assert_close(symmetric.predict(x, verbose=0), flipped(same.predict(flipped(x), verbose=0)), of=1e-6)


def window_maxima(x, starts):
    """Maximum of the three values from each start on along an axis, as far as there are so many."""
    return np.stack([x[:, max(start, 0) : start + 3].max(axis=1) for start in starts], axis=1)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("size", [(8, 8), (9, 9), (8, 9)])
@pytest.mark.parametrize(
    ("pool", "starts"),
    [
        ("ceil", {8: (0, 2, 4, 6), 9: (0, 2, 4, 6)}),  # torch: MaxPool2d(3, 2, ceil_mode=True)
        ("padded", {8: (-1, 1, 3, 5), 9: (-1, 1, 3, 5, 7)}),  # torch: MaxPool2d(3, 2, padding=1)
    ],
)
def test_stem_pools_the_windows_of_torch(pool, starts, size, known):
    inputs = keras.Input((*(size if known else (None, None)), 2))
    model = keras.Model(inputs, pool_stem(inputs, pool))
    x = np.random.default_rng(0).random((2, *size, 2), "float32")
    rows = window_maxima(x, starts[size[0]])
    expected = window_maxima(rows.swapaxes(1, 2), starts[size[1]]).swapaxes(1, 2)
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)


@pytest.mark.parametrize(
    ("name", "arguments", "padded"),
    [
        ("se_resnext50_32x4d", {}, 0),
        ("se_resnext50_32x4d", {"padding": "symmetric"}, 4),  # the stem and three 3x3
        ("se_resnext50_32x4d", {"padding": "symmetric", "stem_pool": "padded"}, 5),
        ("senet154", {"padding": "symmetric"}, 7),  # and three projections
        ("mobilenet_v3_small", {}, 0),
        ("mobilenet_v3_small", {"padding": "symmetric"}, 5),
    ],
)
def test_only_what_has_a_stride_is_padded_explicitly(name, arguments, padded):
    with keras.StatelessScope(initialize_variables=False):
        model = keras_se.create_model(name, input_shape=(64, 64, 3), **arguments)
    assert sum(isinstance(layer, keras.layers.ZeroPadding2D) for layer in model.layers) == padded


# SE as each family was published


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("se_resnext50_32x4d", {"r": 16, "gate": "sigmoid", "use_bias": True}),
        ("se_shufflenet", {"r": 16, "gate": "sigmoid", "use_bias": False}),
        ("mobilenet_v3_large", {"r": 4, "gate": "hard_sigmoid", "use_bias": True}),
    ],
)
def test_se_is_the_published_one_unless_asked_otherwise(name, expected):
    def configurations(**arguments):
        with keras.StatelessScope(initialize_variables=False):
            model = keras_se.create_model(name, input_shape=(64, 64, 3), **arguments)
        layers = [layer for layer in model.layers if isinstance(layer, keras_se.SqueezeExcite)]
        return [{key: layer.get_config()[key] for key in expected} for layer in layers]

    assert set(map(str, configurations())) == {str(expected)}
    other = {"r": 8, "gate": "tanh", "use_bias": not expected["use_bias"]}
    assert set(map(str, configurations(**other))) == {str(other)}


@pytest.mark.parametrize(
    ("value", "units"),
    [
        (4, 8),  # at least one
        (18, 24),  # a quarter of 72; 16 is less than 0.9 of it
        (30, 32),
        (168, 168),
    ],
)
def test_hidden_units_of_mobilenet_v3_are_multiples_of_8(value, units):
    assert divisible(value) == units


def test_se_divisor_rounds_hidden_units():
    """timm's seresnet18 has eight hidden units at 64 channels; its `legacy_` one has four."""
    with keras.StatelessScope(initialize_variables=False):
        model = keras_se.create_model("se_resnet18", input_shape=(64, 64, 3), se_divisor=8)
    hidden = [layer.hidden for layer in model.layers if isinstance(layer, keras_se.SqueezeExcite)]
    assert hidden == [8, 8, 8, 8, 16, 16, 32, 32]


# Refusals


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("senet154", {"padding": "valid"}, "padding must be one of same, symmetric; got padding='valid'"),
        ("senet154", {"stem_pool": "same"}, "stem_pool must be ceil or padded; got stem_pool='same'"),
        ("se_resnext50_32x4d", {"stride_in": "7x7"}, "stride_in must be 1x1 or 3x3; got stride_in='7x7'"),
        ("se_resnet18", {"se_divisor": 0}, "se_divisor must be an integer of at least 1; got se_divisor=0"),
        ("mobilenet_v3_small", {"padding": "torch"}, "padding must be one of same, symmetric; got padding='torch'"),
        ("mobilenet_v3_small", {"alpha": 0}, "alpha must be a number above 0; got alpha=0"),
        ("mobilenet_v3_small", {"r": 0}, "r must be an integer of at least 1; got r=0"),
        ("mobilenet_v3_small", {"placement": "post"}, "placement must be one of 3x3, standard, pre, none"),
        ("se_shufflenet", {"placement": "identity"}, "placement must be one of standard, pre, 3x3, none"),
        ("se_shufflenet", {"input_shape": (None, None, 3)}, "height and width must be known in this family; got"),
        ("se_vgg16", {"placement": "pre"}, "placement must be one of standard, none in this family; got"),
        ("se_vgg16", {"input_shape": (None, None, 3)}, "height and width must be at least 32 with include_top; got"),
        ("se_vgg16", {"input_shape": (16, 16, 3)}, "height and width must be at least 32 with include_top; got"),
        ("se_bn_inception", {"placement": "3x3"}, "placement must be one of standard, pre, none in this family; got"),
        ("se_bn_inception", {"se_stages": (1,)}, "se_stages must be among 3, 4, 5; got se_stages=(1,)"),
        ("se_inception_resnet_v2", {"input_shape": (64, 64, 3)}, "height and width must be at least 75"),
        (
            "se_inception_resnet_v2",
            {"modules": (5, 10)},
            "modules must be a list of 3 integers or None; got modules=(5, 10)",
        ),
        ("se_inception_resnet_v2", {"modules": (5, 0, 5)}, "modules must be an integer of at least 1; got modules=0"),
        ("se_wrn16_8", {"se_stages": (4,)}, "se_stages must be among 1, 2, 3; got se_stages=(4,)"),
    ],
)
def test_refuses_what_the_family_has_no_room_for_with_the_rule(name, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        keras_se.create_model(name, **arguments)
