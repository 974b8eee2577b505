"""A file is unpacked once, whatever is asked of it, and what is edited is a copy."""

from collections import Counter

import numpy as np

from keras_se.export import compare_all
from keras_se.export.quantization.recipe_detection import recipe_of
from keras_se.export.tflite import flatbuffer
from keras_se.export.tflite.model import TFLiteModel

FORMATS = ("float32", "float16", "dynamic_wi8_afp32", "static_wi8_ai8", "static_wi8_ai16")


def counted(monkeypatch):
    """Number of times that each content is unpacked in this process, from here on."""
    times = Counter()
    unpack = flatbuffer.unpack

    def count(content):
        times[content] += 1
        return unpack(content)

    monkeypatch.setattr(flatbuffer, "unpack", count)
    return times


def test_parity_of_five_files_unpacks_each_once(trained, monkeypatch):
    """Each runs on two engines, with the constants held; and the model's own float files no more often than they."""
    files = [trained.files[recipe] for recipe in FORMATS]
    times = counted(monkeypatch)
    rows = compare_all(trained.model, files, trained.images[:4], engines=["litert", "litert_reference"])
    assert [row.recipe for row in rows[::2]][:3] == list(FORMATS[:3])
    contents = [file.read_bytes() for file in files]
    assert [times.pop(content) for content in contents] == [1] * 5
    assert set(times.values()) <= {1}, "and no float file of the model twice"


def test_questions_unpack_once_and_edits_not_at_all(trained, monkeypatch):
    times = counted(monkeypatch)
    file = TFLiteModel(trained.files["static_wi8_ai8"].read_bytes())
    assert times == {}, "nothing was asked"
    assert (file.input_shape, file.output_shape, file.io_counts) == ((1, 32, 32, 3), (1, 10), (1, 1))
    assert recipe_of(file).name == "static_wi8_ai8"
    assert file.without_softmax is file.without_softmax
    assert file.editable() is not file.editable()
    assert times == {file.content: 1}


def test_an_edit_leaves_the_file_as_it_was(trained):
    file = TFLiteModel(trained.files["static_wi8_ai8"].read_bytes())
    edited = file.editable()
    edited.subgraphs[0].operators.pop()
    edited.subgraphs[0].tensors[0].name = b"renamed"
    edited.subgraphs[0].tensors[0].quantization.scale = np.array([7.0], "float32")
    edited.buffers.append(flatbuffer.schema.BufferT())
    assert flatbuffer.pack(file.unpacked) == flatbuffer.pack(flatbuffer.unpack(file.content))
    assert flatbuffer.pack(edited) != flatbuffer.pack(file.unpacked)


def test_files_of_the_same_bytes_are_equal(trained):
    content = trained.files["float32"].read_bytes()
    assert TFLiteModel(content) == TFLiteModel(bytes(bytearray(content)))
    assert len({TFLiteModel(content), TFLiteModel(content)}) == 1
