"""Range of the pixels that a network takes: asked for, recorded, and held against images and labels."""

import json
import logging

import keras
import numpy as np
import pytest
from keras import layers
from pixel_networks import SIDE, conv, network

from keras_se.cli import main
from keras_se.errors import InputError
from keras_se.export import export, quantize_aware
from keras_se.export.evaluation.parity import compare
from keras_se.export.quantization.image_range import agreed_preprocessing, check_accuracy
from keras_se.export.tflite.model import TFLiteModel
from keras_se.preprocessing import Origin, Preprocessing
from keras_se.training.data.input_pipeline import sample
from keras_se.training.data.sources import load_source

RAW = Preprocessing.for_range(SIDE, SIDE, 0, 255)
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def digits():
    source = load_source("digits")
    images, labels = sample(source.train, RAW, 300)
    return images, labels


@pytest.fixture(scope="module")
def classifier(digits):
    """Digits from raw pixels, by a least-squares classifier behind a Rescaling."""
    images, labels = digits
    model = keras.Sequential(
        [keras.Input((SIDE, SIDE, 3)), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(10)], name="raw"
    )
    flat = np.hstack([images.reshape(len(images), -1) / 255.0, np.ones((len(images), 1))])
    penalty = 1e-3 * len(flat) * np.eye(flat.shape[1])
    solution = np.linalg.solve(flat.T @ flat + penalty, flat.T @ np.eye(10)[labels])
    model.layers[-1].set_weights([solution[:-1], solution[-1]])
    return model


@pytest.fixture(scope="module")
def silent(classifier):
    """Return the same network without the layer that tells."""
    scale = keras.layers.DepthwiseConv2D(1, depthwise_initializer=keras.initializers.Constant(1 / 255))
    model = keras.Sequential([keras.Input((SIDE, SIDE, 3)), scale, layers.Flatten(), layers.Dense(10)], name="silent")
    model.layers[-1].set_weights(classifier.layers[-1].get_weights())
    return model


def test_files_of_a_network_that_scales_take_raw_pixels(classifier, digits, tmp_path):
    """Export, manifest, parity and the classes agree."""
    images, labels = digits
    files = export(classifier, tmp_path, recipes=("float32", "static_wi8_ai8"), calibration=images)
    for artifact in files:
        assert Preprocessing.from_dict(artifact.manifest["preprocessing"]) == RAW
        assert list(artifact.manifest["input_range"]) == [0, 255]
    [(scale, zero)], _ = TFLiteModel(files[1].path.read_bytes()).io_quantizations
    assert scale == pytest.approx(1)
    assert zero == -128
    row = compare(classifier, files[1].path, images, labels=labels)
    right = np.mean(classifier.predict(images, verbose=0).argmax(1) == labels)
    assert row.accuracy == pytest.approx(right, abs=0.02)
    assert right > 0.8
    with pytest.raises(InputError, match=r"images must lie in the range .* 0\.\.255 by the manifest of .*; got 0\.\.1"):
        compare(classifier, files[1].path, images / 255, labels=labels)


def test_the_micro_example_turns_pixels_into_what_the_file_takes(classifier, digits, tmp_path):
    images, _ = digits
    export(classifier, tmp_path, recipes=("static_wi8_ai8",), target="tflite_micro", calibration=images)
    [source] = tmp_path.glob("*example*.cc")
    text = source.read_text()
    numbers = {
        name: [float(number.strip("f ")) for number in text.partition(f"{name}[] = {{")[2].partition("}")[0].split(",")]
        for name in ("mean", "deviation")
    }
    assert numbers == {"mean": [0.0] * 3, "deviation": pytest.approx([1 / 255] * 3)}


@pytest.mark.parametrize(
    ("images", "layer", "ranges"),
    [
        (255.0, conv, r"0\.\.1 by the rule for networks that tell nothing; got 0\.\.255"),
        (1.0, lambda: layers.Rescaling(1 / 255), r"0\.\.255 by the model's layer rescaling\w*; got 0\.\.1"),
    ],
)
def test_calibration_of_another_range_is_refused(images, layer, ranges, tmp_path):
    model = network(layer(), conv())
    calibration = np.linspace(0, images, 2 * SIDE * SIDE * 3, dtype="float32").reshape(2, SIDE, SIDE, 3)
    with pytest.raises(InputError, match=f"calibration images must lie in the range .* {ranges}"):
        export(model, tmp_path / "out", calibration=calibration)
    with pytest.raises(InputError, match=ranges):
        quantize_aware(model, calibration=calibration)


