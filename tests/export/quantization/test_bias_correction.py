"""Corrected biases and re-estimated statistics against NumPy's means."""

import keras
import numpy as np
import pytest

from keras_se.errors import InputError
from keras_se.export import RECIPES, export
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.quantization.bias_correction import correct_biases, reestimate_batch_norm
from keras_se.export.quantization.quantizer import quantize
from keras_se.export.runtimes.registry import ENGINES
from keras_se.export.tflite.constants import weight_error
from keras_se.export.tflite.model import TFLiteModel

WIDTH = 8
LAYERS = {
    "convolution": lambda: keras.layers.Conv2D(6, 1),
    "no bias": lambda: keras.layers.Conv2D(6, 1, use_bias=False),
    "groups": lambda: keras.layers.Conv2D(8, 1, groups=2),
    "depthwise": lambda: keras.layers.DepthwiseConv2D(1, depth_multiplier=2),
    "dense": lambda: keras.layers.Dense(6),
}


def images(count=16, channels=4):
    return np.random.default_rng(0).uniform(0.5, 1.5, (count, 4, 4, channels)).astype("float32")


def mean_output(file):
    outputs = ENGINES["litert_reference"].run(file.content, images()).values
    return outputs.reshape(len(outputs), -1, WIDTH).mean((0, 1))


@pytest.mark.parametrize("name", LAYERS)
def test_the_mean_output_of_rounded_weights_is_the_float_one(name):
    """Exact for kernels of one position, which meet no padding; and through a second layer."""
    keras.utils.set_random_seed(1)
    image = keras.Input((4, 4, 4))
    model = keras.Model(image, keras.layers.Conv2D(WIDTH, 1)(LAYERS[name]()(image)))
    float_file = to_tflite(model)
    corrected = correct_biases(float_file, images())
    rounded, mended = (quantize(file, RECIPES["weight_only_wi8_afp32"]) for file in (float_file, corrected))
    expected = mean_output(float_file)
    before, after = (np.abs(mean_output(file) - expected).max() for file in (rounded, mended))
    # The second layer's correction is for the float input's mean, to which the first's returns; float32 sums.
    assert after < 2e-6
    assert before > 1e-4


def test_kernels_are_still_held_to_the_float_file(trained):
    """The constants that parity then compares are the kernels: corrected biases have names of their own."""
    float_file = TFLiteModel(trained.files["float32"].read_bytes())
    corrected = correct_biases(float_file, trained.images[:2])
    assert corrected.operation_counts == float_file.operation_counts
    error = weight_error(float_file, quantize(corrected, RECIPES["weight_only_wi8_afp32"]))
    assert error.compared == 54
    assert error.steps <= 0.51


def test_export_corrects_the_files_with_8_bit_weights_only(tmp_path):
    keras.utils.set_random_seed(1)
    image = keras.Input((4, 4, 4))
    model = keras.Model(image, keras.layers.Conv2D(WIDTH, 1)(image), name="small")
    recipes = ("float32", "float16", "weight_only_wi8_afp32", "static_wi8_ai8")
    pixels = np.random.default_rng(0).random((20, 4, 4, 4), "float32")
    exported = [
        export(model, tmp_path, recipes=recipes, calibration=pixels, bias_correction=corrects)
        for corrects in (False, True)
    ]
    same = [plain.manifest["sha256"] == mended.manifest["sha256"] for plain, mended in zip(*exported, strict=True)]
    assert same == [True, True, False, False]
    assert [artifact.manifest["bias_correction"] for artifact in exported[1]] == [False, False, True, True]


def rounded(kernel):
    scale = np.abs(kernel).reshape(-1, kernel.shape[-1]).max(0) / 127
    return np.round(kernel / scale) * scale


def test_statistics_are_numpys_with_rounded_weights():
    """Two layers of 1x1 convolution and batch normalisation, in batches of 8, 8 and 4."""
    keras.utils.set_random_seed(0)
    image = keras.Input((4, 4, 4))
    convolutions = [keras.layers.Conv2D(5, 1, use_bias=False) for _ in range(2)]
    norms = [keras.layers.BatchNormalization(name=f"norm{number}") for number in range(2)]
    x = keras.layers.Dropout(0.5)(norms[0](convolutions[0](image)))
    model = keras.Model(image, norms[1](convolutions[1](x)))
    before = [weight.copy() for weight in model.get_weights()]
    pixels = images(20)
    reestimated = reestimate_batch_norm(model, pixels, batch_size=8)
    sums = np.zeros((2, 2, 5))
    for batch in np.split(pixels, [8, 16]):
        x = batch.astype("float64")
        for number, (convolution, norm) in enumerate(zip(convolutions, norms, strict=True)):
            x = x @ rounded(convolution.get_weights()[0][0, 0].astype("float64"))
            mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
            sums[number] += np.stack([mean, variance]) * len(batch) / 20
            x = (x - mean) / np.sqrt(variance + norm.epsilon)
    for number in range(2):
        norm = reestimated.get_layer(f"norm{number}")
        # float32 sums; the second layer's mean is of values of the order of 1
        np.testing.assert_allclose(norm.moving_mean, sums[number, 0], atol=2e-5)
        np.testing.assert_allclose(norm.moving_variance, sums[number, 1], rtol=2e-4)
    for old, kept in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, kept)
    np.testing.assert_array_equal(reestimated.get_weights()[0], before[0])


def test_nothing_to_estimate_is_refused():
    model = keras.Sequential([keras.Input((4, 4, 4)), keras.layers.Conv2D(2, 1)])
    with pytest.raises(InputError, match="there must be batch normalisation and images; got 0 and 16"):
        reestimate_batch_norm(model, images())
