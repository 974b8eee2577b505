"""Content of a .tflite file, and the edits of it, against LiteRT's own reading."""

from collections import Counter

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from keras_se.errors import InputError
from keras_se.export import RECIPES
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.quantization.calibration import calibrate
from keras_se.export.tflite import flatbuffer
from keras_se.export.tflite.model import TFLiteModel


@pytest.mark.filterwarnings("ignore:.*experimental_preserve_all_tensors:UserWarning")
def test_the_quantizer_writes_behind_the_flatbuffer_and_we_inside():
    """Small networks never show this trap: TFLite Micro reads the one as empty weights."""
    from litert_quantizer.quantizer import Quantizer

    image = keras.Input((32, 32, 3))
    float_file = to_tflite(keras.Model(image, keras.layers.Dense(512)(keras.layers.Flatten()(image))))
    ranges = calibrate(float_file, np.random.default_rng(0).random((2, 32, 32, 3), "float32"))
    quantizer = Quantizer(float_file.content, RECIPES["static_wi8_ai8"].rules(float_file))
    raw = bytes(quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False).quantized_model)
    outside = [buffer for buffer in flatbuffer.unpack(raw).buffers if buffer.offset > 1]
    assert sum(buffer.size for buffer in outside) > 1 << 20
    inlined = TFLiteModel(raw).inlined
    assert all(buffer.offset == buffer.size == 0 for buffer in inlined.unpacked.buffers)
    for content in (raw, inlined.content):
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
        [input_details], [output_details] = interpreter.get_input_details(), interpreter.get_output_details()
        interpreter.set_tensor(input_details["index"], np.full((1, 32, 32, 3), 7, "int8"))
        interpreter.invoke()
        outputs = interpreter.get_tensor(output_details["index"])
        if content is raw:
            expected = outputs.copy()
    np.testing.assert_array_equal(outputs, expected)


@pytest.mark.parametrize("network", ["trained", pytest.param("wide", marks=pytest.mark.slow)])
@pytest.mark.parametrize("recipe", RECIPES)
def test_constants_start_at_multiples_of_16(network, recipe, request):
    """The schema says force_align, and kernels may rely on it."""
    content = request.getfixturevalue(network).files[recipe].read_bytes()
    model = flatbuffer.schema.Model.GetRootAs(content, 0)
    starts = [
        model.Buffers(i)._tab.Vector(model.Buffers(i)._tab.Offset(4))
        for i in range(model.BuffersLength())
        if model.Buffers(i).DataLength()
    ]
    assert len(starts) > 40
    assert all(start % 16 == 0 for start in starts)


def test_the_census_is_what_litert_counts(trained):
    content = trained.files["static_wi8_ai8"].read_bytes()
    interpreter = Interpreter(model_content=content)
    counted = Counter(operation["op_name"] for operation in interpreter._get_ops_details())
    assert TFLiteModel(content).operation_counts == dict(counted)
    assert TFLiteModel(content).operation_counts["MUL"] == 13, "one for each block's SE"


def test_without_softmax_ends_in_the_logits(trained):
    content = trained.files["float32"].read_bytes()
    cut = TFLiteModel(content).without_softmax
    kept, left = TFLiteModel(content).operation_counts, cut.operation_counts
    assert kept.pop("SOFTMAX") == 1
    assert left == kept
    outputs = {}
    for name, file in (("probabilities", content), ("logits", cut.content)):
        interpreter = Interpreter(model_content=file)
        runner = interpreter.get_signature_runner()
        [input_details] = runner.get_input_details()
        [outputs[name]] = runner(**{input_details: trained.images[:1]}).values()
    exponents = np.exp(outputs["logits"] - outputs["logits"].max())
    np.testing.assert_allclose(outputs["probabilities"], exponents / exponents.sum(), atol=1e-6)  # float32 exp


def test_a_file_without_softmax_stays_as_it_is(trained):
    cut = TFLiteModel(trained.files["float32"].read_bytes()).without_softmax
    assert cut.without_softmax == cut


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda whole: b"", "is not a .tflite file"),
        (lambda whole: b"not a model at all", "is not a .tflite file"),
        (lambda whole: whole[: len(whole) // 2], "is damaged or cut short"),
    ],
)
def test_a_damaged_file_is_refused(trained, tmp_path, content, message):
    path = tmp_path / "damaged.tflite"
    path.write_bytes(content(trained.files["static_wi8_ai8"].read_bytes()))
    with pytest.raises(InputError, match=message):
        TFLiteModel.load(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        TFLiteModel.load(tmp_path / "missing.tflite")
