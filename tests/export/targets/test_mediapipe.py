"""MediaPipe's own ImageClassifier, in an environment of its own, classifies images from files as Keras does."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from keras_se.errors import InputError
from keras_se.export import RECIPES, export
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.runtimes.registry import ENGINES
from keras_se.export.targets.base import QuantizedModel
from keras_se.export.targets.registry import TARGETS
from keras_se.export.tflite.metadata import with_metadata
from keras_se.export.tflite.model import TFLiteModel
from keras_se.export.tflite.score_calibration import ScoreCalibration
from keras_se.inference import labels_of
from keras_se.preprocessing import Preprocessing

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
ALIKE = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
NAMES = tuple(f"digit {number}" for number in range(10))


@pytest.fixture(scope="session")
def classify(tmp_path_factory):
    """`(files, images) -> {file: class scores of each image | error}`, by `mediapipe` of the [phone] extra."""
    folder = tmp_path_factory.mktemp("mediapipe")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin" / "pip", "install", "--quiet", "mediapipe==1.2.2"], check=True)
    script = Path(__file__).with_name("image_classifier_process.py")

    def run(files, images):
        request = json.dumps([[str(file) for file in files], [str(image) for image in images]])
        child = subprocess.run(
            [folder / "bin" / "python", script], input=request, capture_output=True, text=True, check=True
        )
        return json.loads(child.stdout)

    return run


def written(pixels, folder):
    paths = [folder / f"{number}.png" for number in range(len(pixels))]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    return paths


def packaged(content, recipe, preprocessing, labels=None):
    return (
        TARGETS["mediapipe"]
        .package_for_target(QuantizedModel(content, RECIPES[recipe], "net", preprocessing, labels))
        .file
    )


@pytest.mark.slow
def test_classifies_images_from_files_as_keras_does(trained, classify, tmp_path):
    """Float files all of them; of 8-bit ones one digit in fifty may fall to the other side."""
    pixels = np.round(255 * trained.images).astype("uint8")
    files = {}
    for recipe in RECIPES:
        content = TFLiteModel(trained.files[recipe].read_bytes())
        files[recipe] = tmp_path / f"{recipe}.tflite"
        files[recipe].write_bytes(packaged(content, recipe, Preprocessing(32, 32), NAMES).content)
    answers = classify(files.values(), written(pixels, tmp_path))
    expected = trained.model.predict(pixels / np.float32(255), verbose=0)
    for recipe, file in files.items():
        best = [max(scores, key=scores.get) for scores in answers[str(file)]]
        agreement = np.mean([name == NAMES[label] for name, label in zip(best, expected.argmax(1), strict=True)])
        assert agreement >= (1.0 if recipe in ("float32", "float16") else 0.98), recipe
    got = np.array([[scores[name] for name in NAMES] for scores in answers[str(files["float32"])]])
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("numbers", [{}, ALIKE, IMAGENET], ids=["none", "alike", "by channel"])
def test_normalises_exactly_up_to_the_padding(classify, numbers, tmp_path):
    """Ten numbers that see each channel and the zeros around the image."""
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 3))
    features = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, padding="same")(image))
    model = keras.Model(image, keras.layers.Dense(10, activation="softmax")(features), name="numbers")
    preprocessing = Preprocessing(8, 8, **numbers)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    seen = ((pixels / 255 - preprocessing.mean) / preprocessing.std).astype("float32")
    expected = model.predict(seen, verbose=0)
    artifacts = export(model, tmp_path, target="mediapipe", calibration=seen, preprocessing=preprocessing)
    answers = classify([artifact.path for artifact in artifacts], written(pixels, tmp_path))
    bounds = {"float32": 1e-5, "static_wi8_ai8": 0.05}  # of the largest; eight bits lose up to a fiftieth
    for artifact in artifacts:
        got = [[scores[str(number)] for number in range(10)] for scores in answers[str(artifact.path)]]
        atol = bounds[artifact.recipe] * np.abs(expected).max()
        np.testing.assert_allclose(got, expected, rtol=0, atol=atol)


@pytest.mark.slow
def test_an_image_of_another_size_is_squeezed_to_the_networks(classify, tmp_path):
    """Neither cropped nor averaged, as `Preprocessing` would: of twice the width every second column is left."""
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.Activation("sigmoid")(keras.layers.Flatten()(image)), name="pixels")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 8, 16, 3), dtype=np.uint8)
    [artifact] = export(model, tmp_path, recipes=["float32"], target="mediapipe")
    [scores] = classify([artifact.path], written(pixels, tmp_path))[str(artifact.path)]
    shares = np.array([scores[str(number)] for number in range(8 * 8 * 3)]).reshape(8, 8, 3)
    got = np.log(shares / (1 - shares))
    np.testing.assert_allclose(255 * got, pixels[0, :, ::2], rtol=0, atol=1e-3)


@pytest.mark.slow
def test_why_the_ends_change(trained, classify, tmp_path):
    """MediaPipe refuses an int8 input: as exported for another device, and with nothing but metadata."""
    file = tmp_path / "int8.tflite"
    content = TFLiteModel(trained.files["static_wi8_ai8"].read_bytes())
    file.write_bytes(with_metadata(content, "net", mean=0.0, std=255.0).content)
    answers = classify([file], [])
    assert "INT8" in answers[str(file)]
    assert "uint8/float32" in answers[str(file)]


@pytest.mark.parametrize(
    ("recipe", "numbers", "ends"),
    [
        ("static_wi8_ai8", {}, ("UINT8", "FLOAT32")),
        ("static_wi8_ai8", ALIKE, ("FLOAT32", "FLOAT32")),  # a pixel is no whole number of the input's steps
        ("static_wi8_ai16", {}, ("FLOAT32", "FLOAT32")),
        ("float32", {}, ("FLOAT32", "FLOAT32")),
    ],
)
def test_integers_take_pixels_where_that_loses_nothing(trained, recipe, numbers, ends):
    content = packaged(TFLiteModel(trained.files[recipe].read_bytes()), recipe, Preprocessing(32, 32, **numbers))
    assert content.io_types == ([ends[0]], [ends[1]])


def test_a_network_of_grey_images_is_refused():
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(image)))
    with pytest.raises(InputError, match=r"^mediapipe gives networks three channels.*takes 1$"):
        packaged(to_tflite(model), "float32", Preprocessing(8, 8))


def classifier(end, labels=None):
    """A file of a network of four channels, for mediapipe, up to where `end` takes it."""
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, end(keras.layers.Conv2D(4, 3, padding="same")(image)))
    return packaged(to_tflite(model), "float32", Preprocessing(8, 8), labels)


def pooled(*layers):
    return keras.Sequential([keras.layers.GlobalAveragePooling2D(), *layers])


@pytest.mark.parametrize(
    ("end", "labels", "message"),
    [
        (keras.layers.Softmax, None, r"classifiers, which give \(batch, classes\); this network gives \(1, 8, 8, 4\)$"),
        (pooled, None, "of a softmax or sigmoid; this network ends in MEAN; end it with one"),
        (lambda: pooled(keras.layers.Dense(6)), None, "this network ends in FULLY_CONNECTED"),
        (lambda: pooled(keras.layers.Softmax()), ("a", "b"), r"each of the 4 classes; the run.json .* has 2"),
    ],
    ids=["segmentation", "embedding", "logits", "labels"],
)
def test_what_is_no_classifier_is_refused(end, labels, message):
    with pytest.raises(InputError, match=f"^mediapipe .*{message}"):
        classifier(end(), labels)


def test_a_loops_own_operations_are_no_end():
    """An RNN becomes a WHILE, whose body stands behind the network in the file."""
    rows = keras.Sequential([keras.layers.Reshape((64, 4)), keras.layers.GRU(4), keras.layers.Dense(4, "softmax")])
    content = classifier(rows, tuple("abcd"))
    assert content.operation_names[-1] != "SOFTMAX"
    assert content.output_operation == "SOFTMAX"


def test_a_change_of_shape_is_no_end():
    """The converter puts the sigmoid before the flattening."""
    flat = keras.Sequential([keras.layers.Flatten(), keras.layers.Activation("sigmoid")])
    assert classifier(flat).operation_names[-2:] == ["LOGISTIC", "RESHAPE"]


def test_a_sigmoid_gives_scores_too():
    assert classifier(pooled(keras.layers.Activation("sigmoid")), tuple("abcd")).io_types[1] == ["FLOAT32"]


def test_labels_are_those_of_the_run(golden):
    assert labels_of(golden / "model.keras") == tuple(map(str, range(10)))


@pytest.mark.slow
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("recipe", ["float32", "static_wi8_ai8"])
def test_scores_are_calibrated(trained, classify, recipe, named, tmp_path):
    """A score becomes the sigmoid of its log-odds, as in NumPy."""
    scores = ScoreCalibration(slope=0.4, offset=-0.3)
    file = tmp_path / "calibrated.tflite"
    content = QuantizedModel(
        TFLiteModel(trained.files[recipe].read_bytes()),
        RECIPES[recipe],
        "net",
        Preprocessing(32, 32),
        NAMES if named else None,
        scores,
    )
    file.write_bytes(TARGETS["mediapipe"].package_for_target(content).file.content)
    pixels = np.round(255 * trained.images[:20]).astype("uint8")
    answers = classify([file], written(pixels, tmp_path))[str(file)]
    assert not isinstance(answers, str), answers
    got = np.array([[scores[NAMES[number] if named else str(number)] for number in range(10)] for scores in answers])
    plain = ENGINES["litert"].run(trained.files[recipe].read_bytes(), pixels / np.float32(255)).values
    inside = (plain > 1e-3) & (plain < 1 - 1e-3)
    assert inside.sum() > 20
    np.testing.assert_allclose(got[inside], scores(plain)[inside], rtol=0, atol=1e-3)


@pytest.mark.parametrize("target", ["phone_cpu", "browser"])
def test_a_target_without_apps_that_calibrate_is_refused(target, trained, tmp_path):
    with pytest.raises(InputError, match=rf"^score_calibration is for the target mediapipe, .*; got {target}$"):
        export(trained.model, tmp_path, target=target, score_calibration=ScoreCalibration(1.0, 0.0))
    assert not list(tmp_path.iterdir())


def test_the_manifest_tells_the_score_calibration(trained, tmp_path):
    scores = ScoreCalibration(slope=0.5, offset=-1.0)
    arguments = {"recipes": ["float32"], "target": "mediapipe"}
    [plain] = export(trained.model, tmp_path, **arguments)
    assert "score_calibration" not in plain.manifest
    [calibrated] = export(trained.model, tmp_path, score_calibration=scores, **arguments)
    assert calibrated.manifest["score_calibration"] == {"slope": 0.5, "offset": -1.0}
