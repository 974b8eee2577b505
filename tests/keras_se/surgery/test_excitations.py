"""Gates of a network on images, against what its layers give by themselves."""

import keras
import numpy as np
import pytest

from keras_se import ChannelAttention, InputError, SpatialAttention, SqueezeExcite, create_model, excitations

LAYERS = keras.layers


def test_gates_are_what_the_blocks_compute():
    model = create_model("se_mobilenet", input_shape=(32, 32, 3), classes=3, alpha=0.25)
    images = np.random.default_rng(0).random((3, 32, 32, 3), "float32")
    gates = excitations(model, images)
    blocks = [layer for layer in model.layers if isinstance(layer, SqueezeExcite)]
    assert list(gates) == [block.name for block in blocks]
    maps = keras.Model(model.input, [block.input for block in blocks]).predict_on_batch(images)
    for block, values in zip(blocks, maps, strict=True):
        expected = block.expand(block.reduce(values.mean((1, 2), keepdims=True)))
        # float32 means of up to 256 positions, added in another order.
        np.testing.assert_allclose(gates[block.name], np.asarray(expected)[:, 0, 0], rtol=1e-5, atol=1e-6)


def test_se_of_keras_layers_is_found_in_the_graph():
    model = keras.applications.MobileNetV3Small((32, 32, 3), weights=None, classes=3, include_preprocessing=False)
    images = np.random.default_rng(0).random((3, 32, 32, 3), "float32")
    gates = excitations(model, images)
    multiplications = [layer for layer in model.layers if layer.name.endswith("squeeze_excite_mul")]
    assert list(gates) == [layer.name for layer in multiplications]
    expected = keras.Model(model.input, [layer.input[1] for layer in multiplications]).predict_on_batch(images)
    for layer, gate in zip(multiplications, expected, strict=True):
        np.testing.assert_allclose(gates[layer.name], gate[:, 0, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "blocks"), [("EfficientNetB0", 16), ("EfficientNetV2B0", 16), ("MobileNetV3Large", 8)]
)
def test_every_block_of_the_published_networks_is_found(name, blocks):
    # MobileNetV3: arXiv 1905.02244, table 1. EfficientNet: each MBConv, arXiv 1905.11946, table 1; in
    # V2-B0 the stages of 3, 5 and 8 (google/automl, effnetv2_configs.py, v2_base_block).
    model = getattr(keras.applications, name)(input_shape=(32, 32, 3), weights=None, classes=3)
    assert len(excitations(model, np.zeros((1, 32, 32, 3), "float32"))) == blocks


def test_blocks_within_models_and_without_images_axes():
    block = SqueezeExcite(4, squeeze="none", name="se")
    inner = keras.Sequential([keras.Input((20, 8)), LAYERS.Conv1D(8, 3, name="conv"), block], name="inner")
    signal = keras.Input((20, 8))
    model = keras.Model(signal, LAYERS.GlobalAveragePooling1D()(inner(signal)))
    signals = np.random.default_rng(0).random((5, 20, 8), "float32")
    gates = excitations(model, signals)
    se = inner.get_layer("se")
    expected = np.asarray(se.excite(inner.get_layer("conv")(signals))).mean(1)
    np.testing.assert_allclose(gates["inner/se"], expected, rtol=1e-5)


def test_the_layers_beside_se_have_gates_too():
    image = keras.Input((8, 8, 3))
    x = LAYERS.Conv2D(8, 3, name="conv")(image)
    halves = [ChannelAttention(4, name="channel"), SpatialAttention(3, name="spatial")]
    model = keras.Model(image, halves[1](halves[0](x)))
    images = np.random.default_rng(0).random((3, 8, 8, 3), "float32")
    gates = excitations(model, images)
    x = np.asarray(model.get_layer("conv")(images))
    scaled = np.asarray(halves[0](x))
    # A product over a factor, each rounded by 2**-24.
    np.testing.assert_allclose(gates["channel"], (scaled / x).mean((1, 2)), rtol=1e-4)
    of_positions = (np.asarray(halves[1](scaled)) / scaled).mean((1, 2))
    np.testing.assert_allclose(gates["spatial"], of_positions, rtol=1e-4)


@pytest.mark.parametrize(
    "gate",
    [LAYERS.Activation("sigmoid"), LAYERS.Identity(), LAYERS.GlobalAveragePooling2D(keepdims=True)],
    ids=["swish", "square", "mean"],
)
def test_a_gate_without_weights_is_no_se(gate):
    image = keras.Input((8, 8, 3))
    x = LAYERS.Conv2D(8, 3)(image)
    model = keras.Model(image, LAYERS.Multiply()([x, gate(x)]), name="plain")
    with pytest.raises(InputError, match="plain has none"):
        excitations(model, np.zeros((1, 8, 8, 3)))
