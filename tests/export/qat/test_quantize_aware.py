"""A quantization-aware model and its int8 file compute the same."""

from typing import NamedTuple

import keras
import numpy as np
import pytest

import keras_se
from keras_se.errors import InputError
from keras_se.export import export, quantize_aware
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.conversion.lowering import lower
from keras_se.export.conversion.lowering_config import CONV_BEFORE_POOL, DECOMPOSED
from keras_se.export.manifest import lowering_of
from keras_se.export.mixed_precision import export_mixed_precision
from keras_se.export.qat.fake_quant import FakeQuantize, RoundedWeights
from keras_se.export.runtimes.keras_model import run_keras
from keras_se.export.runtimes.registry import find_engine
from keras_se.export.runtimes.tensors import each_images_tensors
from keras_se.export.tflite.constants import weight_error
from keras_se.export.tflite.model import TFLiteModel

# Rounding in the middle between two steps goes either way; a hundredth of a step is float32's share.
ONE_STEP = 1.01
RNG = np.random.default_rng(0)


class Tuned(NamedTuple):
    """A quantization-aware model that was trained on for some updates."""

    model: keras.Model
    before: list[np.ndarray]
    """Its weights before."""
    losses: list[float]
    """Of each epoch."""


@pytest.fixture(scope="module")
def tuned(trained) -> Tuned:
    model = quantize_aware(trained.model, calibration=trained.images[:50])
    before = [np.array(weight) for weight in model.get_weights()]
    return Tuned(model, before, fit(model, trained.images).history["loss"])


@pytest.fixture(scope="module")
def aware(tuned) -> keras.Model:
    """The trained network."""
    return tuned.model


def fit(model, images, epochs=2):
    """Some updates towards the classes that the model gives already."""
    labels = np.eye(model.output_shape[-1], dtype="float32")[model.predict(images, verbose=0).argmax(1)]
    # With momentum, ten times the rate, the network in float rises and falls by the order of the batches.
    model.compile(keras.optimizers.SGD(0.001), "categorical_crossentropy")
    return model.fit(images, labels, batch_size=16, epochs=epochs, shuffle=False, verbose=0)


@pytest.fixture(scope="module")
def int8(aware, tmp_path_factory):
    [artifact] = export(aware, tmp_path_factory.mktemp("aware"), recipes=("static_wi8_ai8",))
    return artifact


def logits(path, images, engine):
    return find_engine(engine).run(TFLiteModel.load(path).without_softmax.content, images)


def steps_apart(model, path, images, engine):
    got = logits(path, images, engine)
    return np.abs(got.values - run_keras(model, images).values) / got.lsb


@pytest.mark.parametrize("engine", ["litert", "litert_reference", "tflm"])
def test_logits_of_a_small_file_are_within_a_step(engine, randomise, tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    x = keras.layers.BatchNormalization()(keras.layers.DepthwiseConv2D(3, use_bias=False)(x))
    x = keras.layers.GlobalAveragePooling2D()(keras_se.SqueezeExcite(4)(keras.layers.ReLU()(x)))
    model = keras.Model(inputs, keras.layers.Dense(10)(x))
    randomise(model, 0)
    images = RNG.random((64, 16, 16, 3)).astype("float32")
    aware = quantize_aware(model, calibration=images)
    [artifact] = export(aware, tmp_path, recipes=("static_wi8_ai8",))
    assert steps_apart(aware, artifact.path, images, engine).max() <= ONE_STEP


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["litert", "litert_reference", "tflm"])
def test_a_deep_file_has_the_models_classes(aware, int8, trained, engine):
    """A step more or less in one of 92 operations becomes up to 26 of the logits' steps here; in the median, one."""
    got = logits(int8.path, trained.images, engine).values
    chosen = run_keras(aware, trained.images).values.argmax(1)
    assert np.mean(got[np.arange(len(got)), chosen] == got.max(1)) >= 0.995
    assert np.median(steps_apart(aware, int8.path, trained.images, engine)) <= ONE_STEP


def test_the_file_holds_integers_only(int8):
    assert set(TFLiteModel(int8.path.read_bytes()).dtype_counts) == {"INT8", "INT32"}
    assert int8.manifest["xnnpack_partitions"] == 1


