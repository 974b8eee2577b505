"""Other types at the ends change what goes in and out, and nothing between."""

import numpy as np
import pytest

from keras_se.export import flatbuffer
from keras_se.export.engines import ENGINES
from keras_se.export.io_types import with_float_ends, with_uint8_input


def ends(content):
    graph = flatbuffer.unpack(content).subgraphs[0]
    return [
        flatbuffer.tensor_types()[graph.tensors[index].type]
        for indices in (graph.inputs, graph.outputs)
        for index in indices
    ]


@pytest.mark.parametrize(
    ("change", "types"), [(with_float_ends, ["FLOAT32", "FLOAT32"]), (with_uint8_input, ["UINT8", "INT8"])]
)
def test_the_function_stays(trained, change, types):
    content = trained.files["static_wi8_ai8"].read_bytes()
    changed = change(content)
    assert ends(content) == ["INT8", "INT8"]
    assert ends(changed) == types
    for engine in ("litert", "litert_reference"):
        expected = ENGINES[engine].run(content, trained.images[:8])
        got = ENGINES[engine].run(changed, trained.images[:8]).values
        # QUANTIZE multiplies by the inverse of a scale: a pixel that falls between two steps may take the other one.
        np.testing.assert_allclose(got, expected.values, rtol=0, atol=1.01 * expected.lsb)


def test_a_float_file_stays_as_it_is(trained):
    content = trained.files["float32"].read_bytes()
    assert flatbuffer.operations(with_float_ends(content)) == flatbuffer.operations(content)
