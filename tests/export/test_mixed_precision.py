"""Search for as much int8 as a bound on the loss allows, on a network whose bad tensor is known."""

import json

import keras
import numpy as np
import pytest

from keras_se.cli import main
from keras_se.errors import InputError
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.mixed_precision import export_mixed_precision
from keras_se.export.precision_search import search
from keras_se.export.quantization.calibration import calibrate
from keras_se.export.runtimes.registry import run_file
from keras_se.export.tflite.model import TFLiteModel

CLASSES = 4


def bright_quadrants(count, seed):
    """Images of noise of which one quadrant, the class, is brighter."""
    rng = np.random.default_rng(seed)
    images, labels = 0.3 * rng.random((count, 8, 8, 3), "float32"), rng.integers(0, CLASSES, count)
    for image, label in zip(images, labels, strict=True):
        image[4 * (label // 2) :][:4, 4 * (label % 2) :][:, :4] += 0.7
    return images, labels


def uneven():
    """A depthwise convolution gives one channel, which nothing reads, 1,000 times the range of the others."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = image
    layers = [
        keras.layers.Conv2D(8, 3, activation="relu"),
        keras.layers.DepthwiseConv2D(3, activation="relu"),
        keras.layers.Conv2D(8, 1, activation="relu"),
        keras.layers.Conv2D(8, 1, activation="relu"),
        keras.layers.Flatten(),
    ]
    for layer in layers:
        x = layer(x)
    dense = keras.layers.Dense(CLASSES)
    model = keras.Model(image, keras.layers.Softmax()(dense(x)), name="uneven")
    for layer in layers[:4]:
        kernel, bias = layer.get_weights()
        layer.set_weights([np.abs(kernel), bias])  # so that every channel is active
    scales = np.array([1000.0] + 7 * [1.0])
    layers[1].set_weights([layers[1].get_weights()[0] * scales[:, None], np.zeros(8)])
    layers[2].set_weights([layers[2].get_weights()[0] * (np.arange(8) > 0)[:, None], np.zeros(8)])
    images, labels = bright_quadrants(600, seed=1)
    features = keras.Model(image, x).predict(images, verbose=0)
    centre = features.mean(0)
    kernel = np.linalg.lstsq(features - centre, np.eye(CLASSES)[labels] - 0.25, rcond=0.03)[0]
    dense.set_weights([kernel, -centre @ kernel])
    return model


@pytest.fixture(scope="module")
def case():
    """Network, images to calibrate on, and others with their classes."""
    return uneven(), bright_quadrants(20, seed=2)[0], *bright_quadrants(200, seed=3)


@pytest.fixture(scope="module")
def prepared(case):
    model, calibration, *_ = case
    float_file = to_tflite(model)
    return float_file, calibrate(float_file, calibration, (0.0, 1.0))


@pytest.mark.parametrize("higher_precision", ["fp32", "ai16"])
def test_only_the_operations_around_the_bad_tensor_leave_int8(case, prepared, higher_precision):
    _, _, images, labels = case
    result = search(*prepared, images, labels, max_drop=3.0, higher_precision=higher_precision)
    assert result.float_accuracy > 0.97
    assert result.steps[0].ops_in_higher_precision == 0
    assert result.steps[0].drop > 20, "plain int8 is bad"
    assert result.reached
    assert result.drop <= 3.0
    graph = prepared[0].graph
    names = prepared[0].operation_names
    depthwise = graph.operators[names.index("DEPTHWISE_CONV_2D")]
    assert f"{graph.tensors[depthwise.outputs[0]].name.decode()};" in result.ops_in_higher_precision
    assert len(result.ops_in_higher_precision) <= 3, "of seven"
    dtypes = result.file.dtype_counts
    assert ("FLOAT32" in dtypes, "INT16" in dtypes) == (higher_precision == "fp32", higher_precision == "ai16")


def test_a_loose_bound_leaves_int8_alone(case, prepared):
    result = search(*prepared, *case[2:], max_drop=100.0)
    assert [step.ops_in_higher_precision for step in result.steps] == [0]
    assert result.ops_in_higher_precision == ()
    assert "FLOAT32" not in result.file.dtype_counts


def test_a_bound_that_is_out_of_reach_gives_the_best_file_and_status_1(case, tmp_path, monkeypatch, capsys):
    """Each tensor in int16 is made to bring a point back, which is not enough."""
    model, calibration, images, labels = case
    model.save(tmp_path / "model.keras")
    samples = {"train": (calibration, None), "test": (images, labels)}

    def right(file, images, labels):
        dtypes = file.dtype_counts
        share = 0.5 + 0.01 * dtypes.get("INT16", 0) if "INT8" in dtypes else 1.0
        return np.arange(len(labels)) < round(share * len(labels))

    monkeypatch.setattr(
        "keras_se.cli.export.Export.sample", lambda options, data, preprocessing, split, count: samples[split]
    )
    monkeypatch.setattr("keras_se.export.precision_search._right", right)
    arguments = ["export", str(tmp_path / "model.keras"), "--data", "digits", "--out", str(tmp_path), "--search"]
    assert main.run([*arguments, "--higher-precision", "ai16", "--max-drop", "1", "--json"]) == 1
    [document] = json.loads(capsys.readouterr().out)
    searched = document["search"]
    assert searched["reached"] is False
    assert [step["ops_in_higher_precision"] for step in searched["steps"]] == [0, 1, 2, 4, 6]
    assert searched["drop"] == min(step["drop"] for step in searched["steps"])
    written = right(TFLiteModel.load(document["path"]), images, labels).mean()
    assert 100 * (1 - written) == pytest.approx(searched["drop"])
    assert searched["images_needed"] is None, "more images as these lose as much"


def test_a_file_that_xnnpack_refuses_gets_nothing_right(case, monkeypatch):
    """It refuses an addition whose steps are a 2**24th of its inputs'; here, whatever is of integers alone."""
    model, calibration, images, labels = case

    def run(name, file, images, path):
        if "FLOAT32" not in file.dtype_counts:
            raise InputError("failed to create XNNPACK runtime")
        return run_file(name, file, images, path)

    monkeypatch.setattr("keras_se.export.precision_search.run_file", run)
    float_file = to_tflite(model)
    ranges = calibrate(float_file, calibration, (0.0, 1.0))
    result = search(float_file, ranges, images[:100], labels[:100], max_drop=3.0, higher_precision="fp32")
    assert result.steps[0].accuracy == 0.0
    assert result.steps[1].accuracy > 0.5
    assert result.reached


def test_the_manifest_tells_the_steps(case, tmp_path):
    model, calibration, images, labels = case
    artifact, result = export_mixed_precision(
        model, tmp_path, calibration=calibration, images=images, labels=labels, max_drop=3.0
    )
    assert artifact.path.name == "uneven.static_wi8_ai8_mixed.tflite"
    assert artifact.path.read_bytes() == result.file.content
    manifest = json.loads(artifact.path.with_name(f"{artifact.path.name}.json").read_text())
    assert manifest["search"]["ops_in_higher_precision"] == list(result.ops_in_higher_precision)
    assert manifest["search"]["steps"][0]["drop"] == result.steps[0].drop
    assert manifest["search"]["reached"] is True
    assert manifest["calibration"]["images"] == 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_drop": -0.1}, "max_drop must be at least 0 percentage points; got -0.1"),
        ({"max_drop": float("nan")}, "max_drop must be at least 0 percentage points; got nan"),
        ({"higher_precision": "fp16"}, "higher_precision must be one of fp32, ai16; got 'fp16'"),
        ({"labels": np.zeros(3)}, r"images with a label each; got 200 and labels \(3,\)"),
    ],
)
def test_bad_arguments_are_refused(case, prepared, changes, message):
    arguments = {"images": case[2], "labels": case[3], **changes}
    with pytest.raises(InputError, match=message):
        search(*prepared, **arguments)


