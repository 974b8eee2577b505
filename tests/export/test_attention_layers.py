"""The layers beside SE are exported and quantized to files that compute the network."""

import keras
import numpy as np
import pytest

import keras_se
from keras_se.export import compare, export

LAYERS = {
    "efficient_channel": keras_se.EfficientChannelAttention,
    "effective_se": keras_se.EffectiveSqueezeExcite,
    "gather_excite": keras_se.GatherExcite,
    "gather_excite_by_4": lambda: keras_se.GatherExcite(4),
    "gather_excite_learned": lambda: keras_se.GatherExcite(learned=True),
    "gather_excite_learned_by_4": lambda: keras_se.GatherExcite(4, learned=True),
    "efficient_channel_first": lambda: keras_se.EfficientChannelAttention(data_format="channels_first"),
    "spatial_first": lambda: keras_se.SpatialAttention(data_format="channels_first"),
    "channel": lambda: keras_se.ChannelAttention(4),
    "spatial": keras_se.SpatialAttention,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_every_engine_holds_parity(name, tmp_path):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    images = rng.random((40, 16, 16, 3), "float32")
    layer = LAYERS[name]()
    image = keras.Input((16, 16, 3))
    x = layer(keras.layers.Conv2D(16, 3, 2, padding="same", activation="relu")(image))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(16, 3, activation="relu")(x))
    model = keras.Model(image, keras.layers.Dense(10, activation="softmax")(x))
    for weight in layer.weights:
        values = rng.normal(0, 0.7, weight.shape)
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.name else values)
    recipes = ("float32", "dynamic_wi8_afp32", "static_wi8_ai8", "static_wi8_ai16")
    files = export(model, tmp_path, recipes=recipes, calibration=images)
    for artifact in files:
        engines = ("litert", "litert_reference", *(["tflm"] if artifact.recipe.startswith("static") else []))
        for engine in engines:
            parity = compare(model, artifact.path, images, engine=engine, float_file=files[0].path)
            assert parity.verdict == "pass", (artifact.recipe, engine, parity.failures)
