"""`keras-se models`: the document, the table and the installed command."""

import json
import subprocess
import sysconfig
from pathlib import Path

import pytest

from keras_se.cli import main


def document(capsys, *arguments, status=0, after=()):
    """Return what a command prints with --json."""
    assert main.run([*arguments, "--json", *after]) == status
    return json.loads(capsys.readouterr().out)


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


@pytest.mark.slow
def test_the_installed_command_prints_the_document_and_nothing_else(tmp_path):
    command = Path(sysconfig.get_path("scripts")) / "keras-se"
    done = subprocess.run(
        [command, "models", "se_mobilenet", "--json"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stderr == ""
    [row] = json.loads(done.stdout)
    assert row["name"] == "se_mobilenet"
