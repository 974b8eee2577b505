"""Help of the command line, and arguments that are refused before anything is computed."""

import dataclasses
import io

import pytest

import keras_se
from command_answers import refusal
from keras_se.cli import main

COMMANDS = {"quickstart": main.Quickstart, "models": main.Models, "train": main.Train, "export": main.Export}
COMMANDS |= {"parity": main.Parity, "launch": main.Launch, "diagnose": main.Diagnose, "check": main.Check}
COMMANDS |= {"evaluate": main.Evaluate, "predict": main.Predict, "report": main.Report, "card": main.Card}
POSITIONAL = {("models", "pattern"), ("export", "model"), ("parity", "reference"), ("parity", "files")}
POSITIONAL |= {("check", "model"), ("evaluate", "model"), ("predict", "model"), ("predict", "images")}
POSITIONAL |= {("report", "folder"), ("card", "folder")}
POSITIONAL |= {("launch", "command"), ("diagnose", "float_file"), ("diagnose", "quantized_file")}


def test_help_lists_the_commands(capsys):
    assert main.run(["--help"]) == 0
    printed = capsys.readouterr()
    assert all(name in printed.out for name in COMMANDS)
    assert printed.err == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_mentions_every_option(command, capsys):
    assert main.run([command, "--help"]) == 0
    printed = capsys.readouterr().out
    names = {field.name for field in dataclasses.fields(COMMANDS[command])}
    options = {name for name in names if (command, name) not in POSITIONAL}
    spelled = {"imports": "import"}
    missing = {name for name in options if f"--{spelled.get(name, name).replace('_', '-')} " not in printed}
    assert not missing


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