def test_each_operation_is_within_a_step_on_the_same_inputs(aware, int8, trained):
    compared = operations_apart(aware, TFLiteModel(int8.path.read_bytes()), trained.images[:3])
    assert len(compared) == len(TFLiteModel(int8.path.read_bytes()).operation_names) - 1  # the softmax is not rounded
    assert {name: steps for name, steps in compared.items() if steps > ONE_STEP} == {}


def operations_apart(model, file, images):
    """By layer, the greatest difference in steps between the file's tensor and the model's, on the file's inputs."""
    names = activations(file)
    # Not what the quantizer rounds again for a concatenation.
    tensors = {"input": names[0]} | {layer_of(name): name for name in names[1:] if not name.endswith("_quantized")}
    nodes = [node for depth in model._nodes_by_depth.values() for node in depth]
    rounded = [node.output_tensors[0] for node in nodes if isinstance(node.operation, FakeQuantize)]
    parts = {}
    for output in rounded:
        layer, sources = rounded_layer(output), sources_of(entering(output))
        taken = [rounded_layer(source) for source in sources]
        if taken and {layer, *taken} <= tensors.keys():  # the converter gave some another name
            parts[layer] = output, sources, taken
    found = dict.fromkeys(parts, 0.0)
    for values in each_images_tensors(file.content, images, list(tensors.values()), resolver="BUILTIN_REF"):
        for layer, (output, sources, taken) in parts.items():
            got = values[tensors[layer]]
            known = {id(source): real(values[tensors[one]]) for source, one in zip(sources, taken, strict=True)}
            expected = np.asarray(computed(output, known))
            found[layer] = max(found[layer], float(np.abs(expected - real(got)).max() / got.scale))
    return found


def computed(tensor, known):
    """A tensor of a model from the values, by id, of those that it is computed from."""
    if id(tensor) in known:
        return known[id(tensor)]
    node = node_of(tensor)
    args, kwargs = node.arguments.fill_in({id(one): computed(one, known) for one in node.input_tensors})
    return node.operation(*args, **kwargs)


def node_of(tensor):
    """The call of a layer that gives a tensor."""
    origin = tensor._keras_history
    return origin.operation._inbound_nodes[origin.node_index]


def entering(rounded):
    """What a rounding makes a rounded tensor of."""
    [tensor] = node_of(rounded).input_tensors
    return tensor


def rounded_layer(tensor):
    """The layer that gives a rounded tensor; average pools share the rounding of what they read."""
    origin = tensor._keras_history
    if origin.node_index == 0:
        return origin.operation.name.removesuffix("_range")
    return entering(tensor)._keras_history.operation.name


def activations(file):
    graph = file.graph
    indices = [*graph.inputs, *(operator.outputs[0] for operator in graph.operators)]
    return [graph.tensors[index].name.decode() for index in indices]


def real(tensor):
    return ((tensor.values.astype("float64") - tensor.zero) * tensor.scale).astype("float32")


def layer_of(tensor):
    """The layer whose name a tensor of a file has, `model_1/LAYER_1/Operation;…`; None of the input."""
    parts = tensor.split(";")[0].split("/")
    return parts[1].removesuffix("_1") if len(parts) > 1 else None


def sources_of(tensor):
    """The rounded tensors that a tensor is computed from, with no rounding between."""
    layer = tensor._keras_history.operation
    if isinstance(layer, FakeQuantize):
        return [tensor]
    found = [source for one in keras.tree.flatten(layer.input) for source in sources_of(one)]
    return list({id(source): source for source in found}.values())


def test_ranges_and_weights_go_through_a_file(aware, int8, trained, tmp_path):
    aware.save(tmp_path / "aware.keras")
    again = keras.models.load_model(tmp_path / "aware.keras")
    np.testing.assert_array_equal(again(trained.images), aware(trained.images))
    [after] = export(tmp_path / "aware.keras", tmp_path, recipes=("static_wi8_ai8",))
    assert after.path.read_bytes() == int8.path.read_bytes()


def test_training_lowers_the_loss_and_moves_weights_and_ranges(tuned):
    model, before, losses = tuned
    assert losses[-1] < losses[0]
    ends = [layer.ends for layer in model.layers if isinstance(layer, FakeQuantize) and layer.learned]
    assert len(ends) > 60
    moved = [
        variable.path
        for variable, weight in zip(model.weights, before, strict=True)
        if not np.array_equal(variable, weight)
    ]
    assert sum("range" in path for path in moved) > 10
    assert sum("kernel" in path for path in moved) == sum("kernel" in variable.path for variable in model.weights)


