"""Files for the Edge TPU: networks against Coral's rules, and what the compiler makes; a script plays it."""

import os
import re

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

import keras_se
from keras_se.errors import InputError
from keras_se.export import RECIPES, export
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.quantization.calibration import calibrate
from keras_se.export.quantization.quantizer import quantize
from keras_se.export.targets.base import QuantizedModel
from keras_se.export.targets.edgetpu_rules import lint, summary
from keras_se.export.targets.registry import TARGETS
from keras_se.export.tflite.model import TFLiteModel
from keras_se.preprocessing import Preprocessing, image_shape
from published_networks import NETWORKS


def test_the_trained_networks_int8_file_keeps_them_all(trained):
    assert lint(TFLiteModel(trained.files["static_wi8_ai8"].read_bytes())) == []
    for recipe in ("float32", "dynamic_wi8_afp32", "static_wi8_ai16"):
        assert lint(TFLiteModel(trained.files[recipe].read_bytes())), recipe


def test_a_network_that_breaks_one_is_refused_with_its_layer_and_the_rewrite(tmp_path):
    image = keras.Input((32, 32, 3))
    x = keras.ops.hard_swish(keras.layers.Conv2D(4, 3, name="stem")(image))  # one that is no layer's is not rewritten
    model = keras.Model(image, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x)), name="swish")
    images = np.random.default_rng(0).uniform(size=(4, 32, 32, 3)).astype("float32")
    with pytest.raises(InputError, match=r"^edgetpu wants an operation other than HARD_SWISH") as refused:
        export(model, tmp_path, recipes=["static_wi8_ai8"], target="edgetpu", calibration=images)
    assert re.search(r"\(HARD_SWISH at swish(_1)?/.*build and train it with relu or relu6 there", str(refused.value))
    assert not list(tmp_path.iterdir())


def test_mobilenet_v3_keeps_every_rule_in_the_targets_form(tmp_path, randomise):
    model = keras_se.create_model("mobilenet_v3_small", input_shape=(32, 32, 3), classes=4)
    randomise(model, 0)
    images = np.random.default_rng(0).uniform(size=(4, 32, 32, 3)).astype("float32")
    [artifact] = export(model, tmp_path, recipes=["static_wi8_ai8"], target="edgetpu", calibration=images)
    assert lint(TFLiteModel(artifact.path.read_bytes())) == []


def test_a_batch_and_other_types_are_refused_before_anything_is_made(trained, tmp_path):
    with pytest.raises(InputError, match=r"^edgetpu takes one image at a time; got a batch of 2"):
        export(trained.model, tmp_path, recipes=["static_wi8_ai8"], target="edgetpu", batch=2)
    with pytest.raises(InputError, match=r"^io is for the target edgetpu \(int8, uint8\); got 'float' for edgetpu"):
        export(trained.model, tmp_path, recipes=["static_wi8_ai8"], target="edgetpu", io="float")


@pytest.fixture
def package(trained):
    """Function that packages the trained network's int8 file for the target."""
    file = TFLiteModel(trained.files["static_wi8_ai8"].read_bytes())
    content = QuantizedModel(file, RECIPES["static_wi8_ai8"], "network", Preprocessing(32, 32), None)
    return lambda **fields: TARGETS["edgetpu"].package_for_target(content._replace(**fields))


COMPILED = """#!/bin/sh
[ "$1 $2" = "-s -o" ] || exit 9
(cat "$4"; echo compiled) > "$3/model_edgetpu.tflite"
echo 'Edge TPU Compiler version 16.0.384591198'
echo 'Number of operations that will run on Edge TPU: 95'
echo 'Number of operations that will run on CPU: 2'
"""
FAILED = """#!/bin/sh
echo 'Edge TPU Compiler version 16.0.384591198'
echo 'Internal compiler error. Aborting!' >&2
exit 1
"""


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """Puts a script on PATH as the compiler."""

    def placed(script):
        path = tmp_path / "bin" / "edgetpu_compiler"
        path.parent.mkdir()
        path.write_text(script)
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")

    return placed


def test_without_its_compiler_the_manifest_says_so(package, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert package().manifest["edgetpu"] == {"compiled": False, "checked": "published rules only"}


def test_a_file_of_uint8_is_that_of_int8_behind_an_offset_of_128(package, trained):
    int8, uint8 = package().file, package(io="uint8").file
    assert (int8.io_types, uint8.io_types) == ((["INT8"], ["INT8"]), (["UINT8"], ["UINT8"]))
    assert lint(uint8) == []
    images = np.round(255 * trained.images[:8]).astype(np.uint8)
    of_int8 = raw_outputs(int8, (images.astype(np.int16) - 128).astype(np.int8))
    assert (raw_outputs(uint8, images) == of_int8.astype(np.int16) + 128).all()
    assert len(np.unique(of_int8)) > 8


def raw_outputs(file, images):
    """Integers that LiteRT's reference kernels give for integers."""
    interpreter = Interpreter(
        model_content=file.content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=2
    )
    interpreter.allocate_tensors()
    [taken], [given] = interpreter.get_input_details(), interpreter.get_output_details()
    outputs = []
    for image in images:
        interpreter.set_tensor(taken["index"], image[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(given["index"]))
    return np.concatenate(outputs)


def test_with_its_compiler_the_file_is_what_that_made(package, compiler):
    compiler(COMPILED)
    deliverable = package()
    assert deliverable.file.content.endswith(b"compiled\n")
    assert deliverable.manifest["edgetpu"] == {
        "compiled": True,
        "compiler": "16.0.384591198",
        "operations_on_edge_tpu": 95,
        "operations_on_cpu": 2,
    }


@pytest.mark.parametrize(
    ("script", "last"),
    [(FAILED, r"status 1 \(Internal compiler error. Aborting!\)"), ("#!/bin/sh\n", r"status 0 \(it said nothing\)")],
)
def test_a_compiler_that_makes_nothing_is_named_with_its_last_words(script, last, package, compiler):
    compiler(script)
    with pytest.raises(InputError, match=f"^edgetpu_compiler failed with {last}; run it by hand"):
        package()


NO_HARD_SWISH = "an operation other than HARD_SWISH"
VERDICTS = {"mobilenet_v3_small": {NO_HARD_SWISH}, "mobilenet_v3_large": {NO_HARD_SWISH}}  # of the others: none


def int8_file(name):
    """Return the int8 file of that network at its own size, untrained."""
    model = keras_se.create_model(name, classes=10)
    shape = image_shape(model)
    images = np.random.default_rng(0).uniform(size=(1, *shape)).astype("float32")
    float_file = to_tflite(model)
    return quantize(float_file, RECIPES["static_wi8_ai8"], calibrate(float_file, images))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_the_verdict_on_every_network(name):
    breaches = lint(int8_file(name))
    print(f"{name}: {summary(breaches) or 'keeps every rule'}")
    assert {breach.wants for breach in breaches} == VERDICTS.get(name, set())
