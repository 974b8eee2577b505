"""Metadata of a .tflite file: how pixels become its input, and the names of its classes.

In: a file with TFLite metadata, ours or another's. Out: normalisation, labels and score calibration, where it has any.
The places of the fields are those of the tables in `metadata`.
"""

import io
import zipfile
from typing import Any, NamedTuple

import flatbuffers.encode
import flatbuffers.table
import numpy as np
from flatbuffers.number_types import Float32Flags

from keras_se.export.tflite.model import TFLiteModel
from keras_se.export.tflite.score_calibration import ScoreCalibration

_NAME = b"TFLITE_METADATA"
_SUBGRAPHS, _INPUTS, _UNITS = 3, 2, 4  # fields of ModelMetadata, of SubGraphMetadata and of TensorMetadata
_KIND, _OPTIONS = 0, 1  # of ProcessUnit
_NORMALISES = 1  # a kind of it; its fields are mean and std
_SCORES = "score_calibration.txt"


class FileMetadata(NamedTuple):
    """Metadata of a file; None and empty where it has none."""

    mean: tuple[float, ...] | None = None
    """A float input is `(pixel - mean) / std`, of pixels in 0..255: one number, or one for each channel."""
    std: tuple[float, ...] | None = None
    labels: tuple[str, ...] | None = None
    scores: ScoreCalibration | None = None


def read_metadata(file: TFLiteModel) -> FileMetadata:
    """Return what a .tflite file says of itself."""
    labels, scores = _attached(file.content)
    buffers = {entry.name: entry.buffer for entry in file.unpacked.metadata or ()}
    if _NAME not in buffers:
        return FileMetadata(labels=labels, scores=scores)
    data = file.unpacked.buffers[buffers[_NAME]].data
    mean, std = _normalisation(bytes(bytearray(data)))
    return FileMetadata(mean, std, labels, scores)


def _normalisation(metadata: bytes) -> tuple[Any, Any]:
    root = int.from_bytes(metadata[:4], "little")
    model = flatbuffers.table.Table(bytearray(metadata), root)
    for graph in _tables(model, _SUBGRAPHS):
        for tensor in _tables(graph, _INPUTS):
            for unit in _tables(tensor, _UNITS):
                kind = unit.Offset(4 + 2 * _KIND)
                options = unit.Offset(4 + 2 * _OPTIONS)
                if kind and options and unit.Bytes[unit.Pos + kind] == _NORMALISES:
                    table = flatbuffers.table.Table(unit.Bytes, unit.Indirect(unit.Pos + options))
                    return _floats(table, 0), _floats(table, 1)
    return None, None


def _tables(table: Any, field: int) -> list[Any]:
    """Return the tables in a field that is a vector of them."""
    offset = table.Offset(4 + 2 * field)
    if not offset:
        return []
    start = table.Vector(offset)
    places = [table.Indirect(start + 4 * number) for number in range(table.VectorLen(offset))]
    return [flatbuffers.table.Table(table.Bytes, place) for place in places]


def _floats(table: Any, field: int) -> tuple[float, ...] | None:
    offset = table.Offset(4 + 2 * field)
    if not offset:
        return None
    values = table.GetVectorAsNumpy(Float32Flags, offset)
    return tuple(np.asarray(values, float).tolist()) or None


def _attached(content: bytes) -> tuple[tuple[str, ...] | None, ScoreCalibration | None]:
    """Return the labels and the calibration in the files that are appended as a zip archive."""
    labels, scores = None, None
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                lines = archive.read(name).decode().splitlines()
                if name == _SCORES and lines:
                    _, slope, offset = map(float, lines[0].split(","))
                    scores = ScoreCalibration(slope, offset)
                elif name.endswith(".txt") and labels is None:
                    labels = tuple(lines)
    except (zipfile.BadZipFile, UnicodeDecodeError, ValueError):
        return labels, None
    return labels, scores
