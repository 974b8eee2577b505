"""Numbers that no file can hold are refused before native code sees them."""

import keras
import numpy as np
import pytest

from keras_se.errors import InputError
from keras_se.export import check, compare, export, quantize_aware
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.evaluation.verdict import decibels, relative_error

IMAGES = np.full((2, 8, 8, 3), 0.5, "float32")


def network() -> keras.Model:
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="stem")(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="head")], name="inner")
    return keras.Model(image, inner(keras.layers.GlobalAveragePooling2D()(x)))


def spoiled(layer: str, value: float) -> keras.Model:
    model = network()
    [layer_of_model] = [candidate for candidate in model._flatten_layers() if candidate.name == layer]
    variable = layer_of_model.moving_variance if layer == "norm" else layer_of_model.kernel
    variable.assign(np.full(variable.shape, value, "float32"))
    return model


@pytest.mark.parametrize(
    "conversion",
    [
        lambda model, folder: export(model, folder, calibration=IMAGES),
        lambda model, folder: check(model),
        lambda model, folder: quantize_aware(model, calibration=IMAGES),
        lambda model, folder: to_tflite(model),
    ],
)
@pytest.mark.parametrize(
    ("layer", "value", "message"),
    [
        ("stem", np.nan, "weights must be finite; kernel of the layer stem holds nan"),
        ("head", -np.inf, "weights must be finite; kernel of the layer head holds -inf"),
        ("norm", -1, "a moving variance must be at least 0; the layer norm holds -1"),
    ],
)
def test_a_weight_that_is_no_number_is_refused_by_its_layer(layer, value, message, conversion, tmp_path):
    with pytest.raises(InputError, match=message):
        conversion(spoiled(layer, value), tmp_path)
    assert not any(tmp_path.iterdir())


def test_weights_whose_sums_overflow_are_refused_at_the_first_layer_that_does(tmp_path):
    with pytest.raises(InputError, match=r"activations must be finite; .*(stem|norm).* gives a NaN or an infinity"):
        export(spoiled("stem", 3e38), tmp_path, calibration=IMAGES)


@pytest.mark.parametrize("value", [1e38, -1e38])
def test_a_file_that_is_not_calibrated_runs_once_before_it_is_written(value, tmp_path):
    """Each weight is finite, and their sums are not."""
    with pytest.raises(InputError, match=r"activations must be finite; (stem|norm) gives a NaN or an infinity"):
        export(spoiled("stem", value), tmp_path, recipes=["float32"])
    assert not any(tmp_path.iterdir())


def test_a_weight_beyond_float16_is_refused_by_its_layer(tmp_path):
    """Batch normalization is folded in: 9e4 over the root of 1.001."""
    message = r"^float16 holds numbers up to 65,504; a weight of the layer stem is 89955: choose another recipe"
    with pytest.raises(InputError, match=message):
        export(spoiled("stem", 9e4), tmp_path, recipes=["float32", "float16"])
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("calibration", [None, IMAGES])
def test_what_a_gpu_cannot_hold_in_float16_is_named(calibration, tmp_path, caplog):
    """Nine positions and three channels of 0.5 to 1, by weights of 9e3, have sums above 65,504."""
    [artifact] = export(
        spoiled("stem", 9e3), tmp_path, recipes=["float16"], target="phone_gpu", calibration=calibration
    )
    beyond = artifact.manifest["beyond_float16"]
    assert "stem" in beyond
    assert beyond["stem"] == pytest.approx(27 * 9e3 * (1 if calibration is None else 0.5), rel=1e-2)
    [line] = [record.getMessage() for record in caplog.records if record.name == "keras_se"]
    assert line.startswith("phone_gpu computes in float16 by default, which holds numbers up to 65,504; beyond it are")
    assert "stem (" in line


def test_of_what_float16_holds_nothing_is_said(tmp_path, caplog):
    [artifact] = export(network(), tmp_path, recipes=["float16"], target="phone_gpu")
    assert artifact.manifest["beyond_float16"] == {}
    assert not [record for record in caplog.records if record.name == "keras_se"]


@pytest.mark.parametrize("variance", [1e30, pytest.param(1e8, marks=pytest.mark.slow)])
def test_a_bias_beside_a_kernel_of_next_to_nothing_is_not_cut_off(variance, tmp_path):
    """Its steps are those of the kernel, of which 2**31 came to less than the bias; 1e8 is too much in int16 alone."""
    keras.utils.set_random_seed(0)  # logits of next to nothing would have less signal than a step
    model = spoiled("norm", variance)
    model.get_layer("norm").beta.assign([0.3, -0.1, 0.5, 0.2])
    images = np.random.default_rng(0).random((8, 8, 8, 3), "float32")
    recipes = ["static_wi8_ai8", "static_wi8_ai16"]
    for artifact in export(model, tmp_path, recipes=recipes, calibration=images):
        for engine in ("litert", "litert_reference", "tflm"):
            assert compare(model, artifact.path, images, engine=engine).sqnr_db > 35


def test_differences_from_a_reference_that_is_zero_throughout():
    assert (relative_error(0.0, 0.0), relative_error(1.0, 0.0), relative_error(1.0, 4.0)) == (0.0, np.inf, 0.25)
    assert (decibels(0.0, 0.0), decibels(0.0, 1.0)) == (np.inf, -np.inf)