def test_frozen_ranges_are_those_of_the_calibration(trained):
    model = quantize_aware(trained.model, calibration=trained.images[:20], learned=False)
    assert not [weight.path for weight in model.weights if "range" in weight.path]
    assert all(isinstance(layer, (FakeQuantize, RoundedWeights)) or not layer.weights for layer in model.layers)
    exact = keras.Model(trained.model.input, trained.model.get_layer("stem_act").output)
    assert model.get_layer("stem_act_range").range()[1] == pytest.approx(exact.predict(trained.images[:20]).max(), 1e-5)


def test_the_gate_has_256_steps_to_one_and_the_mean_a_range_of_its_own(aware):
    assert aware.get_layer("block1_se_expand_sigmoid_range").range() == (0.0, 255 / 256)
    mean, before = aware.get_layer("block1_se_squeeze_range"), aware.get_layer("block1_pointwise_act_range")
    assert mean.range()[1] < before.range()[1]


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_and_exports(policy, tmp_path):
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = keras_se.create_model("se_mobilenet", input_shape=(32, 32, 3), classes=4, alpha=0.1, r=2)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    images = RNG.random((16, 32, 32, 3)).astype("float32")
    aware = quantize_aware(model, calibration=images)
    assert np.isfinite(fit(aware, images).history["loss"]).all()
    computing = [layer.layer if isinstance(layer, RoundedWeights) else layer for layer in aware.layers]
    computing = [layer for layer in computing if layer.name not in ("image", "input_range")]
    assert {layer.compute_dtype for layer in computing} == {policy.removeprefix("mixed_")}
    [artifact] = export(aware, tmp_path, recipes=("static_wi8_ai8",))
    assert set(artifact.manifest["dtypes"]) == {"INT8", "INT32"}


def block_of_every_form(x):
    """Hard swishes with and without weights behind, hard and soft gates, which the forms write each in its way."""
    y = keras.layers.Conv2D(16, 3, padding="same", activation="hard_swish", name="stem")(x)
    y = keras_se.SqueezeExcite(4, gate="hard_sigmoid", name="hard_se")(y)
    y = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(16, 3, 2, name="conv")(y))
    y = keras.layers.Activation("hard_swish", name="swish")(y)
    y = keras.layers.Add(name="sum")([y, keras_se.SqueezeExcite(4, name="se")(y)])
    y = keras.layers.GlobalAveragePooling2D(name="mean")(y)
    y = keras.layers.Dense(16, activation="hard_swish", name="hidden")(y)
    y = keras.layers.Add(name="end")([y, keras.layers.Dense(16, name="other")(y)])
    return keras.layers.Dense(10, activation="softmax", name="logits")(y)


