"""Weights of ours: runs and .weights.h5 files into models, for other classes too, and what is refused."""

import json
import logging
import zipfile

import h5py
import keras
import numpy as np
import pytest

import keras_se
from keras_se.errors import InputError
from keras_se.layers.image_input import initial_weights_of
from keras_se.preprocessing import Preprocessing, preprocessing_of
from keras_se.weights import keras_file

IMAGE = (32, 32, 3)
ARGUMENTS = {"alpha": 0.1, "r": 4}
PREPROCESSING = Preprocessing(24, 24, 0.875, "bicubic", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def create(**arguments):
    return keras_se.SEMobileNet(**{"input_shape": IMAGE, **arguments})


@pytest.fixture(scope="module")
def model():
    return create(classes=7, **ARGUMENTS)


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    """Folder of a run as training leaves it."""
    folder = tmp_path_factory.mktemp("run")
    model.save(folder / "model.keras")
    recipe = {"model": "se_mobilenet", "model_arguments": ARGUMENTS}
    record = {"recipe": recipe, "preprocessing": PREPROCESSING.to_dict(), "classes": [*"abcdefg"]}
    (folder / "run.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "model.weights.h5"
    model.save_weights(path)
    return path


def assert_same(ours, theirs):
    for weight, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(weight, other)


@pytest.mark.parametrize("place", ["", "model.keras"])
def test_a_run_brings_its_arguments_classes_size_and_preprocessing(place, run, model):
    again = keras_se.SEMobileNet(weights=run / place)
    assert_same(again.get_weights(), model.get_weights())
    assert again.input_shape == (None, 24, 24, 3)
    assert preprocessing_of(again) == PREPROCESSING
    origin = initial_weights_of(again)
    assert origin is not None
    assert (origin["weights"], origin["arguments"]) == (str(run / "model.keras"), ARGUMENTS)


def test_what_started_from_a_run_can_be_the_start_of_the_next(run, tmp_path):
    """Its own file says the arguments, without a record."""
    keras_se.SEMobileNet(weights=run, classes=3).save(tmp_path / "next.keras")
    again = keras_se.create_model("se_mobilenet", weights=tmp_path / "next.keras")
    assert again.output_shape == (None, 3)
    assert preprocessing_of(again) == PREPROCESSING


@pytest.mark.parametrize("source", ["run", "file"])
def test_for_other_classes_the_head_alone_is_left_and_named(source, request, model, caplog):
    weights = request.getfixturevalue(source)
    with caplog.at_level(logging.WARNING, "keras_se"):
        tuned = create(weights=weights, classes=3, **ARGUMENTS)
    [record] = caplog.records
    assert "its classifier logits, of 7 classes, is replaced by one of 3, freshly initialised" in record.getMessage()
    assert tuned.output_shape == (None, 3)
    assert_same(tuned.get_weights()[:-2], model.get_weights()[:-2])
    assert np.all(tuned.get_layer("logits").bias == 0)


@pytest.mark.parametrize("source", ["run", "file"])
def test_without_the_top_the_backbone_loads_and_nothing_is_said(source, request, model, caplog):
    features = create(weights=request.getfixturevalue(source), include_top=False, **ARGUMENTS)
    assert_same(features.get_weights(), model.get_weights()[:-2])
    assert not caplog.records


def test_a_weight_file_says_the_classes(file, model):
    again = create(weights=file, **ARGUMENTS)
    assert_same(again.get_weights(), model.get_weights())


@pytest.mark.parametrize(
    ("arguments", "difference"),
    [
        (
            {"alpha": 0.2, "r": 4},
            r"its layer stem_conv has the shapes \(3, 3, 3, 3\), and the model's has \(3, 3, 3, 6\)",
        ),
        ({"alpha": 0.1, "r": 2}, r"its layer block1_se/reduce has the shapes \(1, 1, 6, 1\), and .* \(1, 1, 6, 3\)"),
        (
            {"alpha": 0.1, "r": 4, "use_bias": True},
            r"block1_se/reduce has the shapes .*, and .* \(1, 1, 6, 1\), \(1,\)",
        ),
        ({"alpha": 0.1, "placement": "none"}, "the model has no layer for its block1_se/expand and 25 more"),
        ({"alpha": 0.1, "r": 4, "placement": "pre"}, "its layer block1_se/reduce has the shapes"),
    ],
)
def test_another_network_is_refused_with_the_file_the_layer_and_the_remedy(arguments, difference, file):
    with pytest.raises(InputError, match=difference) as refusal:
        create(weights=file, **arguments)
    assert str(refusal.value).startswith(f"{file} holds another network than this se_mobilenet: ")
    assert str(refusal.value).endswith(
        "make the model with the arguments that the file's was made with, as r, placement or alpha"
    )
    assert "\n" not in str(refusal.value)


def test_a_weight_file_without_se_lacks_the_first_layer_of_it(tmp_path):
    create(placement="none", **ARGUMENTS).save_weights(tmp_path / "plain.weights.h5")
    with pytest.raises(InputError, match="it has no layer block1_se/reduce"):
        create(weights=tmp_path / "plain.weights.h5", **ARGUMENTS)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("se_mobilenet", {"r": 8}, r"model.keras was made with r=4; got r=8$"),
        ("se_resnet18", {}, r"model.keras is of se_mobilenet; got model 'se_resnet18'$"),
    ],
)
def test_what_contradicts_the_record_of_a_run_is_refused(name, arguments, message, run):
    with pytest.raises(InputError, match=message):
        keras_se.create_model(name, weights=run, **arguments)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=f"in its folder as model.keras; there is none in {tmp_path}"):
        create(weights=tmp_path)


