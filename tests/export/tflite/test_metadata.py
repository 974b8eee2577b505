"""Metadata and labels travel in the file, and change nothing that it computes."""

import io
import zipfile

import numpy as np
import pytest

from keras_se.export.runtimes.registry import ENGINES
from keras_se.export.tflite.metadata import with_metadata
from keras_se.export.tflite.model import TFLiteModel

LABELS = ("t-shirt, top", "bag", "Stiefelette, groß")


@pytest.mark.parametrize("recipe", ["float32", "static_wi8_ai8"])
def test_engines_read_the_file_as_before(trained, recipe, tmp_path):
    content = TFLiteModel(trained.files[recipe].read_bytes())
    path = tmp_path / "described.tflite"
    path.write_bytes(with_metadata(content, "net", mean=0.0, std=255.0, labels=LABELS).content)
    described = TFLiteModel.load(path)
    for engine in ("litert", "litert_reference", "tflm"):
        expected, got = (ENGINES[engine].run(each.content, trained.images[:4]).values for each in (content, described))
        np.testing.assert_array_equal(got, expected)


def test_labels_are_a_file_of_one_a_line(trained):
    content = TFLiteModel(trained.files["float32"].read_bytes())
    described = with_metadata(content, "net", mean=0.0, std=255.0, labels=LABELS)
    with zipfile.ZipFile(io.BytesIO(described.content)) as archive:
        [entry] = archive.infolist()
        assert archive.read(entry).decode().splitlines() == list(LABELS)
    assert entry.compress_type == zipfile.ZIP_STORED  # which a phone maps into memory
    assert described == with_metadata(content, "net", mean=0.0, std=255.0, labels=LABELS)


def test_without_labels_nothing_is_appended(trained):
    described = with_metadata(TFLiteModel(trained.files["float32"].read_bytes()), "net", mean=0.0, std=255.0)
    assert not zipfile.is_zipfile(io.BytesIO(described.content))


def test_the_description_begins_with_the_schemas_identifier(trained):
    described = with_metadata(TFLiteModel(trained.files["float32"].read_bytes()), "net", mean=0.0, std=255.0)
    model = described.unpacked
    [entry] = [entry for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
    assert model.buffers[entry.buffer].data.tobytes()[4:8] == b"M001"
