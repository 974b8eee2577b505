"""examples/raspberry_pi.py gives the library's answers, and needs nothing but its three packages."""

import ast
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_se.export import RECIPES, load_classifier
from keras_se.export.targets.base import QuantizedModel
from keras_se.export.targets.registry import TARGETS
from keras_se.export.tflite.model import TFLiteModel
from keras_se.preprocessing import Preprocessing
from keras_se.training import predict

SCRIPT = Path(__file__).parents[1] / "examples" / "raspberry_pi.py"
# It resizes 8-bit pixels where training resizes floats: half a level of 255, and steps of 1/256 of an int8 softmax.
TOLERANCE = 0.02


@pytest.fixture
def photograph(tmp_path):
    """A real seven of 8x8 pixels as a photograph of 90x64, turned by its EXIF."""
    from sklearn.datasets import load_digits

    pixels = np.round(load_digits().images[7] * 255 / 16).astype("uint8")
    image = Image.fromarray(pixels).convert("RGB").resize((64, 64), Image.Resampling.BICUBIC)
    wide = Image.new("RGB", (90, 64))
    wide.paste(image, (13, 0))
    exif = Image.Exif()
    exif[274] = 6
    wide.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "seven.jpg", exif=exif, quality=95)
    return tmp_path / "seven.jpg"


@pytest.fixture
def files(trained, tmp_path):
    """A float, an int8 and a uint8 file with manifests that name the classes."""
    paths = {}
    for recipe in ("float32", "static_wi8_ai8"):
        file = trained.files[recipe]
        manifest = json.loads(file.with_name(f"{file.name}.json").read_text())
        manifest["classes"] = [f"digit {number}" for number in range(10)]
        contents = {recipe: file.read_bytes()}
        if recipe == "static_wi8_ai8":
            part = QuantizedModel(TFLiteModel(contents[recipe]), RECIPES[recipe], "net", Preprocessing(32, 32), None)
            contents["uint8"] = TARGETS["mediapipe"].package_for_target(part).file.content
        for name, content in contents.items():
            paths[name] = tmp_path / f"{name}.tflite"
            paths[name].write_bytes(content)
            paths[name].with_name(f"{name}.tflite.json").write_text(json.dumps(manifest))
    return paths


def answers(python, file, image, **environment):
    done = subprocess.run(
        [python, SCRIPT, file, image, "--top", "10"], capture_output=True, text=True, check=True, **environment
    )
    rows = [line.split(" ", 1) for line in done.stdout.splitlines()]
    return {name: float(score) for score, name in rows}


def test_it_imports_three_packages_and_pythons_own():
    tree = ast.parse(SCRIPT.read_text())
    named = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    named |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    tops = {name.partition(".")[0] for name in named}
    assert tops - sys.stdlib_module_names == {"ai_edge_litert", "numpy", "PIL"}


@pytest.mark.parametrize("name", ["float32", "static_wi8_ai8", "uint8"])
def test_its_scores_are_the_librarys(name, files, photograph):
    scores = answers(sys.executable, files[name], photograph)
    [expected] = predict(load_classifier(files[name]), [photograph], top=10)
    assert next(iter(scores)) == "digit 7"
    assert scores == pytest.approx(dict(expected), abs=TOLERANCE)


@pytest.mark.slow
def test_it_runs_where_nothing_else_is_installed(files, photograph, tmp_path):
    """A new environment with the packages that its first lines name."""
    folder = tmp_path / "clean"
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    packages = ["ai-edge-litert", "numpy", "pillow"]
    subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True, capture_output=True)
    missing = subprocess.run([python, "-c", "import tensorflow"], capture_output=True, check=False)
    assert missing.returncode != 0
    assert next(iter(answers(python, files["static_wi8_ai8"], photograph, cwd=tmp_path))) == "digit 7"
