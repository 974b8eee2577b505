"""Where a quantized file departs from its float file."""

import itertools

import keras
import numpy as np
import pytest

from keras_se.errors import InputError
from keras_se.export import compare, diagnose
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.evaluation.layer_errors import _Sums, _Tensor
from keras_se.export.tflite import flatbuffer
from keras_se.export.tflite.model import TFLiteModel


@pytest.fixture(scope="module")
def diagnosed(trained):
    return diagnose(trained.files["float32"], trained.files["static_wi8_ai8"], trained.images[:16])


def test_every_operation_of_the_file_is_there_in_its_order(diagnosed, trained):
    names = TFLiteModel(trained.files["static_wi8_ai8"].read_bytes()).operation_names
    assert [row.operation for row in diagnosed] == names


def test_at_the_logits_it_is_what_parity_measures(diagnosed, trained):
    (logits,) = [row for row in diagnosed if row.operation == "FULLY_CONNECTED"]
    files = trained.files["float32"], trained.files["static_wi8_ai8"]
    parity = compare(*files, trained.images[:16], engine="litert_reference")
    assert logits.sqnr_db == pytest.approx(parity.sqnr_db, abs=0.01)  # dB; the last bits of float32
    assert logits.name == "logits"


def test_what_is_lost_adds_up_along_the_graph(diagnosed):
    """A convolution's only input that is measured is what the operation before it gave."""
    for before, row in itertools.pairwise(diagnosed):
        if row.operation == "DEPTHWISE_CONV_2D":
            assert row.lost_db == pytest.approx(before.sqnr_db - row.sqnr_db)


def test_a_file_has_no_error_against_itself(trained):
    rows = diagnose(trained.files["float32"], trained.files["float32"], trained.images[:2])
    assert all(row.sqnr_db == np.inf and row.lost_db == 0 and row.clipped == 0 for row in rows)
    assert rows[0].to_dict()["sqnr_db"] is None


def test_the_operation_whose_weights_are_wrong_loses_most(trained, tmp_path):
    content = trained.files["static_wi8_ai8"].read_bytes()
    model = flatbuffer.unpack(content)
    (graph,) = model.subgraphs
    names = TFLiteModel(content).operation_names
    number = [place for place, name in enumerate(names) if name == "DEPTHWISE_CONV_2D"][3]
    operator = graph.operators[number]
    kernel = graph.tensors[int(operator.inputs[1])]
    model.buffers[kernel.buffer].data = -model.buffers[kernel.buffer].data  # as bytes: every weight's sign turned
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(flatbuffer.pack(model))
    rows = diagnose(trained.files["float32"], broken, trained.images[:4])
    worst = max(rows, key=lambda row: row.lost_db)
    assert worst.tensor == graph.tensors[int(operator.outputs[0])].name.decode()


def test_clipping_use_and_spread_are_what_numpy_counts():
    """Two images of three channels, of which one is never active, in a range of -1 to 3."""
    exact = np.array([[[0.0, 0.5, 0.0], [4.0, -0.25, 0.0]], [[1.0, 0.0, 0.0], [-2.0, 0.25, 0.0]]])
    sums = _Sums()
    for image in exact:
        sums.add(image, _Tensor(np.clip(image, -1, 3), -1.0, 3.0))
    row = sums.diagnosis("model/layer/op", "CONV_2D", [50.0])
    assert row.clipped == 2 / 12
    assert (row.low, row.high, row.used) == (-2.0, 4.0, 6 / 4)
    assert row.spread == 4.0 / np.median([4.0, 0.5])
    assert row.sqnr_db == pytest.approx(10 * np.log10((exact**2).sum() / 2))
    assert row.lost_db == pytest.approx(50 - row.sqnr_db)


def test_what_cannot_be_compared_is_refused(trained, tmp_path):
    float_file, quantized = trained.files["float32"], trained.files["static_wi8_ai8"]
    with pytest.raises(InputError, match=r"images must be \(n, 32, 32, 3\); got \(2, 16, 16, 3\)"):
        diagnose(float_file, quantized, np.zeros((2, 16, 16, 3), "float32"))
    with pytest.raises(InputError, match="needs at least one image; got none"):
        diagnose(float_file, quantized, np.zeros((0, 32, 32, 3), "float32"))
    convolutions = [keras.layers.Conv2D(4, 3) for _ in range(3)]
    other = keras.Sequential([keras.Input((32, 32, 3)), *convolutions])
    (tmp_path / "other.tflite").write_bytes(to_tflite(other).content)
    with pytest.raises(InputError, match="most of its tensors have other names"):
        diagnose(float_file, tmp_path / "other.tflite", trained.images[:1])
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(quantized.read_bytes()[:5000])
    with pytest.raises(InputError, match="is damaged or cut short"):
        diagnose(float_file, cut, trained.images[:1])
