"""Docstrings of the public names: what each must tell, and that its example runs."""

import contextlib
import dataclasses
import doctest
import inspect
import itertools
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_se
import keras_se.export
import keras_se.training
from keras_se import applications
from keras_se.preprocessing import Preprocessing
from keras_se.training.data.input_pipeline import sample
from keras_se.training.data.sources import load_source

ROOMS = (keras_se, keras_se.export, keras_se.training)
OF_RESULTS = (
    "Artifact",
    "Bench",
    "Diagnosis",
    "Evaluation",
    "Finding",
    "Folding",
    "Parity",
    "Run",
    "ScoreCalibration",
    "Search",
)
"""Records that functions return; their fields are documented, and those functions' examples show them."""
SLOW = (
    "compare",
    "compare_all",
    "evaluate",
    "excitations",
    "export",
    "export_mixed_precision",
    "fold_constant",
    "insert",
    "quantize_aware",
    "remove",
    "train",
)
"""Names whose examples convert, train, test on all digits, or build several networks."""


def _public() -> dict[str, object]:
    names = {}
    for room in ROOMS:
        for name, value in vars(room).items():
            if not name.startswith("_") and callable(value):
                names[f"{room.__name__}.{name}".removeprefix("keras_se.")] = value
    return names


PUBLIC = _public()
EXAMPLES = {name: value for name, value in PUBLIC.items() if name.rpartition(".")[2] not in OF_RESULTS}


def test_all_of_the_surface_is_there():
    for name in ("InputError", "ClusterError", "Preprocessing", "preprocess_input", "decode_predictions"):
        assert hasattr(keras_se, name)
    for name in ("fit_scores", "benchmark", "compare_all", "export_mixed_precision", "TARGETS", "RECIPES"):
        assert hasattr(keras_se.export, name)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_public_function_tells_what_goes_in_what_comes_out_and_what_it_refuses(name):
    value = EXAMPLES[name]
    text = inspect.getdoc(value) or ""
    assert "Example:\n" in text
    if inspect.isfunction(value):
        missing = [part for part in ("Returns:", "Raises:") if f"\n{part}\n" not in text]
        assert missing in ([], ["Raises:"]), missing
    if inspect.isfunction(value) and getattr(applications, name, None) is not value:
        documented = text.partition("Args:\n")[2]
        assert [
            parameter for parameter in inspect.signature(value).parameters if f"{parameter}" not in documented
        ] == []


@pytest.fixture(scope="module")
def digits():
    return sample(load_source("digits").test, Preprocessing(32, 32), 240)


@pytest.fixture
def folder(golden, tmp_path, monkeypatch):
    """A folder with a run and its files, as the examples name them."""
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    Path("files").mkdir()
    for path in golden.iterdir():
        shutil.copy(path, "files" if ".tflite" in path.name else "run")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name.rpartition(".")[2] in SLOW)) for name in EXAMPLES],
)
def test_the_example_runs(name, folder, digits):
    value = EXAMPLES[name]
    few = None if name.endswith("mixed_precision") else 20  # a search must be able to tell a loss from chance
    images, labels = (part[:few] for part in digits)
    known = {"keras": keras, "keras_se": keras_se, "np": np, "tf": tf, "dataclasses": dataclasses}
    known |= {"images": images, "labels": labels}
    known |= {public.rpartition(".")[2]: other for public, other in PUBLIC.items()}
    known |= {"PRESETS": keras_se.training.PRESETS}
    section = (inspect.getdoc(value) or "").partition("Example:\n")[2].splitlines()
    example = "\n".join(itertools.takewhile(lambda line: not line or line.startswith(" "), section))
    test = doctest.DocTestParser().get_doctest(example, known, name, None, 0)
    assert test.examples
    shown: list[str] = []
    # A large network is built in a third of the time without values.
    cheap = keras.StatelessScope(initialize_variables=False)
    with cheap if getattr(applications, name, None) is value else contextlib.nullcontext():
        doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF).run(test, out=shown.append)
    assert not shown, "".join(shown)
