"""Ranges of a float file's activations against the quantizer's own calibration, and what may be calibrated on."""

import contextlib
import io
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from litert_quantizer.calibrator import Calibrator
from litert_quantizer.recipe import static_wi8_ai8
from litert_quantizer.recipe_manager import RecipeManager
from litert_quantizer.utils import qsv_utils

import keras_se
from keras_se.errors import InputError
from keras_se.export import compare, diagnose, export
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.quantization.calibration import MOST_IMAGES, calibrate, check_calibration
from keras_se.export.quantization.observers import LEAST_RANGE
from keras_se.export.runtimes.keras_model import run_keras
from keras_se.export.tflite.model import TFLiteModel

UPDATES = {"min_max": qsv_utils.min_max_update, "moving_average": qsv_utils.moving_average_update}


def branching():
    """Every kind of operation that our networks have and the trained one lacks."""
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="hard_swish")(image)
    pooled = keras.layers.MaxPooling2D(3, 1, padding="same")(x)
    x = keras.layers.Concatenate()([keras.layers.AveragePooling2D(3, 1, padding="same")(x), pooled])
    x = keras.layers.Add()([x, keras_se.SqueezeExcite(2, gate="hard_sigmoid", squeeze="max")(x)])
    x = keras.layers.Dense(5)(keras.layers.Flatten()(keras.layers.ZeroPadding2D()(x)))
    return keras.Model(image, keras.layers.Softmax()(x))


def by_the_library(float_file, images, method):
    manager = RecipeManager()
    manager.load_quantization_recipe(static_wi8_ai8())
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        calibrator = Calibrator(float_file, num_threads=2, qsv_update_func=UPDATES[method])
        [(signature, names)] = calibrator.get_signature_list().items()
        samples = [{names["inputs"][0]: image[None]} for image in images]
        calibrator.calibrate({signature: samples}, manager)
    return calibrator.get_model_qsvs()


@pytest.mark.parametrize("method", UPDATES)
@pytest.mark.parametrize("network", ["trained", "branching"])
def test_is_the_librarys_calibration_on_every_tensor(network, method, request):
    if network == "trained":
        exported = request.getfixturevalue("trained")
        float_file, images = TFLiteModel(exported.files["float32"].read_bytes()), exported.images[:6]
    else:
        float_file, images = to_tflite(branching()), np.random.default_rng(0).random((6, 16, 16, 3), "float32")
    expected = by_the_library(float_file.content, images, method)
    got = calibrate(float_file, images, method=method)
    assert len(expected) > 10
    assert expected.keys() <= got.keys()
    for name, extremes in expected.items():
        if not extremes:
            continue
        if not np.any([extremes["min"], extremes["max"]]):  # 0 on every image: a range of nothing has no scale
            assert got[name]["max"] - got[name]["min"] == pytest.approx(LEAST_RANGE)
            continue
        # The average is ours in float64 and the library's in float32.
        rtol = 0 if method == "min_max" else 1e-5
        for end in ("min", "max"):
            np.testing.assert_allclose(got[name][end].ravel(), np.ravel(extremes[end]), rtol=rtol, atol=rtol)


def test_takes_the_extremes_of_all_images(trained):
    """The quantizer's own moving average falls short of the extremes of the logits over all images."""
    float_file = TFLiteModel(trained.files["float32"].read_bytes())
    ranges = calibrate(float_file, trained.images[:8], (0.0, 1.0))
    graph = float_file.without_softmax.graph
    logits = ranges[graph.tensors[int(graph.outputs[0])].name.decode()]
    wanted = run_keras(trained.model, trained.images[:8]).values
    # To 1e-4: XNNPACK's sums against TensorFlow's.
    assert float(logits["min"].squeeze()) == pytest.approx(wanted.min(), abs=1e-4)
    assert float(logits["max"].squeeze()) == pytest.approx(wanted.max(), abs=1e-4)
    assert ranges[float_file.input_name]["max"].squeeze() == 1.0


