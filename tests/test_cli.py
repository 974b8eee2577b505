"""The command line: what it prints, where, and its exit status."""

import dataclasses
import hashlib
import io
import json
import shutil
import subprocess
import sysconfig
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import keras_se
from keras_se import registry
from keras_se.cli import main
from keras_se.errors import ClusterError
from keras_se.export.tflite import flatbuffer
from keras_se.export.tflite.model import TFLiteModel
from keras_se.models import mobilenet
from keras_se.models.mobilenet import Separable
from keras_se.training.distribution import local_launcher

COMMANDS = {"quickstart": main.Quickstart, "models": main.Models, "train": main.Train, "export": main.Export}
COMMANDS |= {"parity": main.Parity, "launch": main.Launch, "diagnose": main.Diagnose, "check": main.Check}
POSITIONAL = {("models", "pattern"), ("export", "model"), ("parity", "reference"), ("parity", "files")}
POSITIONAL |= {("check", "model")}
POSITIONAL |= {("launch", "command"), ("diagnose", "float_file"), ("diagnose", "quantized_file")}
TINY = "se_tiny"  # the stem and one block of SE-MobileNet


def refusal(capsys, *arguments):
    """The one line on standard error of a command that is refused."""
    assert main.run(list(arguments)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    [line] = printed.err.splitlines()
    assert line.startswith("keras-se: ")
    return line


def document(capsys, *arguments, status=0, after=()):
    """What a command prints with --json."""
    assert main.run([*arguments, "--json", *after]) == status
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """A quarter-width SE-MobileNet, untrained, as a .keras file without a record."""
    keras.utils.set_random_seed(0)
    model = keras_se.create_model("se_mobilenet", input_shape=(32, 32, 3), classes=10, alpha=0.25)
    path = tmp_path_factory.mktemp("model") / "model.keras"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def exported(model_file):
    """The document of `export`: a float file and an integer one."""
    out = model_file.with_name("exported")
    with pytest.MonkeyPatch.context() as patch, out.with_suffix(".json").open("w+") as printed:
        patch.setattr("sys.stdout", printed)
        recipes = ("--recipes", "float32", "static_wi8_ai8")
        status = main.run(
            ["export", str(model_file), "--out", str(out), "--data", "digits", "--images", "8", *recipes, "--json"]
        )
        assert status == 0
        printed.seek(0)
        return json.loads(printed.read())


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


# Help.


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit) as stop:
        main.run(["--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr()
    assert all(name in printed.out for name in COMMANDS)
    assert printed.err == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_mentions_every_option(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main.run([command, "--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    names = {field.name for field in dataclasses.fields(COMMANDS[command])}
    options = {name for name in names if (command, name) not in POSITIONAL}
    spelled = {"imports": "import"}
    missing = {name for name in options if f"--{spelled.get(name, name).replace('_', '-')} " not in printed}
    assert not missing


# What is refused before anything is computed.


def test_an_unknown_command_is_named(capsys):
    assert "tune" in refusal(capsys, "tune")


def test_no_command_gets_the_list_of_commands(capsys):
    line = refusal(capsys)
    assert all(name in line for name in COMMANDS)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_an_unknown_option_is_named(encoding, capsys, monkeypatch):
    """The parser draws its box in either way; a Windows console or a plain locale is not UTF-8."""
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert "--sorted" in refusal(capsys, "models", "--sorted")


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (["train", "--model", "se_mobilenet"], ["--data", "--out"]),
        (["export", "model.keras"], ["--out"]),
        (["parity", "model.keras", "model.tflite"], ["--data"]),
        (["train", "--model"], ["--model"]),
    ],
    ids=" ".join,
)
def test_a_missing_argument_is_named(arguments, missing, capsys):
    line = refusal(capsys, *arguments)
    assert all(name in line for name in missing)


def test_a_value_that_is_no_number_is_named_with_its_option(capsys):
    line = refusal(capsys, "train", "--model", "m", "--data", "d", "--out", "o", "--epochs", "many")
    assert "--epochs" in line
    assert "many" in line


def test_a_pattern_that_no_model_matches_gets_the_list_of_models(capsys):
    line = refusal(capsys, "models", "vgg*")
    assert all(name in line for name in ("vgg*", *keras_se.list_models()))


# models


def test_models_prints_one_document_of_names_parameters_and_macs(capsys):
    """Parameters: osmr/imgclsmob for SE-ResNet-18; arithmetic for SE-MobileNet. MACs: arXiv 1709.01507, table 3."""
    small = document(capsys, "models", "se_mobilenet")
    [row] = small
    assert (row["name"], row["parameters"]) == ("se_mobilenet", 4_711_720)
    assert row["macs"] == pytest.approx(0.572e9, rel=0.01)
    assert [row["name"] for row in document(capsys, "models", "se_resnet[13]*8")] == ["se_resnet18"]


def test_models_prints_a_table_for_people(capsys):
    assert main.run(["models", "se_mobilenet"]) == 0
    printed = capsys.readouterr()
    assert all(text in printed.out for text in ("se_mobilenet", "4,711,720", "MACs"))
    assert printed.err == ""


def test_the_installed_command_prints_the_document_and_nothing_else(tmp_path):
    command = Path(sysconfig.get_path("scripts")) / "keras-se"
    done = subprocess.run(
        [command, "models", "se_mobilenet", "--json"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stderr == ""
    [row] = json.loads(done.stdout)
    assert row["name"] == "se_mobilenet"


# train


def test_train_leaves_out_corrupt_images_on_demand_and_writes_the_run(image_folder, tmp_path, monkeypatch, capsys):
    entry = registry.Entry(mobilenet.mobilenet, (Separable(stage=2, out=16, stride=2),))
    monkeypatch.setitem(registry._ENTRIES, TINY, entry)
    (image_folder / "bee" / "bad.jpg").write_text("not an image")
    out = tmp_path / "run"
    options = {"--recipe": "small_images", "--epochs": "3", "--batch-size": "6", "--image-size": "16", "--seed": "3"}
    run = ["train", "--model", TINY, "--data", str(image_folder), "--out", str(out)]
    run += [*(word for option in options.items() for word in option), "--set", "alpha=0.5", "r=4", "--skip-corrupt"]
    found = document(capsys, *run)
    assert found["folder"] == str(out)
    assert found["model"] == str(out / "model.keras")
    record = json.loads((out / "run.json").read_text())
    assert record["test_accuracy"] == found["accuracy"]
    assert record["images"] == {
        "train": 16,
        "test": 4,
        "left_out_as_corrupt": [str(image_folder / "bee" / "bad.jpg")],
        "left_out_as_no_images": {},
    }
    given = {"epochs": 3, "batch_size": 6, "image_size": 16, "seed": 3, "model_arguments": {"alpha": 0.5, "r": 4}}
    assert given.items() <= record["recipe"].items()
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


# export and parity


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
    given = []
    monkeypatch.setattr(local_launcher, "launch", lambda command, workers: given.append((command, workers)) or 3)
    found = document(capsys, "launch", "--workers", "3", status=3, after=("--", "train", "--model", "x", "--resume"))
    assert given == [(["train", "--model", "x", "--resume", "--strategy", "multi_worker"], 3)]
    assert found == {"workers": 3, "status": 3}


def test_a_lost_worker_is_status_3(capsys, monkeypatch):
    def lost(*given, **named):
        raise ClusterError("worker 0 lost another")

    monkeypatch.setattr("keras_se.training.train", lost)
    assert main.run(["train", "--model", "se_mobilenet", "--data", "digits", "--out", "x"]) == 3
    assert capsys.readouterr().err == "keras-se: worker 0 lost another\n"


def test_export_prints_what_it_wrote(exported, model_file):
    assert [row["recipe"] for row in exported] == ["float32", "static_wi8_ai8"]
    for row in exported:
        content = Path(row["path"]).read_bytes()
        assert row["sha256"] == hashlib.sha256(content).hexdigest()
        assert row["bytes"] == len(content)
        assert row["target"] == "phone_cpu"
        manifest = json.loads(Path(f"{row['path']}.json").read_text())
        assert manifest["sha256"] == row["sha256"]
        assert manifest["model_sha256"] == hashlib.sha256(model_file.read_bytes()).hexdigest()


def test_export_writes_a_file_and_a_manifest_a_recipe_and_nothing_else(exported):
    written = {path for row in exported for path in (row["path"], f"{row['path']}.json")}
    assert {str(path) for path in Path(exported[0]["path"]).parent.iterdir()} == written


def test_parity_prints_a_row_a_file_and_engine_with_its_figures(exported, model_file, capsys):
    files = [row["path"] for row in exported]
    engines = ("litert", "tflm")
    main.run(["parity", str(model_file), *files, "--data", "digits", "--images", "20", "--engines", *engines, "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert {(row["file"], row["engine"]) for row in rows} == {(file, engine) for file in files for engine in engines}
    keys = {"file", "engine", "max_abs", "max_lsb", "sqnr_db", "top1_agreement", "accuracy", "verdict"}
    assert all(keys <= row.keys() and row["images"] == 20 for row in rows)
    of_float = [row for row in rows if row["recipe"] == "float32"]
    assert {(row["verdict"], row["max_lsb"]) for row in of_float} == {("pass", None)}


def test_diagnose_prints_every_operation_and_draws_them(exported, tmp_path, capsys):
    picture = tmp_path / "plot.png"
    files = [one["path"] for one in exported]
    found = document(capsys, "diagnose", *files, "--data", "digits", "--images", "2", "--plot", str(picture))
    assert [one["operation"] for one in found] == TFLiteModel(Path(files[1]).read_bytes()).operation_names
    assert {"tensor", "sqnr_db", "lost_db", "low", "high", "clipped", "used", "spread"} <= found[0].keys()
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main.run(["diagnose", *files, "--data", "digits", "--images", "2", "--most", "3"]) == 0
    table = capsys.readouterr().out
    assert max(map(len, table.splitlines())) <= 80
    assert "…" not in table


def test_diagnose_refuses_a_picture_that_is_none(exported, tmp_path, capsys):
    files = [one["path"] for one in exported]
    command = ("diagnose", *files, "--data", "digits", "--images", "1", "--plot", str(tmp_path / "plot.txt"))
    assert "plot must be an image file, as plot.png or plot.svg; got" in refusal(capsys, *command)
    assert not list(tmp_path.iterdir())


def test_one_wrong_weight_fails_the_verdict_and_the_command(exported, model_file, tmp_path, capsys):
    model = flatbuffer.unpack(Path(exported[0]["path"]).read_bytes())
    [stem] = [tensor for tensor in model.subgraphs[0].tensors if tensor.shape.tolist() == [8, 3, 3, 3]]
    weights = np.array(model.buffers[stem.buffer].data, np.uint8).view(np.float32)
    weights[13] += 1
    model.buffers[stem.buffer].data = weights.view(np.uint8)
    wrong = tmp_path / "wrong.tflite"
    wrong.write_bytes(flatbuffer.pack(model))
    images = ("--data", "digits", "--images", "20")
    assert main.run(["parity", str(model_file), str(wrong), *images, "--engines", "litert"]) == 1
    assert "FAILED wrong.tflite on litert" in capsys.readouterr().out
