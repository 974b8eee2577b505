"""Command `keras-se quickstart`, once: what it trains, writes and prints."""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from keras_se.cli import main
from keras_se.export.quantization.recipes import DEFAULT_RECIPES
from keras_se.export.tflite.model import TFLiteModel
from keras_se.training import PRESETS

EPOCHS = 5
"""A fourth of the training: what is written and printed is the same."""


@pytest.fixture(scope="module", params=[EPOCHS, pytest.param(PRESETS["digits"].epochs, marks=pytest.mark.slow)])
def quickstart(request, tmp_path_factory) -> tuple[Path, dict]:
    """Folder of the quickstart and its JSON document."""
    folder = tmp_path_factory.mktemp("quickstart") / "out"
    printed = folder.with_name("document.json")
    with pytest.MonkeyPatch.context() as patch, printed.open("w") as stdout:
        patch.setattr("sys.stdout", stdout)
        patch.setitem(PRESETS, "digits", dataclasses.replace(PRESETS["digits"], epochs=request.param))
        status = main.run(["quickstart", "--out", str(folder), "--json"])
    assert status == 0
    return folder, json.loads(printed.read_text())


def test_its_network_has_learned_and_every_file_passes(quickstart):
    folder, document = quickstart
    # Of ten classes; 0.97 to 0.99 after 20 epochs with the seeds that were tried; after 5, 0.89 without oneDNN.
    assert document["float_accuracy"] > 0.6
    verdicts = {(artifact["recipe"], artifact["verdict"]) for artifact in document["artifacts"]}
    assert verdicts == {(name, "pass") for name in DEFAULT_RECIPES}
    report = (folder / "report.html").read_text()
    assert all(Path(artifact["path"]).name in report for artifact in document["artifacts"])


def test_a_manifest_tells_what_the_file_is(quickstart):
    folder, document = quickstart
    for artifact in document["artifacts"]:
        content = (folder / artifact["path"]).read_bytes()
        manifest = json.loads((folder / f"{artifact['path']}.json").read_text())
        assert manifest["recipe"] == artifact["recipe"]
        assert manifest["bytes"] == len(content)
        assert manifest["sha256"] == hashlib.sha256(content).hexdigest()
        trained = (folder / "run" / "model.keras").read_bytes()
        assert manifest["model_sha256"] == hashlib.sha256(trained).hexdigest()
        assert manifest["operations"] == TFLiteModel(content).operation_counts
        assert manifest["dtypes"] == TFLiteModel(content).dtype_counts
        assert manifest["preprocessing"]["mean"] == [0.0, 0.0, 0.0]
        assert {"python", "keras", "tensorflow", "litert-quantizer"} <= manifest["versions"].keys()
        if artifact["recipe"].startswith("static"):
            assert manifest["calibration"]["images"] == 500
            assert len(manifest["calibration"]["sha256"]) == 64
        else:
            assert manifest["calibration"] is None
