"""`keras-se train` and `launch`: the run they write, and what they refuse."""

import hashlib
import json
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

from command_answers import document, refusal
from keras_se import registry
from keras_se.cli import main
from keras_se.errors import ClusterError
from keras_se.models import mobilenet
from keras_se.models.mobilenet import Separable
from keras_se.training.distribution import local_launcher

TINY = "se_tiny"  # the stem and one block of SE-MobileNet


@pytest.fixture
def image_folder(tmp_path):
    """Two classes of ten images."""
    rng = np.random.default_rng(0)
    for name in ("ant", "bee"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    return tmp_path / "images"


def test_train_leaves_out_corrupt_images_on_demand_and_writes_the_run(image_folder, tmp_path, monkeypatch, capsys):
    entry = registry.Entry(mobilenet.mobilenet, (Separable(stage=2, out=16, stride=2),))
    monkeypatch.setitem(registry._ENTRIES, TINY, entry)
    (image_folder / "bee" / "bad.jpg").write_text("not an image")
    out = tmp_path / "run"
    options = {"--recipe": "small_images", "--epochs": "3", "--batch-size": "6", "--image-size": "16", "--seed": "3"}
    run = ["train", "--model", TINY, "--data", str(image_folder), "--out", str(out)]
    run += [*(word for option in options.items() for word in option), "--set", "alpha=0.5", "r=4", "--skip-corrupt"]
    printed = document(capsys, *run)
    assert printed["folder"] == str(out)
    assert printed["model"] == str(out / "model.keras")
    record = json.loads((out / "run.json").read_text())
    assert record["test_accuracy"] == printed["accuracy"]
    assert record["images"] == {
        "train": 16,
        "test": 4,
        "left_out_as_corrupt": [str(image_folder / "bee" / "bad.jpg")],
        "left_out_as_no_images": {},
    }
    settings = {"epochs": 3, "batch_size": 6, "image_size": 16, "seed": 3, "model_arguments": {"alpha": 0.5, "r": 4}}
    assert settings.items() <= record["recipe"].items()
    assert record["recipe"]["weight_decay"] == 5e-4  # of the preset

    assert "--overwrite" in refusal(capsys, *run)

    # The run is the start of the next, on other classes: it brings its model, its arguments and its image size.
    others = tmp_path / "others"
    for name in ("fly", "wasp", "moth"):
        shutil.copytree(image_folder / "ant", others / name)
    second = ["train", "--weights", str(out), "--data", str(others), "--out", str(tmp_path / "second"), "--epochs", "3"]
    document(capsys, *second, "--batch-size", "6")
    record = json.loads((tmp_path / "second" / "run.json").read_text())
    assert record["recipe"]["model"] == TINY
    assert record["recipe"]["image_size"] == record["preprocessing"]["height"] == 16
    assert record["weights"]["weights"] == str(out / "model.keras")
    assert record["weights"]["sha256"] == hashlib.sha256((out / "model.keras").read_bytes()).hexdigest()
    assert record["weights"]["arguments"] == {"alpha": 0.5, "r": 4}
    assert keras.models.load_model(tmp_path / "second" / "model.keras").output_shape == (None, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "train needs --model, or --weights of a run or of timm's; got neither"),
        (("--weights", "some.safetensors"), "train needs --model: some.safetensors does not say what model it is of"),
        (("--weights", "timm/nothing"), "weights must be one of timm/seresnet50.a1_in1k, "),
    ],
)
def test_train_without_a_model_is_refused(arguments, message, capsys, tmp_path):
    assert message in refusal(capsys, "train", "--data", "digits", "--out", str(tmp_path / "run"), *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--workers", "0", "--", "train"), "workers must be at least 1; got 0"),
        (("--workers", "2", "--", "export", "x"), "launch runs train: keras-se launch --workers 2 -- train"),
    ],
)
def test_launch_refuses_what_it_cannot_run(arguments, message, capsys):
    assert message in refusal(capsys, "launch", *arguments)


def test_launch_gives_the_workers_the_command_and_its_status_is_theirs(capsys, monkeypatch):
    launched = []
    monkeypatch.setattr(local_launcher, "launch", lambda command, workers: launched.append((command, workers)) or 3)
    printed = document(capsys, "launch", "--workers", "3", status=3, after=("--", "train", "--model", "x", "--resume"))
    assert launched == [(["train", "--model", "x", "--resume", "--strategy", "multi_worker"], 3)]
    assert printed == {"workers": 3, "status": 3}


def test_a_lost_worker_is_status_3(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def lost(*arguments, **named):
        raise ClusterError("worker 0 lost another")

    monkeypatch.setattr("keras_se.training.train", lost)
    arguments = ["--model", "se_mobilenet", "--data", "digits", "--recipe", "digits", "--out", "x"]
    assert main.run(["train", *arguments]) == 3
    assert capsys.readouterr().err == "keras-se: worker 0 lost another\n"
