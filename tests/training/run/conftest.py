"""A finished run, and a copy of it to damage."""

import dataclasses
import shutil

import pytest

from keras_se.training import train


@pytest.fixture(scope="module")
def finished(tiny_recipe):
    return train(tiny_recipe).folder


@pytest.fixture
def copied(finished, tiny_recipe, tmp_path):
    """A finished run's folder, and its recipe."""
    folder = shutil.copytree(finished, tmp_path / "copy")
    return folder, dataclasses.replace(tiny_recipe, out=str(folder))


@pytest.fixture
def contents():
    """Function from a folder to the bytes of each file in it."""
    return lambda folder: {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
