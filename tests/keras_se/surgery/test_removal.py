"""SE taken out, with its gate's mean in the weights beside it: exactly, where the gate is constant."""

import keras
import numpy as np
import pytest

from keras_se import InputError, SpatialAttention, SqueezeExcite, excitations, fold_constant, remove

LAYERS = keras.layers
GATE = np.linspace(0.2, 0.9, 8)
SWISH = [LAYERS.Activation, {"activation": "silu"}]
NEIGHBOURS = {
    "convolution before": ([LAYERS.Conv2D, {"filters": 8, "kernel_size": 3}], [], []),
    "with its ReLU": ([LAYERS.Conv2D, {"filters": 8, "kernel_size": 3, "activation": "relu"}], [], []),
    "depthwise": ([LAYERS.DepthwiseConv2D, {"kernel_size": 3}], [], []),
    "normalisation and ReLU": ([LAYERS.BatchNormalization, {}], [LAYERS.ReLU, {}], []),
    "swish, convolution behind": (SWISH, [], [LAYERS.Conv2D, {"filters": 5, "kernel_size": 1}]),
    "swish, depthwise behind": (SWISH, [], [LAYERS.DepthwiseConv2D, {"kernel_size": 3}]),
    "swish, pooling and dense": (SWISH, [], [LAYERS.GlobalAveragePooling2D, {}]),
}


def constant(block, gate=GATE):
    """A block that gives the same gate whatever it sees."""
    block.expand.set_weights([np.zeros(block.expand.kernel.shape), np.log(gate / (1 - gate))])


def vary(block, scale):
    block.expand.kernel.assign(np.random.default_rng(0).normal(size=block.expand.kernel.shape) * scale)


def network(*parts):
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 6, 8))
    before, between, behind = parts
    x = image
    for kind, arguments in filter(None, (before, between)):
        x = kind(**arguments)(x)
    x = SqueezeExcite(4, name="se")(x)
    for kind, arguments in filter(None, (behind,)):
        x = kind(**arguments)(x)
    x = LAYERS.Dense(3)(x if len(x.shape) == 2 else LAYERS.Conv2D(4, 2, activation="tanh")(x))
    model, rng = keras.Model(image, x), np.random.default_rng(0)
    for variable in model.variables:
        if variable.name in ("beta", "bias"):  # zeros would be right whatever they are multiplied by
            variable.assign(rng.normal(0, 0.2, variable.shape))
    constant(model.get_layer("se"))
    return model


@pytest.mark.parametrize("parts", NEIGHBOURS.values(), ids=NEIGHBOURS)
def test_a_constant_gate_is_folded_into_the_neighbours(parts):
    model = network(*parts)
    images = np.random.default_rng(0).normal(size=(4, 6, 6, 8)).astype("float32")
    folding = fold_constant(model, images)
    assert folding.folded == ("se",)
    assert folding.model.count_params() == model.count_params() - folding.parameters_saved
    assert not any(isinstance(layer, SqueezeExcite | LAYERS.Rescaling) for layer in folding.model.layers)
    expected = model.predict_on_batch(images)
    assert np.abs(expected - remove(model).predict_on_batch(images)).max() > 0.01
    # Products are rounded by 2**-24 each, and sums of some 50 of them.
    np.testing.assert_allclose(folding.model.predict_on_batch(images), expected, rtol=1e-5, atol=1e-5)
    assert folding.output_change < 1e-5


def test_where_no_neighbour_takes_it_a_rescaling_stays():
    image = keras.Input((6, 6, 8))
    x = LAYERS.Conv2D(8, 1)(image)
    scaled = SqueezeExcite(4, name="se")(x)
    model = keras.Model(image, LAYERS.Add()([x, scaled]))  # the convolution has another reader
    constant(model.get_layer("se"))
    images = np.random.default_rng(0).random((4, 6, 6, 8), "float32")
    folded = remove(model, keep_mean=images)
    assert isinstance(folded.get_layer("se"), LAYERS.Rescaling)
    # As above.
    np.testing.assert_allclose(folded.predict_on_batch(images), model.predict_on_batch(images), rtol=1e-5, atol=1e-5)


def test_only_what_varies_less_than_the_tolerance_is_folded():
    model = network(*NEIGHBOURS["convolution before"])
    vary(model.get_layer("se"), 1)
    images = np.random.default_rng(0).normal(size=(4, 6, 6, 8)).astype("float32")
    kept = fold_constant(model, images)
    assert kept.folded == ()
    assert kept.output_change < 1e-6
    spread = kept.spreads["se"]
    assert spread > 1e-3
    assert fold_constant(model, images, tolerance=1.01 * spread).folded == ("se",)


@pytest.mark.parametrize("block", [SqueezeExcite(4, squeeze="none", name="se"), SpatialAttention(3, name="se")])
def test_a_gate_that_varies_by_position_is_no_constant(block):
    image = keras.Input((6, 6, 8))
    model = keras.Model(image, LAYERS.Conv2D(3, 1)(block(LAYERS.Conv2D(8, 1)(image))))
    images = np.repeat(np.random.default_rng(0).normal(size=(1, 6, 6, 8)).astype("float32"), 3, axis=0)
    assert np.ptp(excitations(model, images)["se"], axis=0).max() < 1e-6  # in its mean it is one
    folding = fold_constant(model, images)
    assert folding.folded == ()
    gate = np.asarray(block.excite(model.layers[1](images)))
    mean = gate.mean((0, 1, 2))
    assert folding.spreads["se"] == pytest.approx(np.abs(gate - mean).max(), rel=1e-4)
    assert fold_constant(model, images, tolerance=1).folded == ("se",)


def test_the_cost_of_the_means_is_said_in_accuracy():
    model = network(*NEIGHBOURS["convolution before"])
    vary(model.get_layer("se"), 10)
    images = np.random.default_rng(0).normal(size=(40, 6, 6, 8)).astype("float32")
    scorer = keras.Model(model.input, LAYERS.GlobalAveragePooling2D()(model.output))
    labels = scorer.predict_on_batch(images).argmax(1)
    folded, lost = remove(scorer, keep_mean=images, labels=labels)
    wrong = np.mean(folded.predict_on_batch(images).argmax(1) != labels)  # before, none was
    assert wrong > 0
    assert lost == pytest.approx(wrong)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keep_mean": np.zeros((2, 5, 5, 8))}, r"takes images \(n, 6, 6, 8\) for .*; got \(2, 5, 5, 8\)"),
        ({"keep_mean": np.zeros((0, 6, 6, 8))}, r"got \(0, 6, 6, 8\)"),
        ({"keep_mean": np.zeros((2, 6, 6, 8)), "labels": np.zeros(3)}, r"for each of the 2 images; got \(3,\)"),
        ({"labels": np.zeros(3)}, "give keep_mean=images too"),
    ],
)
def test_images_and_labels_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        remove(network(*NEIGHBOURS["depthwise"]), **arguments)


def test_a_network_without_se_is_refused():
    image = keras.Input((6, 6, 8))
    plain = keras.Model(image, LAYERS.Conv2D(8, 1)(image), name="plain")
    with pytest.raises(InputError, match=r"remove takes a network with SE; plain has none: keras_se.insert puts it in"):
        remove(plain)
