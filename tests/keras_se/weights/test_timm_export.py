"""`save_timm`: the very tensors under timm's names, and what timm cannot compute."""

import keras
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

import keras_se
from keras_se.errors import InputError
from keras_se.preprocessing import Preprocessing, preprocessing_of
from keras_se.weights.timm_mapping import ARCHITECTURES
from timm_networks import CLASSES, ROWS, create, golden, images, network


@pytest.mark.parametrize("name", ROWS)
def test_save_timm_writes_the_very_tensors_under_timms_names(name, tiny, tmp_path):
    tiny(name)
    assert keras_se.save_timm(network(name), tmp_path / "model.safetensors") == name
    wrote, read = load_file(tmp_path / "model.safetensors"), load_file(golden(name))
    assert wrote.keys() == read.keys()
    for key in read:
        if key.endswith("num_batches_tracked"):
            assert wrote[key].dtype == np.int64
        else:
            assert wrote[key].dtype == np.float32
            np.testing.assert_array_equal(wrote[key], read[key])


def test_what_save_timm_wrote_loads_again_with_its_preprocessing(tiny, tmp_path):
    """Its own record tells the ported MobileNetV3 from its twin."""
    path = tmp_path / "model.safetensors"
    model = create(tiny("tf_mobilenetv3_small_100"), None, classes=3)  # as we publish it: Keras's padding and epsilon
    assert keras_se.save_timm(model, path) == "tf_mobilenetv3_small_100"
    again = create("mobilenet_v3_small", path)
    np.testing.assert_array_equal(again(images()), model(images()))
    assert preprocessing_of(again) == preprocessing_of(model) == Preprocessing(64, 48)
    with safe_open(path, framework="numpy") as file:
        assert file.metadata()["format"] == "pt"
    with pytest.raises(
        InputError, match=r"is of mobilenet_v3_small \(tf_mobilenetv3_small_100\); got model 'senet154'"
    ):
        keras_se.create_model("senet154", weights=path)


def test_save_timm_takes_a_frozen_model_without_its_top_and_one_that_was_saved(tiny, tmp_path):
    model = create(tiny("seresnet50"), golden("seresnet50"), include_top=False)
    model.trainable = False
    model.save(tmp_path / "model.keras")
    for saved in (model, keras.models.load_model(tmp_path / "model.keras")):
        assert keras_se.save_timm(saved, tmp_path / "model.safetensors") == "seresnet50"
        assert "fc.weight" not in load_file(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("se_resnet18", {}, "no network of timm's computes what this se_resnet18 does; make it with stride_in='3x3'"),
        ("se_resnet18", {**ARCHITECTURES["seresnet18"].arguments, "gate": "hard_sigmoid"}, "no network of timm's"),
        ("se_resnet18", {**ARCHITECTURES["seresnet18"].arguments, "se_divisor": 16}, "no network of timm's"),
        ("se_mobilenet", {}, "timm has these of our models: se_resnet18, .*; got 'se_mobilenet'"),
    ],
)
def test_save_timm_refuses_what_timm_cannot_compute(model, arguments, message, tiny, tmp_path):
    if model == "se_resnet18":
        tiny("seresnet18")
    refused = keras_se.create_model(model, input_shape=(32, 32, 3), classes=CLASSES, **arguments)
    with pytest.raises(InputError, match=message):
        keras_se.save_timm(refused, tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_save_timm_knows_a_model_of_another_name_by_its_layers(tiny, tmp_path):
    for name in ("seresnet18", "legacy_seresnet18"):
        model = create(tiny(name), golden(name), model_name="left")
        assert keras_se.save_timm(model, tmp_path / "model.safetensors") == name


def test_save_timm_writes_safetensors_only(tiny, tmp_path):
    tiny("seresnet18")
    with pytest.raises(InputError, match=r"path must end in .safetensors; got .*model.pth"):
        keras_se.save_timm(network("seresnet18"), tmp_path / "model.pth")
