"""Rooms of the package and the order in which they may import each other: the contracts of pyproject.toml.

import-linter reads folders, not the mapping of `package-dir`: so the sources are laid out as they install.
"""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINT = "import sys; sys.path.insert(0, ''); from importlinter.cli import lint_imports_command; lint_imports_command()"


@pytest.fixture
def installed(tmp_path) -> Path:
    """A folder with the package as it installs."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    for package in settings["packages"]:
        root = max((name for name in settings["package-dir"] if f"{package}.".startswith(f"{name}.")), key=len)
        folder = ROOT / settings["package-dir"][root] / package.removeprefix(root).strip(".").replace(".", "/")
        target = tmp_path / package.replace(".", "/")
        target.mkdir(parents=True)
        for source in folder.glob("*.py"):
            shutil.copy(source, target)
    return tmp_path


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache", str(ROOT / "pyproject.toml")],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_every_room_imports_only_what_its_contract_allows(installed):
    result = lint(installed)
    assert result.returncode == 0, result.stdout + result.stderr
    assert " 0 broken" in result.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("keras_se/registry.py", "import keras_se.training", "Models know nothing of training and export"),
        ("keras_se/export/tflite/constants.py", "import keras_se.export.exporter", "Each room of export imports only"),
    ],
)
def test_an_import_against_the_order_is_found(module, line, contract, installed):
    with (installed / module).open("a") as file:
        file.write(f"\n{line}\n")
    result = lint(installed)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"{contract}" in result.stdout
    assert module.removesuffix(".py").replace("/", ".") in result.stdout
