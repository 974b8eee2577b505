"""Preprocessing of timm's weights, from the file to the record of a model and the manifest."""

import hashlib

import keras
import pytest

import keras_se
from keras_se.errors import InputError
from keras_se.export import export
from keras_se.preprocessing import RECORD, Preprocessing, preprocessing_of
from timm_networks import create, golden, network

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def test_a_file_without_a_name_brings_what_its_network_is_usually_given(tiny):
    tiny("legacy_seresnet50")
    model = network("legacy_seresnet50")
    assert preprocessing_of(model) == Preprocessing(64, 48, 0.875, "bilinear", **IMAGENET)


def test_preprocessing_stays_with_a_saved_model_through_its_record(tiny, tmp_path):
    tiny("mobilenetv3_small_100")
    model = network("mobilenetv3_small_100")
    path = tmp_path / "model.keras"
    model.save(path)
    assert keras_se.save_record(model, path) == tmp_path / RECORD
    assert preprocessing_of(keras.models.load_model(path), path) == Preprocessing(64, 48, 0.875, "bicubic", **IMAGENET)


@pytest.mark.slow
def test_preprocessing_and_weights_reach_the_exported_manifest(tiny, tmp_path):
    tiny("mobilenetv3_small_100")
    (artifact,) = export(network("mobilenetv3_small_100"), tmp_path, recipes=("float32",))
    expected = Preprocessing(64, 48, 0.875, "bicubic", **IMAGENET)
    assert Preprocessing.from_dict(artifact.manifest["preprocessing"]) == expected
    path = golden("mobilenetv3_small_100")
    assert artifact.manifest["weights"]["weights"] == str(path)
    assert artifact.manifest["weights"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_record_of_another_preprocessing_is_not_overwritten(tiny, tmp_path):
    ours = create(tiny("seresnet18"), None)
    keras_se.save_record(ours, tmp_path / "model.keras")
    keras_se.save_record(ours, tmp_path / "again.keras")
    with pytest.raises(InputError, match="is of another preprocessing; choose another folder"):
        keras_se.save_record(create("se_resnet18", golden("seresnet18")), tmp_path / "other.keras")
