"""`keras-se export`, `parity` and `diagnose` on one model: their documents, files and exit status."""

import hashlib
import json
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_se
from command_answers import document, refusal
from keras_se.cli import main
from keras_se.export.tflite import flatbuffer
from keras_se.export.tflite.model import TFLiteModel


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
    """Document of `export`: a float file and an integer one."""
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


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        (("--target", "edgetpu", "--io", "uint8"), {"batch": 1, "input_type": "uint8", "output_type": "uint8"}),
        (("--batch", "3"), {"batch": 3, "input_type": "int8", "output_type": "int8"}),
    ],
)
def test_a_file_of_uint8_or_of_a_batch_says_so_and_passes_parity(options, facts, tmp_path, capsys):
    model_file, images = tmp_path / "small.keras", ("--data", "digits", "--images", "30")
    image = keras.Input((32, 32, 3))
    features = keras.layers.Conv2D(8, 3, 4, activation="relu")(image)
    keras.Model(image, keras.layers.Dense(10)(keras.layers.Flatten()(features)), name="small").save(model_file)
    command = (
        "export",
        str(model_file),
        "--out",
        str(tmp_path / "out"),
        *images,
        "--recipes",
        "static_wi8_ai8",
        *options,
    )
    [row] = document(capsys, *command, *options)
    manifest = json.loads(Path(f"{row['path']}.json").read_text())
    assert facts.items() <= manifest.items()
    assert {name: row[name] for name in ("input_type", "output_type")}.items() <= facts.items()
    file = TFLiteModel(Path(row["path"]).read_bytes())
    assert file.input_shape == (facts["batch"], 32, 32, 3)
    assert file.io_types == ([facts["input_type"].upper()], [facts["output_type"].upper()])
    rows = document(capsys, "parity", str(model_file), row["path"], *images)
    assert {row["engine"] for row in rows} == {"litert", "litert_reference", "tflm"}
    assert {(row["images"], row["verdict"]) for row in rows} == {(30, "pass")}


def test_a_model_of_any_size_goes_through_every_command(tmp_path, capsys):
    model_file, images = str(tmp_path / "any.keras"), ("--data", "digits", "--images", "30")
    image = keras.Input((None, None, 3))
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, 4, activation="relu")(image))
    keras.Model(image, keras.layers.Dense(10)(features), name="any").save(model_file)
    size = ("--image-size", "24", "32")
    assert document(capsys, "check", model_file, *size) == []
    out = ("--out", str(tmp_path / "out"))
    [row] = document(capsys, "export", model_file, *size, *out, *images, "--recipes", "static_wi8_ai8")
    assert TFLiteModel(Path(row["path"]).read_bytes()).input_shape == (1, 24, 32, 3)
    [row_of_parity] = document(capsys, "parity", model_file, row["path"], *images, "--engines", "litert_reference")
    assert row_of_parity["verdict"] == "pass"
    assert document(capsys, "diagnose", model_file, row["path"], *images)[-1]["sqnr_db"] > 20


def test_diagnose_prints_every_operation_and_draws_them(exported, tmp_path, capsys):
    picture = tmp_path / "plot.png"
    files = [row["path"] for row in exported]
    rows = document(capsys, "diagnose", *files, "--data", "digits", "--images", "2", "--plot", str(picture))
    assert [row["operation"] for row in rows] == TFLiteModel(Path(files[1]).read_bytes()).operation_names
    assert {"tensor", "sqnr_db", "lost_db", "low", "high", "clipped", "used", "spread"} <= rows[0].keys()
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main.run(["diagnose", *files, "--data", "digits", "--images", "2", "--most", "3"]) == 0
    table = capsys.readouterr().out
    assert max(map(len, table.splitlines())) <= 80
    assert "…" not in table


def test_diagnose_refuses_a_picture_that_is_none(exported, tmp_path, capsys):
    files = [row["path"] for row in exported]
    command = ("diagnose", *files, "--data", "digits", "--images", "1", "--plot", str(tmp_path / "plot.txt"))
    assert "a picture must be an image file, as plot.png or plot.svg; got" in refusal(capsys, *command)
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