@pytest.mark.parametrize("method", ["percentile", "mse", "moving_average"])
def test_other_methods_give_narrower_ranges(trained, method):
    float_file = TFLiteModel(trained.files["float32"].read_bytes())
    images = trained.images[:8]
    whole, narrower = (calibrate(float_file, images, method=name) for name in ("min_max", method))
    for name, extremes in whole.items():
        # An 8-bit range has zero in it, which least squares says and the quantizer sees to.
        assert narrower[name]["min"] >= min(extremes["min"], 0) - 1e-6
        assert narrower[name]["max"] <= max(extremes["max"], 0) + 1e-6


@pytest.mark.parametrize("unroll", [True, False])
def test_a_tensor_that_no_operation_reads_has_no_values(unroll, tmp_path):
    """Such is the forget gate of an LSTM's first step; and a loop that is not unrolled, in a float file."""
    image = keras.Input((4, 4, 3))
    x = keras.layers.LSTM(4, unroll=unroll)(keras.layers.Reshape((4, 12))(image))
    model = keras.Model(image, keras.layers.Dense(3)(x))
    images = np.random.default_rng(0).random((4, 4, 4, 3), "float32")
    [artifact] = export(model, tmp_path, recipes=["float32"])
    assert compare(model, artifact.path, images).verdict == "pass"
    assert diagnose(artifact.path, artifact.path, images)[-1].sqnr_db == np.inf
    if unroll:
        ranges = calibrate(TFLiteModel(artifact.path.read_bytes()), images)
        assert sum(bool(ends["min"] == 0 and ends["max"] == np.float32(LEAST_RANGE)) for ends in ranges.values()) == 1


def test_the_method_stands_in_the_manifest_and_changes_the_file(tmp_path):
    images = np.random.default_rng(0).random((4, 16, 16, 3), "float32")
    options = {"recipes": ("static_wi8_ai8",), "calibration": images}
    [plain] = export(branching(), tmp_path, **options)
    [other] = export(branching(), tmp_path, **options, calibration_method="moving_average")
    assert (plain.manifest["calibration"]["method"], plain.manifest["calibration"]["images"]) == ("min_max", 4)
    assert other.manifest["calibration"]["method"] == "moving_average"
    assert plain.manifest["sha256"] != other.manifest["sha256"]


def test_an_unknown_method_is_refused_before_anything_is_made(trained, tmp_path):
    with pytest.raises(InputError, match=r"calibration_method must be one of min_max.*; got 'entropy'"):
        export(trained.model, tmp_path / "out", recipes=("float32",), calibration_method="entropy")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (None, "needs calibration images"),
        (np.zeros((0, 8, 8, 3), "float32"), "needs calibration images"),
        (np.zeros((2, 9, 8, 3), "float32"), r"\(n, 8, 8, 3\); got \(2, 9, 8, 3\)"),
        (np.zeros((8, 8, 3), "float32"), r"got \(8, 8, 3\)"),
        (np.zeros((2, 8, 8, 3), "uint8"), "floats.*got uint8"),
        (np.full((2, 8, 8, 3), np.nan, "float32"), "finite"),
    ],
)
def test_unfit_calibration_images_are_refused(images, message):
    with pytest.raises(InputError, match=message):
        check_calibration(images, (8, 8, 3))


def test_calibration_takes_datasets_lists_and_generators_without_end():
    shape = (2, 2, 3)
    images = np.random.default_rng(0).random((6, *shape), np.float32)
    dataset = tf.data.Dataset.from_tensor_slices((images, np.arange(6))).batch(4)
    for source in (list(images), [images[:4], images[4:]], dataset, (image for image in images), dataset.unbatch()):
        np.testing.assert_array_equal(check_calibration(source, shape), images)
    assert len(check_calibration(dataset.repeat(), shape)) == MOST_IMAGES
    with pytest.raises(InputError, match=r"a batch of it; got \(1, 3, 3, 3\)"):
        check_calibration([np.zeros((3, 3, 3), np.float32)], shape)
    with pytest.raises(InputError, match="there are none"):
        check_calibration([], shape)
