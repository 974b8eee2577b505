"""OpenVINO computes what the other engines do, from the file and from its own format."""

import sys

import flatbuffers
import numpy as np
import openvino
import pytest

from keras_se.errors import InputError
from keras_se.export import RECIPES, flatbuffer
from keras_se.export.engines import ENGINES, USUAL
from keras_se.export.openvino_ir import compiled, read
from keras_se.export.parity import compare_all
from keras_se.export.product import Content
from keras_se.export.targets import TARGETS
from keras_se.preprocessing import Preprocessing

INTEGER = [name for name, recipe in RECIPES.items() if recipe.calibrated and name != "static_wi8_ai16"]


@pytest.mark.parametrize(
    ("network", "recipe"),
    [
        pytest.param(network, recipe, marks=() if recipe == "static_wi8_ai8" else pytest.mark.slow)
        for network in ("trained", "wide")
        for recipe in INTEGER
    ],
)
def test_is_no_farther_from_the_reference_kernels_than_xnnpack(network, recipe, request):
    """Root mean square; a tenth is left for which of two equally good roundings a value takes."""
    exported = request.getfixturevalue(network)
    content = flatbuffer.without_softmax(exported.files[recipe].read_bytes())
    logits = {name: ENGINES[name].run(content, exported.images[:48]).values for name in ("openvino", "litert")}
    kernels = ENGINES["litert_reference"].run(content, exported.images[:48]).values
    distance = {name: np.sqrt(np.mean((got - kernels) ** 2)) for name, got in logits.items()}
    assert distance["openvino"] <= 1.1 * distance["litert"]


def test_its_own_format_computes_the_same(trained, tmp_path):
    content = trained.files["static_wi8_ai8"].read_bytes()
    part = Content(content, RECIPES["static_wi8_ai8"], "net", Preprocessing(32, 32), None)
    product = TARGETS["openvino"].finished(part)
    assert product.content == content
    assert product.manifest == {"openvino": openvino.__version__}
    for suffix, data in product.files.items():
        (tmp_path / f"net{suffix}").write_bytes(data)
    models = compiled(openvino.Core().read_model(tmp_path / "net.xml")), compiled(read(content))
    for image in np.round(255 * trained.images[:8] - 128).astype("int8"):
        first, second = (model([image[None]])[0] for model in models)
        np.testing.assert_array_equal(first, second)


def test_files_from_elsewhere_have_their_codes_in_one_place(trained):
    """Without the older field OpenVINO takes a DEQUANTIZE for an ADD; packing fills it."""
    model = flatbuffer.unpack(trained.files["float16"].read_bytes())
    for code in model.operatorCodes:
        assert code.deprecatedBuiltinCode == code.builtinCode
        code.deprecatedBuiltinCode = 0
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    bare = bytes(builder.Output())
    with pytest.raises(InputError, match=r"^OpenVINO cannot read the file .*; export it again$"):
        read(bare)
    read(flatbuffer.pack(flatbuffer.unpack(bare)))


def test_it_compares_files_only_where_it_is_named(trained):
    """It is in no extra that the others are in."""
    assert "openvino" not in USUAL
    rows = compare_all(trained.model, [trained.files["float32"]], trained.images[:4], engines=["openvino"])
    assert [row.engine for row in rows] == ["openvino"]


def test_without_openvino_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"^openvino is not installed; pip install 'keras-se\[openvino\]'$"):
        read(b"")
