"""A .tflite file as a classifier: by its manifest, by its own metadata, or not at all."""

import json
import shutil

import numpy as np
import pytest

from keras_se.classifier import classifier_of
from keras_se.errors import InputError
from keras_se.export import RECIPES, load_classifier
from keras_se.export.targets.base import QuantizedModel
from keras_se.export.targets.registry import TARGETS
from keras_se.export.tflite import flatbuffer
from keras_se.export.tflite.metadata import with_metadata
from keras_se.export.tflite.metadata_reader import FileMetadata, read_metadata
from keras_se.export.tflite.model import TFLiteModel
from keras_se.export.tflite.score_calibration import ScoreCalibration
from keras_se.preprocessing import Preprocessing
from keras_se.training.data.input_pipeline import sample
from keras_se.training.data.sources import load_source

# A file differs from Keras by float32's sums in another order; in 8 bits a probability has steps of 1/256, and a few
# of them were seen where two classes are near each other.
FLOAT, INT8 = 1e-4, 0.1
PIXELS = Preprocessing(32, 32)


@pytest.fixture(scope="module")
def images():
    return sample(load_source("digits").test, Preprocessing(32, 32), 40)[0]


@pytest.fixture(scope="module")
def expected(golden, images):
    return classifier_of(golden).scores(images)


@pytest.mark.parametrize(("recipe", "tolerance"), [("float32", FLOAT), ("static_wi8_ai8", INT8)])
def test_a_file_gives_what_its_model_gives(trained, golden, images, expected, recipe, tolerance):
    classifier = load_classifier(trained.files[recipe])
    assert classifier.classes == tuple("0123456789")  # of the record beside it
    assert np.abs(classifier.scores(images) - expected).max() < tolerance


@pytest.mark.parametrize("engine", ["litert_reference", "tflm"])
def test_it_runs_on_other_engines(trained, images, expected, engine):
    scores = load_classifier(trained.files["static_wi8_ai8"], engine=engine).scores(images[:8])
    assert np.abs(scores - expected[:8]).max() < INT8


@pytest.fixture
def packaged(trained, tmp_path):
    """Files as an app takes them, without a manifest: by recipe and mean."""

    def make(recipe, preprocessing=PIXELS, scores=None):
        content = TFLiteModel(trained.files[recipe].read_bytes())
        labels = tuple(f"digit {number}" for number in range(10))
        part = QuantizedModel(content, RECIPES[recipe], "se_mobilenet", preprocessing, labels, scores)
        path = tmp_path / f"{recipe}.tflite"
        path.write_bytes(TARGETS["mediapipe"].package_for_target(part).file.content)
        return path

    return make


@pytest.mark.parametrize(("recipe", "tolerance"), [("float32", FLOAT), ("static_wi8_ai8", INT8)])
def test_a_file_with_metadata_needs_no_manifest(packaged, images, expected, recipe, tolerance):
    """The float file's input is normalised by the metadata; the uint8 file takes pixels as they are."""
    classifier = load_classifier(packaged(recipe))
    assert classifier.classes[3] == "digit 3"
    assert classifier.preprocessing.input_range == pytest.approx((0, 1), abs=1e-6)
    assert np.abs(classifier.scores(images) - expected).max() < tolerance


def test_the_files_own_normalisation_is_read(packaged):
    assert read_metadata(TFLiteModel(packaged("float32", Preprocessing.for_range(32, 32, -1, 1)).read_bytes()))[:2] == (
        pytest.approx((127.5,)),
        pytest.approx((127.5,)),
    )


def test_a_normalisation_by_channel_inside_the_file_is_not_done_twice(packaged, images):
    """The file takes pixels in 0..1 and normalises them itself, so the classifier must not."""
    by_channel = Preprocessing(32, 32, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    classifier = load_classifier(packaged("float32", by_channel))
    assert classifier.preprocessing.input_range == (0.0, 1.0)


def test_calibrated_scores_are_those_that_an_app_shows(packaged, images, expected):
    calibration = ScoreCalibration(slope=0.5, offset=-1.0)
    scores = load_classifier(packaged("float32", scores=calibration)).scores(images)
    assert scores == pytest.approx(calibration(expected), abs=1e-3)  # the logarithm magnifies small probabilities


def test_metadata_of_several_means_are_all_read(trained):
    content = TFLiteModel(trained.files["float32"].read_bytes())
    assert read_metadata(content) == FileMetadata()
    assert read_metadata(with_metadata(content, "m", mean=3.0, std=4.0)).mean == (3.0,)


def test_a_file_that_says_nothing_is_refused_with_what_is_missing(trained, tmp_path):
    shutil.copy(trained.files["float32"], tmp_path / "bare.tflite")
    with pytest.raises(InputError, match=r"no manifest bare\.tflite\.json beside it and no TFLite metadata"):
        load_classifier(tmp_path / "bare.tflite")
    told = load_classifier(tmp_path / "bare.tflite", preprocessing=Preprocessing(32, 32))
    assert told.classes is None


def test_the_manifests_classes_go_before_others(trained, tmp_path):
    file = tmp_path / "named.tflite"
    shutil.copy(trained.files["float32"], file)
    manifest = json.loads(trained.files["float32"].with_name(f"{trained.files['float32'].name}.json").read_text())
    names = [f"digit {number}" for number in range(10)]
    file.with_name("named.tflite.json").write_text(json.dumps({**manifest, "classes": names}))
    assert load_classifier(file).classes == tuple(names)


def test_what_is_no_file_and_no_engine_are_refused(trained, tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        load_classifier(tmp_path / "nowhere.tflite")
    with pytest.raises(InputError, match="engine must be one of"):
        load_classifier(trained.files["float32"], engine="steam")


def test_a_file_that_gives_no_row_of_scores_is_refused(trained, tmp_path):
    model = flatbuffer.unpack(trained.files["float32"].read_bytes())
    model.subgraphs[0].outputs = model.subgraphs[0].operators[0].outputs
    (tmp_path / "features.tflite").write_bytes(flatbuffer.pack(model))
    with pytest.raises(InputError, match="give one row of scores"):
        load_classifier(tmp_path / "features.tflite")
