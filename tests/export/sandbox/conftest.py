"""File that the tests of the sandbox run."""

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def int8_file(trained) -> Path:
    """Int8 file of the trained network."""
    return trained.files["static_wi8_ai8"]
