"""Content of the wheel that is built from the source distribution."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built as a packager does: first the sdist, from it the wheel."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--outdir", out, ROOT], check=True, capture_output=True)
    assert len(list(out.glob("*.tar.gz"))) == 1
    [path] = out.glob("*.whl")
    return path


def test_it_holds_the_three_rooms_and_nothing_else(wheel):
    rooms = {"keras_se": "keras_se", "training": "keras_se/training", "export": "keras_se/export"}
    expected = {
        f"{package}/{path.relative_to(ROOT / room)}"
        for room, package in rooms.items()
        for path in (ROOT / room).rglob("*.py")
    }
    names = set(zipfile.ZipFile(wheel).namelist())
    installed = {name for name in names if ".dist-info/" not in name}
    assert installed == expected | {
        "keras_se/py.typed",
        "keras_se/cli/report.html",
        "keras_se/export/targets/browser.html",
        "keras_se_cli.py",
    }


@pytest.mark.slow
def test_it_installs_imports_and_runs(wheel, tmp_path):
    """Over this environment's dependencies, but not its editable install."""
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", tmp_path, wheel],
        check=True,
        capture_output=True,
    )
    code = (
        "import keras_se.export, keras_se.training, pathlib; "
        f"assert pathlib.Path(keras_se.__file__).is_relative_to({str(tmp_path)!r}), keras_se.__file__; "
        f"assert pathlib.Path(keras_se.export.__file__).is_relative_to({str(tmp_path)!r})"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=tmp_path, capture_output=True)
    script = tmp_path / "bin" / "keras-se"
    shown = subprocess.run([sys.executable, script, "--help"], env=environment, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert all(command in shown.stdout for command in ("quickstart", "models", "train", "export", "parity"))