def test_the_command_line_shows_the_steps_and_the_outcome(case, tmp_path, monkeypatch, capsys):
    model, calibration, images, labels = case
    model.save(tmp_path / "model.keras")
    samples = {"train": (calibration, None), "test": (images, labels)}
    monkeypatch.setattr(
        "keras_se.cli.export.Export.sample", lambda options, data, preprocessing, split, count: samples[split]
    )
    arguments = ["export", str(tmp_path / "model.keras"), "--data", "digits", "--out", str(tmp_path), "--search"]
    assert main.run([*arguments, "--max-drop", "3", "--json"]) == 0
    [document] = json.loads(capsys.readouterr().out)
    assert document["search"]["reached"] is True
    assert document["search"]["steps"][0]["drop"] > 20


def test_a_drop_within_the_bound_by_chance_is_not_accepted(case, prepared, monkeypatch):
    """Int8 loses one of 200 images: half a point, which with so few may be one and a half."""
    *_, images, labels = case

    def right(file, images, labels):
        return np.arange(len(labels)) >= ("INT8" in file.dtype_counts)

    monkeypatch.setattr("keras_se.export.precision_search._right", right)
    result = search(*prepared, images, labels, max_drop=1.0)
    assert result.drop == 0.5
    assert result.loss.high > 1.0
    assert not result.reached
    assert 500 < result.images_needed < 2_000


def test_images_that_cannot_show_the_bound_are_refused_before_the_search(case, prepared):
    """Files that agree on all of 200 images may still differ by (1.96 / 202) of others."""
    with pytest.raises(InputError, match=r"200 images leave open, 0\.97 points .* got 0\.5: give 390 or more"):
        search(*prepared, *case[2:], max_drop=0.5)
    with pytest.raises(InputError, match="no number of images shows that nothing is lost"):
        search(*prepared, *case[2:], max_drop=0.0)