@pytest.mark.parametrize("name", ["cut.weights.h5", "cut.keras"])
def test_a_damaged_file_is_named_in_one_line(name, file, run, tmp_path):
    whole = file if name.endswith("h5") else run / "model.keras"
    (tmp_path / name).write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"is damaged, or Keras has not written it \(.*\); save the model again$"):
        create(weights=tmp_path / name, **ARGUMENTS)


@pytest.mark.slow
def test_every_family_comes_back_from_a_weight_file(tmp_path):
    """The names of layers and the order of their variables are as Keras writes them."""
    for name, arguments in {
        "mobilenet_v3_small": {"alpha": 0.25},
        "se_shufflenet": {},
        "se_resnet20_cifar": {},
    }.items():
        path = tmp_path / f"{name}.weights.h5"
        model = keras_se.create_model(name, input_shape=IMAGE, classes=3, **arguments)
        model.save_weights(path)
        again = keras_se.create_model(name, input_shape=IMAGE, weights=path, **arguments)
        assert_same(again.get_weights(), model.get_weights())


def test_frozen_layers_are_read_as_others(model, tmp_path):
    frozen = keras.models.clone_model(model)
    frozen.set_weights(model.get_weights())
    frozen.trainable = False
    frozen.save_weights(tmp_path / "frozen.weights.h5")
    assert_same(create(weights=tmp_path / "frozen.weights.h5", **ARGUMENTS).get_weights(), model.get_weights())


@pytest.mark.parametrize(
    ("walk", "reason"),
    [("import os; os.abort()", "HDF5 ended by SIGABRT"), ("raise OSError('no object header')", "OSError: no object")],
)
def test_a_file_that_ends_hdf5_is_refused_before_it_is_read_here(walk, reason, file, tmp_path, monkeypatch):
    script = tmp_path / "walk.py"
    script.write_text(walk)
    monkeypatch.setattr(keras_file, "_WALK", script)
    with pytest.raises(InputError, match=f"is damaged, or Keras has not written it \\({reason}"):
        keras_file.read_keras_file(file)


@pytest.mark.slow
def test_a_large_file_is_not_taken_for_a_damaged_one(tmp_path):
    """Its classifier has more bytes than the walk may take beside it, as SE-VGG16's has."""
    weights = tmp_path / "model.weights.h5"
    with h5py.File(weights, "w") as stored:
        group = stored.create_group("layers/dense/vars")
        group.attrs["name"] = "dense"
        group.create_dataset("0", data=np.zeros((160, 1 << 20), "float32"))
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(weights, "model.weights.h5")
        archive.writestr("config.json", json.dumps({"config": {}}))
    assert keras_file.read_keras_file(path).shapes == {"dense": ((160, 1 << 20),)}
