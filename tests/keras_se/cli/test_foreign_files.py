"""Files that somebody else made, with an operation that is in no schema, through bench, diagnose and parity."""

import keras
import numpy as np
import pytest
from flatbuffers import flexbuffers
from keras import layers

from command_answers import document, refusal
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.quantization.calibration import calibrate
from keras_se.export.quantization.quantizer import quantize
from keras_se.export.quantization.recipes import RECIPES
from keras_se.export.tflite.flatbuffer import schema
from keras_se.export.tflite.graph_edits import add_constant, new_operation
from keras_se.export.tflite.io_types import with_float_output
from keras_se.export.tflite.model import TFLiteModel

BOXES = 16
OPTIONS = {
    **{"max_detections": 10, "max_classes_per_detection": 1, "detections_per_class": 10, "num_classes": 2},
    **{"use_regular_nms": False, "nms_score_threshold": -100.0, "nms_iou_threshold": 0.6},
    **{"y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0},
}
IMAGES = ("--data", "digits", "--images", "20")
PIXELS = ("--input-range", "0", "1")


def detector(file, outputs):
    """Put the detector's last operation, which LiteRT knows by its name alone, behind 4 coordinates and 3 scores."""
    model = with_float_output(file).editable()
    [graph] = model.subgraphs
    [out] = map(int, graph.outputs)

    def tensor(name, *shape):
        new = schema.TensorT()
        new.name, new.shape, new.hasRank, new.buffer = name.encode(), np.array(shape, np.int32), True, 0
        graph.tensors.append(new)
        return len(graph.tensors) - 1

    def sliced(name, begin, width):
        ends = [np.array([0, 0, begin], np.int32), np.array([1, BOXES, width], np.int32)]
        reads = [out, *(add_constant(model, f"{name}/{number}", end) for number, end in enumerate(ends))]
        graph.operators.append(new_operation(model, schema.BuiltinOperator.SLICE, reads, tensor(name, 1, BOXES, width)))
        return int(graph.operators[-1].outputs[0])

    reads = [sliced("boxes", 0, 4), sliced("scores", 4, 3)]
    reads.append(add_constant(model, "anchors", np.random.default_rng(0).random((BOXES, 4), "float32")))
    gives = [tensor(f"detected/{name}", 1, 10, *rest) for name, *rest in (("boxes", 4), ("classes",), ("scores",))]
    operation = new_operation(model, schema.BuiltinOperator.CUSTOM, reads, out)
    model.operatorCodes[operation.opcodeIndex].customCode = b"TFLite_Detection_PostProcess"
    operation.outputs = np.array([*gives, tensor("detected/count", 1)], np.int32)
    operation.customOptions = np.frombuffer(bytes(flexbuffers.Dumps(OPTIONS)), np.uint8)
    graph.operators.append(operation)
    graph.outputs, model.signatureDefs = operation.outputs[outputs], []
    return TFLiteModel.packed(model)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A float and an int8 file that give the scores of ten detections, and one that gives four tensors."""
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3))
    maps = layers.Conv2D(7, 2, 2, name="head")(layers.Conv2D(8, 3, 4, activation="relu", name="stem")(image))
    file = to_tflite(keras.Model(image, layers.Reshape((BOXES, 7))(maps), name="detector"))
    images = np.random.default_rng(0).random((8, 32, 32, 3), "float32")
    folder = tmp_path_factory.mktemp("foreign")
    quantized = quantize(file, RECIPES["static_wi8_ai8"], calibrate(file, images))
    made = {"float": detector(file, slice(2, 3)), "int8": detector(quantized, slice(2, 3))}
    made["four"] = detector(file, slice(None))
    for name, content in made.items():
        (folder / f"{name}.tflite").write_bytes(content.content)
    return {name: str(folder / f"{name}.tflite") for name in made}


def test_bench_runs_it_on_each_engine(files, capsys):
    rows = document(capsys, "bench", *files.values(), "--engines", "litert", "litert_reference", "tflm", "--runs", "2")
    assert [row["engine"] for row in rows] == 3 * ["litert", "litert_reference", "tflm"]
    assert all(row["median_ms"] > 0 and row["arena_bytes"] for row in rows)


def test_diagnosis_reaches_the_outputs_of_the_unknown_operation(files, capsys):
    rows = document(capsys, "diagnose", files["float"], files["int8"], *IMAGES)
    operations = {row["tensor"]: row["operation"] for row in rows}
    assert operations["detected/scores"] == "CUSTOM"
    [scores] = [row for row in rows if row["tensor"] == "detected/scores"]
    assert 20 < scores["sqnr_db"] < 60


def test_two_files_are_held_to_the_rougher_one(files, capsys):
    rows = document(capsys, "parity", files["float"], files["int8"], *IMAGES, *PIXELS)
    assert {(row["reference"], row["verdict"]) for row in rows} == {("litert_reference", "pass")}
    assert all(20 < row["sqnr_db"] < 60 for row in rows)
    the_other_way = document(capsys, "parity", files["int8"], files["float"], *IMAGES, *PIXELS)
    assert [row["tolerance"] for row in the_other_way] == [row["tolerance"] for row in rows]


def test_one_file_on_two_engines(files, capsys):
    arguments = ("parity", files["int8"], files["int8"], *IMAGES, *PIXELS, "--engines", "litert_reference", "litert")
    rows = document(capsys, *arguments, "--reference-engine", "litert")
    assert {(row["reference"], row["verdict"]) for row in rows} == {("litert", "pass")}
    assert [row["max_abs"] for row in rows if row["engine"] == "litert"] == [0.0]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("float", "int8"), ("nothing says what", "float.tflite takes for a pixel", "say --input-range")),
        (("four", "four", *PIXELS), ("four.tflite must take one image and give one output; it has 1 and 4",)),
        (("float", "int8", *PIXELS, "--reference-engine", "onnx"), ("engine must be one of", "got 'onnx'")),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(arguments, parts, files, capsys):
    first, second, *options = arguments
    line = refusal(capsys, "parity", files[first], files[second], *IMAGES, *options)
    assert all(part in line for part in parts)
