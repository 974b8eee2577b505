"""TFLite metadata: what an app has to know of a file, inside the file.

Source: the schema `metadata_schema.fbs` (version 1.5.0) of MediaPipe. The one package that holds it for Python
excludes others that an export may need, and the part of it used here is small: a table below has the schema's fields
in their order, up to the last that is written, and a field's place is its number.
"""

import io
import zipfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import flatbuffers
import numpy as np

from keras_se.export.tflite import flatbuffer
from keras_se.export.tflite.model import TFLiteModel
from keras_se.export.tflite.score_calibration import ScoreCalibration

_NAME = b"TFLITE_METADATA"
_IDENTIFIER = b"M001"
_PARSER = "1.0.0"  # the oldest that knows every field below
_LABELS = "labels.txt"
_SCORES = "score_calibration.txt"


class _AssociatedFile(NamedTuple):
    LABELS = 2  # TENSOR_AXIS_LABELS of its type
    SCORES = 4  # TENSOR_AXIS_SCORE_CALIBRATION

    name: str
    description: str
    type: int


class _NormalizationOptions(NamedTuple):
    UNION = 1  # its number among the options of a process unit

    mean: Sequence[float]
    std: Sequence[float]


class _ScoreCalibrationOptions(NamedTuple):
    UNION = 2
    LOG_ODDS = 2  # INVERSE_LOGISTIC

    score_transformation: int


class _ProcessUnit(NamedTuple):
    options_type: int
    options: _NormalizationOptions | _ScoreCalibrationOptions


class _ImageProperties(NamedTuple):
    UNION = 2  # its number among the properties of a content
    RGB = 1

    color_space: int


class _Content(NamedTuple):
    content_properties_type: int
    content_properties: _ImageProperties


class _TensorMetadata(NamedTuple):
    name: str
    description: str
    dimension_names: None = None
    content: _Content | None = None
    process_units: Sequence[_ProcessUnit] = ()
    stats: None = None
    associated_files: Sequence[_AssociatedFile] = ()


class _SubGraphMetadata(NamedTuple):
    name: None
    description: None
    input_tensor_metadata: Sequence[_TensorMetadata]
    output_tensor_metadata: Sequence[_TensorMetadata]


class _ModelMetadata(NamedTuple):
    name: str
    description: str
    version: None
    subgraph_metadata: Sequence[_SubGraphMetadata]
    author: None
    license: None
    associated_files: None
    min_parser_version: str


def with_metadata(
    file: TFLiteModel,
    name: str,
    *,
    mean: float,
    std: float,
    labels: Sequence[str] | None = None,
    scores: ScoreCalibration | None = None,
) -> TFLiteModel:
    """Return an image classifier's file with its description inside and its labels appended, as a zip archive.

    Args:
        name: of the model.
        mean: a float input is `(pixel - mean) / std`, of pixels in 0..255; an integer input takes pixels as they are.
        labels: the classes' names, in the order of the outputs.
        scores: how an app makes probabilities of the outputs.
    """
    files, units = {}, []
    if labels is not None:
        files[_AssociatedFile(_LABELS, "name of each class", _AssociatedFile.LABELS)] = labels
    if scores is not None:
        line = f"1.0,{scores.slope!r},{scores.offset!r}"  # the scale of the sigmoid, its slope and its offset
        files[_AssociatedFile(_SCORES, "sigmoid of each class", _AssociatedFile.SCORES)] = [line] * file.output_shape[
            -1
        ]
        options = _ScoreCalibrationOptions(_ScoreCalibrationOptions.LOG_ODDS)
        units.append(_ProcessUnit(_ScoreCalibrationOptions.UNION, options))
    normalization = _NormalizationOptions([mean], [std])
    image = _TensorMetadata(
        "image",
        "RGB image to be classified",
        content=_Content(_ImageProperties.UNION, _ImageProperties(_ImageProperties.RGB)),
        process_units=[_ProcessUnit(_NormalizationOptions.UNION, normalization)],
    )
    output = _TensorMetadata("score", "score of each class", process_units=units, associated_files=list(files))
    graph = _SubGraphMetadata(None, None, [image], [output])
    described = _ModelMetadata(name, "image classifier", None, [graph], None, None, None, _PARSER)
    whole = _attached(file, _serialised(described))
    for associated, lines in files.items():
        whole = _with_file(whole, associated.name, "\n".join(lines).encode())
    return TFLiteModel(whole)


def _attached(file: TFLiteModel, metadata: bytes) -> bytes:
    model = file.editable()
    buffer, entry = flatbuffer.schema.BufferT(), flatbuffer.schema.MetadataT()
    buffer.data = np.frombuffer(metadata, np.uint8)
    entry.name, entry.buffer = _NAME, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or ()), entry]
    return flatbuffer.pack(model)


def _with_file(content: bytes, name: str, data: bytes) -> bytes:
    """Readers of .tflite files look at no byte behind the flatbuffer; readers of zip archives begin at the end."""
    whole = io.BytesIO(content)
    with zipfile.ZipFile(whole, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), data)  # uncompressed, of a fixed date: the same labels, the same bytes
    return whole.getvalue()


def _serialised(described: _ModelMetadata) -> bytes:
    builder = flatbuffers.Builder()
    builder.Finish(_table(builder, described), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _table(builder: flatbuffers.Builder, table: Any) -> int:
    values = [_written(builder, value) for value in table]  # before the table begins: flatbuffers do not nest
    builder.StartObject(len(table))
    for number, (field, value) in enumerate(zip(table, values, strict=True)):
        if isinstance(field, int):
            builder.PrependInt8Slot(number, value, 0)  # every number here is an enumeration's
        elif field:
            builder.PrependUOffsetTRelativeSlot(number, value, 0)
    return builder.EndObject()


def _written(builder: flatbuffers.Builder, value: Any) -> int:
    """Write a value and return its place in the buffer; a number is returned as it is, and an empty value as 0."""
    if isinstance(value, int) or not value:
        return value or 0
    if isinstance(value, str):
        return builder.CreateString(value)
    if hasattr(value, "_fields"):
        return _table(builder, value)
    if isinstance(value[0], float):
        return builder.CreateNumpyVector(np.array(value, np.float32))
    places = [_table(builder, element) for element in value]
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):
        builder.PrependUOffsetTRelative(place)
    return builder.EndVector()
