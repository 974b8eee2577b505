"""A phone's GPU gets float files of operations that its delegate takes, and no others."""

import keras
import pytest

import keras_se
from keras_se.errors import InputError
from keras_se.export import RECIPES, export
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.quantization.quantizer import quantize
from keras_se.export.targets.base import QuantizedModel
from keras_se.export.targets.phone_gpu import OPERATIONS
from keras_se.export.targets.registry import TARGETS
from keras_se.export.tflite.model import TFLiteModel
from keras_se.preprocessing import Preprocessing
from published_networks import NETWORKS

SMALL = ("se_resnet20_cifar",)


def packaged(content, recipe="float16"):
    return TARGETS["phone_gpu"].package_for_target(
        QuantizedModel(content, RECIPES[recipe], "net", Preprocessing(32, 32), None)
    )


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SMALL else pytest.mark.slow) for name in NETWORKS]
)
def test_every_network_passes(name):
    """Its operations do not depend on the image's size; the inceptions need some."""
    size = 96 if "inception" in name else 32
    content = to_tflite(keras_se.create_model(name, input_shape=(size, size, 3), classes=10))
    assert packaged(quantize(content, RECIPES["float16"])).file.content


@pytest.mark.parametrize(
    ("layer", "operation"),
    [(lambda x: keras.ops.flip(x, 3), "REVERSE_V2"), (lambda x: keras.ops.top_k(x, 2)[0], "TOPK_V2")],
)
def test_another_operation_is_refused_by_name(layer, operation, tmp_path):
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(layer(image)), name="odd")
    with pytest.raises(InputError, match=f"^phone_gpu runs .*; odd has {operation}; replace"):
        export(model, tmp_path / "out", recipes=["float32"], target="phone_gpu")
    assert not list((tmp_path / "out").glob("*"))


def test_five_dimensions_are_refused():
    image = keras.Input((8, 8, 3))
    shuffled = keras.layers.Permute((1, 2, 4, 3))(keras.layers.Reshape((8, 4, 2, 3))(image))
    content = to_tflite(keras.Model(image, keras.layers.Flatten()(shuffled)))
    with pytest.raises(InputError, match=r"^phone_gpu takes tensors of at most 4 dimensions; in net RESHAPE gives 5"):
        packaged(content, "float32")


@pytest.mark.parametrize("recipe", ["static_wi8_ai8", "dynamic_wi8_afp32"])
def test_integers_are_refused(recipe, tmp_path):
    model = keras.Sequential([keras.Input((4,))])  # no image: converting it would be refused in other words
    with pytest.raises(InputError, match=f"^phone_gpu cannot run {recipe}: a GPU computes in floats; leave it out$"):
        export(model, tmp_path, recipes=[recipe], target="phone_gpu")


def test_an_integer_file_is_refused_whatever_its_recipe(trained):
    """A search makes such files."""
    with pytest.raises(InputError, match=r"^phone_gpu computes in floats; in net CONV_2D gives INT8"):
        packaged(TFLiteModel(trained.files["static_wi8_ai8"].read_bytes()))


def test_each_operation_has_a_source():
    assert all("gpu" in source for source in OPERATIONS.values())
