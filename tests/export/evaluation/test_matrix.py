"""Every network in every number format on every engine."""

import functools

import numpy as np
import pytest

from keras_se.export import RECIPES, compare, compare_all
from keras_se.export.runtimes.registry import DEFAULT_ENGINES, ENGINES
from keras_se.export.tflite import flatbuffer


def row(network, recipe, *engine):
    """The larger network takes minutes, and so does an engine that compiles each file for seconds."""
    costly = recipe not in ("float32", "static_wi8_ai8") and not set(engine) <= set(DEFAULT_ENGINES)
    return pytest.param(network, recipe, *engine, marks=pytest.mark.slow if network != "trained" or costly else ())


FILES = [row(network, recipe) for network in ("trained", "wide") for recipe in RECIPES]
RUNS = [
    row(network, recipe, name)
    for network in ("trained", "wide")
    for recipe in RECIPES
    for name, engine in ENGINES.items()
    if recipe not in engine.unsupported_recipes
]


@pytest.fixture(scope="module")
def parity_by_recipe(request):
    """Function of a network and an engine: all files at once, so that Keras computes the network once an engine."""

    @functools.cache
    def rows(network, engine):
        exported = request.getfixturevalue(network)
        files = [exported.files[recipe] for recipe in RECIPES if recipe not in ENGINES[engine].unsupported_recipes]
        return {row.recipe: row for row in compare_all(exported.model, files, exported.images[:48], engines=[engine])}

    return rows


@pytest.mark.parametrize(("network", "recipe", "engine"), RUNS)
def test_agrees_with_keras(network, recipe, engine, parity_by_recipe):
    parity = parity_by_recipe(network, engine)[recipe]
    assert (parity.engine, parity.reference) == (engine, "keras")
    assert parity.verdict == "pass", (parity.failures, parity.tolerance)


@pytest.mark.parametrize(("network", "recipe", "engine"), RUNS)
def test_agrees_with_the_reference_kernels(network, recipe, engine, request):
    exported = request.getfixturevalue(network)
    file = exported.files[recipe]
    parity = compare(file, file, exported.images[:48], engine=engine)
    assert parity.verdict == "pass", (parity.failures, parity.tolerance)


@pytest.mark.parametrize(
    ("network", "recipe"),
    # The rule is one for every recipe and width: the committed int8 file is held to it each time.
    [
        pytest.param(*file.values, marks=() if file.values == ("trained", "static_wi8_ai8") else pytest.mark.slow)
        for file in FILES
    ],
)
def test_one_wrong_weight_fails(network, recipe, request, tmp_path):
    """One of a million: the greatest of the first convolution with its sign turned."""
    exported = request.getfixturevalue(network)
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(with_one_wrong_weight(exported.files[recipe].read_bytes()))
    original = None if recipe == "float32" else exported.files["float32"]
    whole = compare(exported.model, exported.files[recipe], exported.images[:16], float_file=original)
    parity = compare(exported.model, broken, exported.images[:16], float_file=original)
    assert (whole.verdict, parity.verdict) == ("pass", "fail"), (whole.failures, parity.failures)


def with_one_wrong_weight(content: bytes) -> bytes:
    model = flatbuffer.unpack(content)
    [graph] = model.subgraphs
    codes = [model.operatorCodes[op.opcodeIndex].builtinCode for op in graph.operators]
    first = graph.operators[codes.index(flatbuffer.schema.BuiltinOperator.CONV_2D)]
    tensor = int(first.inputs[1])
    cast = [op for op in graph.operators if tensor in op.outputs]  # the DEQUANTIZE of a float16 file
    kernel = graph.tensors[int(cast[0].inputs[0]) if cast else tensor]
    types = flatbuffer.schema.TensorType
    dtype = {types.FLOAT32: "float32", types.FLOAT16: "float16", types.INT8: "int8"}[kernel.type]
    weights = np.frombuffer(model.buffers[kernel.buffer].data.tobytes(), dtype).copy()
    worst = np.argmax(np.abs(weights.astype("float32")))
    weights[worst] = -weights[worst]
    model.buffers[kernel.buffer].data = np.frombuffer(weights.tobytes(), np.uint8)
    return flatbuffer.pack(model)
