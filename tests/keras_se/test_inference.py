"""Images into a network and names out of it: training's own pixels, the record's own names."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

import keras_se
from keras_se.errors import InputError
from keras_se.preprocessing import Preprocessing
from keras_se.training.data.input_pipeline import sample
from keras_se.training.data.sources import Split


def network(preprocessing=None, channels=3):
    image = keras.Input((24, 20, channels))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    return model if preprocessing is None else keras_se.preprocessing.bring_preprocessing(model, preprocessing)


def photographs(*sizes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), "uint8") for size in sizes]


@pytest.fixture
def run(tmp_path):
    network().save(tmp_path / "model.keras")
    record = {"preprocessing": Preprocessing(24, 20, 0.5).to_dict(), "classes": ["cat", "dog", "owl"]}
    (tmp_path / "run.json").write_text(json.dumps(record))
    return tmp_path


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"])
@pytest.mark.parametrize("crop", [1.0, 0.875])
def test_images_are_those_of_trainings_evaluation(interpolation, crop, tmp_path):
    preprocessing = Preprocessing(24, 20, crop, interpolation, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    images = photographs((24, 20), (31, 50), (90, 41), (7, 9))
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    paths = np.array([str(tmp_path / f"{number}.png") for number in range(len(images))])
    expected, _ = sample(Split(paths, np.zeros(len(images), "int32")), preprocessing, len(images))
    ours = keras_se.preprocess_input(network(preprocessing), images)
    np.testing.assert_allclose(ours, expected, atol=1e-5)  # the normalisation's rounding, of values up to 3


def test_the_record_of_a_run_says_what_it_takes(run):
    [image] = photographs((24, 20))
    expected = keras_se.preprocess_input(network(Preprocessing(24, 20, 0.5)), image)
    for path in (run, run / "model.keras", str(run)):
        np.testing.assert_array_equal(keras_se.preprocess_input(path, image), expected)
    (run / "run.json").unlink()
    np.testing.assert_allclose(keras_se.preprocess_input(run, image), image[None] / 255, rtol=1e-6)


def test_grey_images_and_floats_are_taken():
    grey = np.full((24, 20, 1), 127.5)
    assert np.all(keras_se.preprocess_input(network(channels=1), grey) == np.float32(0.5))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "needs at least one image"),
        (np.zeros((4, 4)), r"an image must be \(height, width, channels\).*; got the shape \(4,\)"),
        (np.full((1, 4, 4, 3), 0.5), r"pixels must be in 0..255; got float64 from 0.5 to 0.5"),
        (np.full((1, 4, 4, 3), 300), r"pixels must be in 0..255; got int64 from 300 to 300"),
    ],
)
def test_what_are_no_pixels_is_refused(images, message):
    with pytest.raises(InputError, match=message):
        keras_se.preprocess_input(network(), images)


def test_a_kernel_that_keras_has_not_is_refused():
    with pytest.raises(InputError, match=r"resizes by one of nearest, .*; the model takes area"):
        keras_se.preprocess_input(network(Preprocessing(24, 20, interpolation="area")), photographs((24, 20)))


def test_the_record_of_a_run_names_its_classes(run):
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]], "float32")
    named = keras_se.decode_predictions(run / "model.keras", scores, top=2)
    assert [[name for name, _ in best] for best in named] == [["dog", "owl"], ["cat", "owl"]]
    assert [score for _, score in named[0]] == pytest.approx([0.7, 0.2])
    assert len(keras_se.decode_predictions(run, scores)[0]) == 3  # five at most


def test_1000_classes_are_imagenets(monkeypatch):
    index = {str(number): [f"n{number}", f"name{number}"] for number in range(1000)}
    monkeypatch.setattr("keras.src.applications.imagenet_utils.CLASS_INDEX", index)
    named = keras_se.decode_predictions(network(), np.eye(1000)[[7]], top=2)
    assert named[0][0] == ("name7", 1.0)


@pytest.mark.parametrize(
    ("scores", "top", "message"),
    [
        (np.zeros((1, 4)), 5, "scores must be of the 3 classes of .*; got 4"),
        (np.zeros(3), 5, r"scores must be \(n, classes\); got the shape \(3,\)"),
        (np.zeros((1, 3)), 0, "top must be at least 1; got 0"),
    ],
)
def test_scores_of_others_are_refused(scores, top, message, run):
    with pytest.raises(InputError, match=message):
        keras_se.decode_predictions(run, scores, top)


def test_without_a_record_the_classes_have_no_names():
    with pytest.raises(InputError, match="names are in the record of a run: give its folder"):
        keras_se.decode_predictions(network(), np.zeros((1, 3)))
