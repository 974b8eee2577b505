"""Other types at the ends change what goes in and out, and nothing between."""

import numpy as np
import pytest

from keras_se.export.runtimes.registry import ENGINES
from keras_se.export.tflite import flatbuffer
from keras_se.export.tflite.io_types import with_float_io, with_uint8_input, with_uint8_io
from keras_se.export.tflite.model import TFLiteModel


def ends(content):
    graph = content.graph
    return [
        flatbuffer.tensor_types()[graph.tensors[index].type]
        for indices in (graph.inputs, graph.outputs)
        for index in indices
    ]


@pytest.mark.parametrize(
    ("change", "types"),
    [
        (with_float_io, ["FLOAT32", "FLOAT32"]),
        (with_uint8_input, ["UINT8", "INT8"]),
        (with_uint8_io, ["UINT8", "UINT8"]),
    ],
)
def test_the_function_stays(trained, change, types):
    content = TFLiteModel(trained.files["static_wi8_ai8"].read_bytes())
    changed = change(content)
    # Whole pixels: between two, QUANTIZE's product with the inverse of the scale may take the other step.
    images = (np.round(255 * trained.images[:8]) / 255).astype("float32")
    assert ends(content) == ["INT8", "INT8"]
    assert ends(changed) == types
    for engine in ("litert", "litert_reference"):
        expected = ENGINES[engine].run(content.content, images)
        got = ENGINES[engine].run(changed.content, images).values
        np.testing.assert_allclose(got, expected.values, rtol=1e-6, atol=0)  # a product in float32 or in float64


def test_a_float_file_stays_as_it_is(trained):
    content = TFLiteModel(trained.files["float32"].read_bytes())
    assert with_float_io(content).operation_counts == content.operation_counts
