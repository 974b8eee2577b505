"""Commands from a folder of photographs to an answer, and what they refuse."""

import csv
import json
import shlex
import shutil
from importlib import metadata
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from keras_se import registry
from keras_se.cli import main
from keras_se.cli.tables import Rows
from keras_se.models import mobilenet
from keras_se.models.mobilenet import Separable

TINY = "se_tiny"  # the stem and one block of SE-MobileNet
TRAIN = ("train", "--data", "digits", "--out", "TMP/run", "--model")


def refusal(capsys, *arguments):
    """Return the last line on standard error of a command that is refused."""
    assert main.run(list(arguments)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    line = printed.err.splitlines()[-1]
    assert line.startswith("keras-se: ")
    return line


def document(capsys, *arguments):
    assert main.run([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder of photographs of 90 pixels: 40 dark ones, and 8 bright."""
    folder, rng = tmp_path_factory.mktemp("data") / "photos", np.random.default_rng(0)
    for name, count, low in (("night", 40, 0), ("day", 8, 150)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(low, low + 100, (90, 120, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def trained_run(photographs):
    """A run of `train` without a recipe, and what it printed on standard error and output."""
    out = photographs.with_name("run")
    with pytest.MonkeyPatch.context() as patch, out.with_suffix(".out").open("w+") as printed:
        patch.setitem(registry._ENTRIES, TINY, registry.Entry(mobilenet.mobilenet, (Separable(2, 16, 2),)))
        with out.with_suffix(".err").open("w+") as errors:
            patch.setattr("sys.stdout", printed)
            patch.setattr("sys.stderr", errors)
            options = ("--epochs", "2", "--class-weights", "balanced", "--learning-rate", "0.2")
            status = main.run(["train", "--model", TINY, "--data", str(photographs), "--out", str(out), *options])
        assert status == 0
    return out


def test_train_says_which_preset_it_takes_and_why(trained_run):
    said = trained_run.with_suffix(".err").read_text()
    assert "preset photographs, at 96 pixels, as the shorter side of its images is 90 pixels" in said
    assert "a batch is 4, for 39 images to train on" in said


def test_train_ends_with_its_figures_and_with_what_comes_next(trained_run):
    said = trained_run.with_suffix(".out").read_text()
    for words in (
        "best epoch",
        "top-1",
        "calibration error",
        f"keras-se predict {trained_run} IMAGE",
        "keras-se export",
    ):
        assert words in said
    record = json.loads((trained_run / "run.json").read_text())
    figures = record["evaluation"]
    assert figures["top1"] == pytest.approx(record["test_accuracy"], abs=1e-6)
    assert np.sum(figures["confusion"]) == record["images"]["test"] == 9
    assert f"top-1 {figures['top1']:.4f}" in said


def test_the_picture_of_a_run_is_one_of_its_files(trained_run):
    pytest.importorskip("matplotlib")
    with Image.open(trained_run / "report.png") as picture:
        assert min(picture.size) > 1000
    assert "report.png" in json.loads((trained_run / "run.json").read_text())["files"]


def test_the_history_has_rates_and_speeds(trained_run):
    with (trained_run / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert all(float(row[name]) > 0 for row in rows for name in ("learning_rate", "seconds", "images_per_second"))


def test_unequal_classes_are_named_unless_they_are_balanced(photographs, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(registry._ENTRIES, TINY, registry.Entry(mobilenet.mobilenet, (Separable(2, 16, 2),)))
    out = tmp_path / "run"
    arguments = ["train", "--model", TINY, "--data", str(photographs), "--out", str(out), "--dry-run"]
    assert main.run([*arguments, "--epochs", "4", "--json"]) == 0
    printed = capsys.readouterr()
    # Every fifth image is for the test: 32 and 7 are left.
    assert "32 images of night and 7 of day" not in printed.err  # less than five times as many
    plan = json.loads(printed.out)
    assert plan["classes"] == {"day": 7, "night": 32}
    assert (plan["steps"], plan["epochs"], plan["image_size"]) == (9, 4, [96, 96])
    assert not out.exists()


def test_a_picture_is_answered_by_a_run_and_by_its_files(golden, tmp_path, capsys, digits_seven):
    for file in ("", "se_mobilenet.float32.tflite", "se_mobilenet.static_wi8_ai8.tflite"):
        [answer] = document(capsys, "predict", str(golden / file), str(digits_seven), "--top", "2")
        assert answer["image"] == str(digits_seven)
        assert answer["classes"][0]["name"] == "7"
        assert answer["classes"][0]["score"] > answer["classes"][1]["score"]


@pytest.fixture
def digits_seven(tmp_path):
    """A real seven, enlarged."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    image = np.round(digits.images[7] * 255 / 16).astype("uint8")
    assert digits.target[7] == 7
    Image.fromarray(image).resize((64, 64), Image.Resampling.BILINEAR).save(tmp_path / "seven.png")
    return tmp_path / "seven.png"


def test_a_run_and_its_files_are_evaluated(golden, tmp_path, capsys):
    figures = document(capsys, "evaluate", str(golden), "--data", "digits", "--plot", str(tmp_path / "matrix.png"))
    assert figures["top1"] > 0.97
    assert figures["images"] == 355
    with Image.open(tmp_path / "matrix.png") as picture:
        assert min(picture.size) > 400
    assert (
        main.run(["evaluate", str(golden / "se_mobilenet.static_wi8_ai8.tflite"), "--data", "digits", "--most", "3"])
        == 0
    )
    table = capsys.readouterr().out
    assert "of 355 images" in table
    assert max(map(len, table.splitlines())) <= 80


def test_the_version_is_that_of_every_package_that_matters(capsys):
    assert main.run(["--version"]) == 0
    printed = dict(line.split(" ", 1) for line in capsys.readouterr().out.splitlines())
    for package in ("keras-se", "keras", "tensorflow", "ai-edge-litert"):
        assert printed[package] == metadata.version(package)


@pytest.mark.parametrize(("word", "nearest"), [("predct", "predict"), ("eval", "evaluate"), ("benchmark", "bench")])
def test_an_unknown_command_names_the_nearest_also_where_help_is_asked_for(word, nearest, capsys):
    line = refusal(capsys, word, "--help")
    assert f"got '{word}'" in line
    assert nearest in line


def test_a_table_shows_names_as_they_are_and_a_label_whole(capsys, monkeypatch):
    """Rich would read [plot] as a style and :bear: as a picture, and cut the left column to fit the right one."""
    monkeypatch.setenv("COLUMNS", "40")
    rows = Rows(None, ("class", ""), [("[brown] :bear:", "word " * 20)], notes=("pip install 'keras-se[plot]'",))
    main._print(SimpleNamespace(json=False), rows)
    printed = capsys.readouterr().out
    assert "[brown] :bear:" in printed
    assert printed.count("word") == 20
    assert "'keras-se[plot]'" in printed


# Bad input: one line, status 2, nothing half-written.


def test_a_model_of_other_classes_is_refused_with_both_lists(golden, photographs, capsys):
    line = refusal(capsys, "evaluate", str(golden), "--data", str(photographs))
    assert "it knows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9; the images are of day, night" in line


def test_a_file_that_says_nothing_needs_options_and_gets_numbers(golden, tmp_path, digits_seven, capsys):
    file = tmp_path / "bare.tflite"
    shutil.copy(golden / "se_mobilenet.float32.tflite", file)
    line = refusal(capsys, "predict", str(file), str(digits_seven))
    assert "no manifest bare.tflite.json beside it and no TFLite metadata inside; say --input-range" in line
    [answer] = document(capsys, "predict", str(file), str(digits_seven), "--input-range", "0", "1")
    assert answer["classes"][0]["name"] == "7"  # a number, for nothing names it


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "nowhere", "x.png"), "there is no image x.png"),
        (("evaluate", "nowhere", "--data", "digits"), "there is no nowhere; give a .keras file, the folder of a run"),
        (("evaluate", "GOLDEN", "--data", "digits", "--most", "0"), "most must be at least 1; got 0"),
        (("evaluate", "GOLDEN", "--data", "digits", "--plot", "TMP/plot.txt"), "must be an image file"),
        (("evaluate", "nowhere", "--data", "digits", "--plot", "TMP/plot.txt"), "must be an image file"),
        (("train", "--model", "seresnet50", "--data", "digits", "--out", "TMP/run"), "did you mean se_resnet50?"),
        (
            ("train", "--model", "se_resnet18", "--data", "digits", "--out", "TMP/run", "--recipe", "photograph"),
            "did you",
        ),
        (
            ("train", "--model", "se_resnet18", "--data", "digits", "--out", "TMP/run", "--freeze", "backbone"),
            "weights",
        ),
        (("train", "--model", "se_resnet18", "--data", "digits", "--out", "TMP/run", "--binary"), "binary is for two"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, message, golden, tmp_path, capsys):
    words = [word.replace("GOLDEN", str(golden)).replace("TMP", str(tmp_path)) for word in arguments]
    assert message in refusal(capsys, *words)
    written = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert written == set()


# Help.


@pytest.mark.parametrize("command", get_args(main.COMMANDS), ids=lambda command: get_args(command)[1].name)
def test_help_says_what_holds_and_ends_with_an_example_that_can_be_given(command, capsys, monkeypatch):
    kind, named = get_args(command)
    monkeypatch.setenv("COLUMNS", "200")  # a wider terminal makes no longer lines
    assert main.run([named.name, "--help"]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert "None" not in printed
    _, *words = shlex.split(kind.example)
    assert isinstance(main._parse(words), kind)
    assert " ".join(printed.split("example:")[1].split()) == kind.example
