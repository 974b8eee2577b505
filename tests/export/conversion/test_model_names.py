"""Names of models, layers and classes: those that no file can hold are refused, the others give the right files."""

import json
import re

import keras
import numpy as np
import pytest

from keras_se.cli import main
from keras_se.errors import InputError
from keras_se.export import export, quantize_aware
from keras_se.export.conversion.converter import to_tflite

SIDE = 8
NAMES = ["名", "it's", 'say "hi"', "a\nb", " ", "a\\b", "-o", "a:b*?", "a\0b"]
RULE = "letters from A to Z, digits, dots, hyphens and underscores"


def network(name="small", layer="conv"):
    keras.utils.set_random_seed(0)
    image = keras.Input((SIDE, SIDE, 3), name="image")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 3, name=layer)(image))
    return keras.Model(image, keras.layers.Dense(2, name="logits")(x), name=name)


def images():
    return np.random.default_rng(0).random((4, SIDE, SIDE, 3), np.float32)


@pytest.mark.parametrize("name", [*NAMES, "", "..", ".hidden", "x" * 101])
def test_a_name_that_is_none_of_a_file_is_refused(name, tmp_path):
    with pytest.raises(InputError, match=f"a model's name must be .*{RULE}.*; got.*set model.name") as refused:
        export(network(name), tmp_path, recipes=["float32"])
    assert repr(name)[:100] in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_s_name_that_no_graph_holds_is_refused(name, tmp_path):
    for convert in (to_tflite, lambda model: export(model, tmp_path, recipes=["float32"])):
        with pytest.raises(InputError, match=f"a layer's name must be of {RULE}; got "):
            convert(network(layer=name))


@pytest.mark.parametrize("name", ["名", "a\nb"])
def test_every_command_that_loads_a_model_refuses_it_in_one_line_and_the_remedy_helps(name, tmp_path, capsys):
    path, model = tmp_path / "model.keras", network(layer=name)
    model.save(path)
    options = ["--data", "digits", "--images", "2"]
    for command in (
        ["check", str(path)],
        ["export", str(path), "--out", str(tmp_path / "out"), "--target", "tflite_micro", *options],
        ["export", str(path), "--out", str(tmp_path / "out"), "--search", *options],
    ):
        assert main.run(command) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert repr(name) in line.encode().decode()
        assert "set the layer's name" in line
    model.get_layer(name).name = "conv"
    model.save(path)
    assert main.run(["check", str(path)]) == 0


def test_the_names_that_are_taken_give_identifiers_of_c(tmp_path):
    for name in ("1.a-b__c", "A_.", "0"):
        artifacts = export(
            network(name, layer="a.b-_1"),
            tmp_path,
            recipes=["static_wi8_ai8"],
            target="tflite_micro",
            calibration=images(),
        )
        [artifact] = artifacts
        assert artifact.path.name == f"{name}.static_wi8_ai8.tflite"
        header = artifact.path.with_suffix(".h").read_text()
        [identifier] = re.findall(r"extern const unsigned char (.*)\[\];", header)
        assert re.fullmatch(r"model_[A-Za-z0-9]+(_[A-Za-z0-9]+)*", identifier)
        assert f'#include "{artifact.path.stem}.h"' in artifact.path.with_suffix(".cc").read_text()


def test_quantization_aware_training_keeps_a_name(tmp_path):
    assert quantize_aware(network("a.b-c"), calibration=images()).name == "a.b-c"


@pytest.mark.parametrize(
    ("names", "right"), [(["a", "名 \"b'"], True), (["a\nb", "c"], False), (["\udcff", "c"], False)]
)
def test_the_names_of_classes_are_lines_of_text(names, right, tmp_path, capsys):
    """A line break in one would shift the labels of all that follow."""
    model = network()
    model.save(tmp_path / "model.keras")
    fields = {"height": SIDE, "width": SIDE}
    (tmp_path / "run.json").write_text(json.dumps({"classes": names, "preprocessing": fields}))
    command = ["export", str(tmp_path / "model.keras"), "--out", str(tmp_path), "--recipes", "float32"]
    status = main.run([*command, "--target", "browser"])
    if right:
        assert status == 0
        page = (tmp_path / "small.float32.html").read_text()
        assert json.dumps(names) in page
    else:
        assert status == 2
        assert "the names of classes must be text in one line" in capsys.readouterr().err