@pytest.mark.parametrize(("target", "lowering"), [("phone_cpu", DECOMPOSED), ("ethos_u55_128", CONV_BEFORE_POOL)])
def test_each_operation_of_a_targets_form_is_within_a_step(target, lowering, randomise, tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((20, 20, 3))
    model = keras.Model(inputs, block_of_every_form(inputs))
    randomise(model, 0)
    images = RNG.random((16, 20, 20, 3)).astype("float32")
    quantize_aware(model, calibration=images, target=target).save(tmp_path / "aware.keras")
    aware = keras.models.load_model(tmp_path / "aware.keras")
    [artifact] = export(aware, tmp_path, recipes=("static_wi8_ai8",))  # for another target than the second one
    content = TFLiteModel(artifact.path.read_bytes())
    assert set(artifact.manifest["dtypes"]) == {"INT8", "INT32"}
    assert ("AVERAGE_POOL_2D" in content.operation_counts) == (lowering == CONV_BEFORE_POOL)
    assert "HARD_SWISH" not in content.operation_counts
    compared = operations_apart(aware, content, images[:4])
    assert compared.keys() == set(map(layer_of, activations(content))) - {None}  # of input and softmax
    assert {one: steps for one, steps in compared.items() if steps > ONE_STEP} == {}
    # What parity and diagnose start from: the network in the form that the manifest tells has the file's tensors.
    assert lowering_of(artifact.path) == lowering
    original = to_tflite(lower(model, lowering))
    assert original.activation_names == activations(content)
    assert weight_error(original, content).steps < 0.51  # each constant is rounded once


NETWORKS = {
    "mobilenet_v3_small": {},
    "se_shufflenet": {},
    "se_bn_inception": {},
    "se_resnet20_cifar": {},
    "se_resnet164_cifar": {},
    "se_inception_resnet_v2": {"modules": (1, 1, 1)},
    "se_resnext50_32x4d": {"se_stages": (2,)},
    "se_vgg16": {},
}
PIXELS = {"se_inception_resnet_v2": 80}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_each_operation_of_other_networks_is_within_a_step(name, randomise, tmp_path):
    keras.utils.set_random_seed(0)
    size = PIXELS.get(name, 32)
    model = keras_se.create_model(name, input_shape=(size, size, 3), classes=10, **NETWORKS[name])
    randomise(model, 0)
    images = RNG.random((16, size, size, 3)).astype("float32")
    aware = quantize_aware(model, calibration=images)
    [artifact] = export(aware, tmp_path, recipes=("static_wi8_ai8",))
    content = TFLiteModel(artifact.path.read_bytes())
    assert set(artifact.manifest["dtypes"]) == {"INT8", "INT32"}
    assert name != "mobilenet_v3_small" or artifact.manifest["xnnpack_partitions"] == 1
    compared = operations_apart(aware, content, images[:2])
    assert len(compared) > 0.6 * len(content.operation_names)
    assert {one: steps for one, steps in compared.items() if steps > ONE_STEP} == {}


def images_of(pixels=8, number=8):
    return np.random.default_rng(0).random((number, pixels, pixels, 3), "float32")


TAKEN = {
    "Dropout": keras.layers.Dropout(0.5, name="odd"),
    "SpatialDropout2D": keras.layers.SpatialDropout2D(0.5, name="odd"),
    "GaussianNoise": keras.layers.GaussianNoise(0.1, name="odd"),
    "GaussianDropout": keras.layers.GaussianDropout(0.1, name="odd"),
    "ActivityRegularization": keras.layers.ActivityRegularization(name="odd"),
    "Identity": keras.layers.Identity(name="odd"),
    "Cropping2D": keras.layers.Cropping2D(1, name="odd"),
    "Rescaling": keras.layers.Rescaling(2.0, -1.0, name="odd"),
}


@pytest.mark.parametrize("layer", TAKEN.values(), ids=TAKEN)
def test_layers_of_one_function_at_inference_are_taken(on_images, layer, randomise, tmp_path):
    model = on_images(keras.layers.Conv2D(3, 3, padding="same", name="first"), layer)
    randomise(model, 0)
    images = images_of()
    aware = quantize_aware(model, calibration=images)
    [artifact] = export(aware, tmp_path, recipes=("static_wi8_ai8",))
    assert set(artifact.manifest["dtypes"]) == {"INT8", "INT32"}
    assert artifact.manifest["xnnpack_partitions"] == 1
    content = TFLiteModel(artifact.path.read_bytes())
    assert {one: steps for one, steps in operations_apart(aware, content, images[:4]).items() if steps > ONE_STEP} == {}


def test_other_formats_are_refused(aware, tmp_path):
    with pytest.raises(InputError, match="takes the recipe static_wi8_ai8 alone; got float32, float16"):
        export(aware, tmp_path / "out", recipes=("float32", "static_wi8_ai8", "float16"))
    assert not list(tmp_path.glob("out/*"))


def test_a_search_from_it_is_refused(aware, trained, tmp_path):
    with pytest.raises(InputError, match="a search starts from a float model"):
        export_mixed_precision(
            aware,
            tmp_path,
            max_drop=10,
            calibration=trained.images,
            images=trained.images,
            labels=np.zeros(100, "int32"),
        )


@pytest.mark.slow
def test_the_engine_tfmot_is_a_model_of_tf_keras(trained):
    """What it computes, and its file, tests/export/tfmot/test_tfmot.py holds to."""
    model = quantize_aware(trained.model, calibration=trained.images[:8], engine="tfmot")
    assert type(model).__module__.startswith("tf_keras")
    assert model.output_shape == trained.model.output_shape