def test_images_of_half_the_range_are_named(caplog, tmp_path):
    model = network(layers.Rescaling(0.5, 0.5), conv())
    with caplog.at_level(logging.WARNING, "keras_se"):
        export(model, tmp_path, calibration=RNG.random((2, SIDE, SIDE, 3), "float32"))
    assert "and the network takes -1..1 by the model's layer" in caplog.text


def test_quantization_aware_networks_take_the_range_asked_for(silent, digits, tmp_path):
    images, labels = digits
    aware = quantize_aware(silent, calibration=images, input_range=(0, 255))
    right = [np.mean(model.predict(images, verbose=0).argmax(1) == labels) for model in (silent, aware)]
    assert right[1] == pytest.approx(right[0], abs=0.02)
    aware.save(tmp_path / "aware.keras")
    [artifact] = export(tmp_path / "aware.keras", tmp_path, recipes=("static_wi8_ai8",))
    assert Preprocessing.from_dict(artifact.manifest["preprocessing"]) == RAW


def test_labels_refuse_a_range_that_nothing_tells_and_name_the_right_one(silent, digits):
    images, labels = digits
    check_accuracy(silent, images, labels, Origin(RAW, None))
    assumed = Origin(Preprocessing(SIDE, SIDE), None)
    with pytest.raises(InputError, match="say --input-range 0 255"):
        check_accuracy(silent, images / 255, labels, assumed)
    check_accuracy(silent, images / 255, labels, assumed._replace(recorded=True))
    grey = network(layers.Flatten(), layers.Dense(10), channels=1)
    check_accuracy(grey, images[..., :1], labels, Origin(RAW, None))  # which knows nothing of any range
    check_accuracy(silent, images / 255, labels + 20, assumed)  # of other classes


def test_manifests_of_another_range_than_the_model_are_refused():
    origin = Origin(Preprocessing(SIDE, SIDE), None)
    assert agreed_preprocessing({"a.tflite": RAW}, origin).preprocessing == RAW
    with pytest.raises(InputError, match=r"a\.tflite takes 0\.\.255 by its manifest, and its layer says 0\.\.1"):
        agreed_preprocessing({"a.tflite": RAW}, origin._replace(reason="its layer"))


def test_the_commands_feed_what_is_found_asked_for_or_in_the_manifest(classifier, silent, tmp_path, capsys):
    def run(*arguments):
        status = main.run(list(map(str, arguments)))
        return status, capsys.readouterr()

    for model in (classifier, silent):
        model.save(tmp_path / f"{model.name}.keras")
    data = ("--data", "digits", "--images", 100)
    out = ("--out", tmp_path, "--recipes", "static_wi8_ai8")
    status, printed = run("export", tmp_path / "silent.keras", *out, *data)
    assert status == 2
    assert "say --input-range 0 255" in printed.err
    assert run("export", tmp_path / "raw.keras", *out, *data)[0] == 0
    assert run("export", tmp_path / "silent.keras", *out, *data, "--mean", 0, "--std", 1 / 255)[0] == 0
    for name in ("raw", "silent"):
        file = tmp_path / f"{name}.static_wi8_ai8.tflite"
        assert json.loads(file.with_name(f"{file.name}.json").read_text())["input_range"] == pytest.approx([0, 255])
        status, printed = run("parity", tmp_path / f"{name}.keras", file, *data, "--json")
        rows = json.loads(printed.out)
        assert status in (0, 1)
        assert all(row["accuracy"] > 0.7 for row in rows)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--input-range", "0", "0"), "an input range must be a lower and a higher number; got 0 and 0"),
        (("--input-range", "0", "1", "--std", "2"), "give it alone"),
        (("--mean", "0", "1"), "--mean takes one number, or three for red, green and blue; got 2"),
        (("--std", "0"), "--std takes finite numbers above 0; got 0"),
    ],
)
def test_options_that_are_no_preprocessing_are_refused(classifier, options, said, tmp_path, capsys):
    classifier.save(tmp_path / "raw.keras")
    status = main.run(["export", str(tmp_path / "raw.keras"), "--out", str(tmp_path / "o"), *options])
    assert status == 2
    assert said in capsys.readouterr().err
