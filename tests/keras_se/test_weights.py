"""Weights of timm's networks: the same logits, their preprocessing, what is refused, and the way back.

The oracle is timm itself: golden/make_timm_golden.py has had tiny networks of its code answer two images.
"""

import dataclasses
import functools
import hashlib
import json
import logging
import math
import pickle
import re
from pathlib import Path

import huggingface_hub
import keras
import numpy as np
import pytest
from huggingface_hub import errors
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save, save_file

import keras_se
from keras_se import registry
from keras_se.errors import InputError
from keras_se.export import export
from keras_se.layers.image_input import initial_weights_of
from keras_se.models.mobilenet_v3 import Bneck, MobileNetV3
from keras_se.models.resnet import Conv, ResNet
from keras_se.preprocessing import RECORD, Preprocessing, preprocessing_of
from keras_se.weights.loading import find_weights
from keras_se.weights.state_dict import tensors
from keras_se.weights.timm_mapping import ARCHITECTURES, DIALECTS, PUBLISHED, architecture_of, best_weights

GOLDEN = Path(__file__).parents[1] / "golden"
ANSWERS = load_file(GOLDEN / "answers.safetensors")
CLASSES = 7
COMMIT = "0123456789" * 4

MOBILENET = MobileNetV3(
    (
        Bneck(3, 16, 16, True, "relu", 2),
        Bneck(3, 24, 8, False, "relu", 2),
        Bneck(3, 16, 8, False, "relu", 1),
        Bneck(5, 32, 16, True, "hard_swish", 2),
        Bneck(5, 32, 16, True, "hard_swish", 1),
    ),
    last=40,
    hidden=24,
)
BASIC = ResNet(bottleneck=False, depths=(2, 1, 1, 1), group_width=2)
BOTTLENECK = ResNet(bottleneck=True, depths=(2, 1, 1, 1), group_width=2, filters=8)
NEXT = ResNet(bottleneck=True, depths=(1, 1, 2, 1), groups=2, group_width=2, filters=8)
SENET = ResNet(bottleneck=True, depths=(1, 2, 1, 1), groups=4, group_width=2, filters=8, reduce=2, projection=3)
ROWS = {  # the networks of make_timm_golden.py as ours
    "seresnet18": BASIC,
    "seresnet50": BOTTLENECK,
    "seresnext50_32x4d": NEXT,
    "senet154": SENET._replace(stem=(Conv(3, 4, 2), Conv(3, 4, 1), Conv(3, 8, 1))),
    "legacy_seresnet18": BASIC,
    "legacy_seresnet50": BOTTLENECK,
    "legacy_seresnext50_32x4d": NEXT,
    "legacy_senet154": SENET._replace(groups=2, group_width=4, stem=(Conv(3, 64, 2), Conv(3, 64, 1), Conv(3, 8, 1))),
    "mobilenetv3_small_100": MOBILENET,
    "tf_mobilenetv3_small_100": MOBILENET,
}
PORTED = {"tf_mobilenetv3_small_100": {"padding": "same"}}  # no key of the file tells it from its twin


@pytest.fixture
def tiny(monkeypatch):
    """Makes the registry's model of a network of timm's as small as the golden one, and tells its name."""

    def shrink(name):
        model = ARCHITECTURES[name].model
        row, published = ROWS[name], registry._ENTRIES[model]
        se = published.se if isinstance(row, MobileNetV3) else dataclasses.replace(published.se, r=2)
        monkeypatch.setitem(registry._ENTRIES, model, published._replace(row=row, se=se))
        return model

    return shrink


def golden(name):
    return GOLDEN / f"{name}.safetensors"


def images(size="even"):
    return ANSWERS[f"images/{size}"].astype("float32") / 255


def create(model, weights, size="even", **arguments):
    shape = ANSWERS[f"images/{size}"].shape[1:]
    return keras_se.create_model(model, weights=weights, **{"input_shape": shape, **arguments})


@functools.cache
def network(name):
    """The golden network for the even images, made once; its row must be the registry's by then."""
    return create(ARCHITECTURES[name].model, golden(name), classifier_activation=None, **PORTED.get(name, {}))


def error_of(logits, expected):
    """The greatest difference over the greatest logit."""
    return np.abs(logits - expected).max() / np.abs(expected).max()


# The same function


@pytest.mark.parametrize("size", ["even", "odd"])
@pytest.mark.parametrize("name", ROWS)
def test_logits_are_timms(name, size, tiny):
    model = tiny(name)
    if size == "even":
        made = network(name)
    else:
        made = create(model, golden(name), size, classifier_activation=None, **PORTED.get(name, {}))
    assert error_of(made(images(size)), ANSWERS[f"{name}/{size}"]) < 1e-4  # float32 in another order: 1e-6 measured


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("seresnet18", {"stem_pool": "ceil"}),
        ("seresnet18", {"last_activation": "relu"}),
        ("seresnet50", {"stride_in": "1x1"}),
        ("seresnet50", {"padding": "same"}),
        ("senet154", {"padding": "same"}),
        ("legacy_seresnet18", {"last_activation": None}),
        ("legacy_seresnet50", {"stride_in": "3x3"}),
        ("legacy_senet154", {"stem_pool": "padded"}),
        ("mobilenetv3_small_100", {"padding": "same"}),
        ("tf_mobilenetv3_small_100", {"padding": "symmetric"}),
    ],
)
def test_the_golden_answers_tell_each_topology_from_its_neighbour(name, wrong, tiny):
    architecture = ARCHITECTURES[name]
    tiny(name)
    right = network(name)
    arguments = {**architecture.arguments, **wrong}
    other = create(architecture.model, None, classes=CLASSES, classifier_activation=None, **arguments)
    for layer in other.layers:
        if layer.weights:
            layer.set_weights(right.get_layer(layer.name).get_weights())
    assert error_of(other(images()), ANSWERS[f"{name}/even"]) > 1e-2


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * bool(re.search("1[05]", name))) for name in ARCHITECTURES]
)
def test_every_variable_of_the_whole_network_has_its_own_key(name):
    architecture = ARCHITECTURES[name]
    dialect = DIALECTS[architecture.dialect]
    with keras.StatelessScope(initialize_variables=False):
        model = keras_se.create_model(architecture.model, **architecture.arguments)
        found = list(tensors(model, dialect.names(registry.find(architecture.model).row), dialect))
    assert len({tensor.key for tensor in found}) == len(found) == len(model.weights)
    assert all(math.prod(tensor.shape) == math.prod(tensor.variable.shape) for tensor in found)
    assert any(tensor.key.startswith(dialect.mark) for tensor in found)


# Fine-tuning


@pytest.mark.parametrize("name", ["seresnet50", "legacy_seresnet50", "mobilenetv3_small_100"])
def test_other_classes_keep_the_backbone_and_name_the_head_that_is_replaced(name, tiny, caplog):
    model = tiny(name)
    whole = network(name)
    with caplog.at_level(logging.WARNING, "keras_se"):
        tuned = create(model, golden(name), classes=3)
    (message,) = (record.getMessage() for record in caplog.records)
    head = DIALECTS[ARCHITECTURES[name].dialect].head[-1]
    assert f"its classifier {head}, of 7 classes, is replaced by one of 3" in message
    assert tuned.output_shape == (None, 3)
    for ours, theirs in zip(tuned.get_weights()[:-2], whole.get_weights()[:-2], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert np.all(tuned.get_layer("logits").bias == 0)


@pytest.mark.parametrize("name", ["seresnet50", "mobilenetv3_small_100"])
def test_without_the_top_the_backbone_loads_and_nothing_is_said(name, tiny, caplog):
    model = tiny(name)
    features = create(model, golden(name), include_top=False, pooling="avg")
    whole = network(name)
    pooled = keras.Model(whole.input, whole.get_layer("avg_pool").output)
    np.testing.assert_array_equal(features(images()), pooled(images()))
    assert not caplog.records


def test_classes_are_the_checkpoints_unless_asked_otherwise(tiny):
    tiny("seresnet18")
    assert network("seresnet18").output_shape == (None, CLASSES)


# What is refused


def loaded(name, tiny):
    model = tiny(name)
    return create(model, golden(name)), find_weights(model, golden(name), {}), ROWS[name]


@pytest.mark.parametrize("name", ["seresnet50", "legacy_senet154", "mobilenetv3_small_100"])
def test_any_key_that_is_missing_left_over_or_misshapen_is_named(name, tiny):
    """And nothing has been written into the model by then."""
    model, weights, row = loaded(name, tiny)
    before = model.get_weights()
    keys = sorted(key for key in weights.shapes if not key.endswith("num_batches_tracked"))

    def refused(shapes):
        with pytest.raises(InputError) as refusal:
            dataclasses.replace(weights, shapes=shapes).load(model, row)
        return str(refusal.value)

    @settings(max_examples=40, deadline=None)
    @given(st.sampled_from(keys), st.sampled_from(["missing", "left over", "misshapen"]))
    def check(key, fault):
        shapes = dict(weights.shapes)
        shape = shapes.pop(key)
        if fault == "missing":
            assert refused(shapes).endswith(f"it lacks {key}")
        elif fault == "left over":
            other = key.replace(".", ".9.", 1)
            assert refused({**weights.shapes, other: shape}).endswith(f"nothing takes its {other}")
        else:
            wrong = (*shape[:-1], shape[-1] + 1)
            assert f"{key} must have the shape {shape}; got {wrong}" in refused({**shapes, key: wrong})

    check()
    for ours, earlier in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, earlier)


def test_batch_counts_are_neither_missed_nor_left_over(tiny, tmp_path):
    state = load_file(golden("seresnet18"))
    path = tmp_path / "weights.safetensors"
    save_file({key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}, path)
    model = tiny("seresnet18")
    with_counts, without = network("seresnet18"), create(model, path)
    for one, other in zip(with_counts.get_weights(), without.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("layer2.0.se.fc1.bias"), "it lacks layer2.0.se.fc1.bias"),
        (lambda state: state.update({"layer9.conv.weight": state["fc.bias"]}), "nothing takes its layer9.conv.weight"),
        (
            lambda state: state.update({"bn1.bias": np.zeros(9, "float32")}),
            r"bn1.bias must have the shape \(64,\); got",
        ),
        (lambda state: state.update({"bn1.bias": np.zeros(64, "int32")}), "bn1.bias must be of F16, F32, F64; got I32"),
        (lambda state: [state.pop("fc.weight"), state.pop("fc.bias")], "it lacks fc.weight and 1 more"),
        (lambda state: state.pop("fc.bias"), "it lacks fc.bias"),
    ],
)
def test_a_damaged_file_is_refused_with_the_key(change, message, tiny, tmp_path):
    state = load_file(golden("seresnet18"))
    change(state)
    save_file(state, tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match=message):
        create(tiny("seresnet18"), tmp_path / "weights.safetensors")


WHOLE = golden("tf_mobilenetv3_small_100").read_bytes()
HEADER_END = 8 + int.from_bytes(WHOLE[:8], "little")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(WHOLE) - 1))
def test_a_file_cut_anywhere_is_refused_with_the_key_where_it_ends(tmp_path_factory, length):
    path = tmp_path_factory.mktemp("cut") / "weights.safetensors"
    path.write_bytes(WHOLE[:length])
    with pytest.raises(InputError) as refusal:
        find_weights("mobilenet_v3_small", path, {})
    if length >= HEADER_END:
        header = json.loads(WHOLE[8:HEADER_END])
        key = str(refusal.value).partition("before the end of ")[2].partition(";")[0]
        begin, end = header[key]["data_offsets"]
        assert begin <= length - HEADER_END < end


def test_a_flipped_byte_of_the_header_loads_the_very_weights_or_is_refused_with_the_file(tiny, tmp_path):
    """Where it is refused, nothing has been written into the model by then."""
    name = "tf_mobilenetv3_small_100"
    model, _, row = loaded(name, tiny)
    right = model.get_weights()
    zeros = [np.zeros_like(one) for one in right]
    path = tmp_path / "weights.safetensors"
    model.set_weights(zeros)

    def refusal():
        try:
            find_weights(ARCHITECTURES[name].model, path, {}).load(model, row)
        except InputError as error:
            return str(error)
        return None

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, HEADER_END - 1), st.integers(1, 255))
    def check(place, flip):
        content = bytearray(WHOLE)
        content[place] ^= flip
        path.write_bytes(content)
        refused = refusal()
        assert refused is None or str(path) in refused
        for ours, expected in zip(model.get_weights(), right if refused is None else zeros, strict=True):
            np.testing.assert_array_equal(ours, expected)
        if refused is None:
            model.set_weights(zeros)

    check()


@pytest.mark.parametrize(
    ("file", "model", "message"),
    [
        ("seresnet50", "seresnet18", r"it lacks layer1\.0\.downsample|must have|nothing takes its layer"),
        ("seresnet18", "seresnet50", r"it lacks layer1\.0\.conv3\.weight and"),
        ("seresnext50_32x4d", "seresnet50", r"it lacks layer1\.1\.conv1\.weight and"),
        ("legacy_senet154", "legacy_seresnet50", r"it lacks layer1\.0\.downsample\.0\.weight and"),
        ("mobilenetv3_small_100", "seresnet50", "has conv_stem.weight, as only mobilenet_v3_large, mobilenet_v3_small"),
        ("seresnet50", "mobilenetv3_small_100", "has conv1.weight, as only .* have; got model 'mobilenet_v3_small'"),
    ],
)
def test_a_checkpoint_of_another_network_is_refused_with_a_key(file, model, message, tiny):
    with pytest.raises(InputError, match=message):
        create(tiny(model), golden(file))


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        ("se_vgg16", golden("seresnet50"), "has conv1.weight, as only se_resnet101, .* have; got"),
        ("se_resnet50", "missing.safetensors", "weights must be a file, .*timm/NAME; got 'missing.safetensors'"),
        ("se_resnet50", "timm/resnet50.a1_in1k", "weights must be one of timm/seresnet50.a1_in1k, "),
        ("se_resnet18", "timm/seresnet50.a1_in1k", "are weights of se_resnet50; got model 'se_resnet18'"),
        (
            "se_resnet50",
            "timm/seresnet50.a1_in1k@main",
            "40 digits of a commit, .*; got 'timm/seresnet50.a1_in1k@main'",
        ),
        ("se_vgg16", "imagenet", "'imagenet' are published for se_resnet50, .*; got model 'se_vgg16'"),
    ],
)
def test_what_is_no_weights_of_the_model_is_refused_with_the_rule(model, weights, message):
    with pytest.raises(InputError, match=message):
        keras_se.create_model(model, weights=weights)


def test_a_file_of_unknown_keys_is_refused_with_one(tmp_path):
    save_file({"encoder.weight": np.zeros(3, "float32")}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"of no network known here: nothing takes its encoder\.weight"):
        keras_se.create_model("se_resnet50", weights=tmp_path / "other.safetensors")


@pytest.mark.parametrize("suffix", [".bin", ".pth", ".pt", ".pkl", ".ckpt", ".safetensors", ".weights.h5"])
def test_nothing_is_ever_unpickled(suffix, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    path = tmp_path / f"weights{suffix}"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises((ValueError, OSError)) as refusal:
        keras_se.create_model("mobilenet_v3_small", weights=path, input_shape=(32, 32, 3))
    assert not (tmp_path / "exploded").exists()
    if suffix not in (".safetensors", ".weights.h5"):
        assert "nothing is unpickled here" in str(refusal.value)
        assert "safetensors.torch.save_file(torch.load(PATH, weights_only=True)" in str(refusal.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stem_pool": "ceil"}, "weights of seresnet50 take stem_pool='padded'; got stem_pool='ceil'"),
        ({"stride_in": "1x1"}, "weights of seresnet50 take stride_in='3x3'; got stride_in='1x1'"),
        ({"se_divisor": 1}, "weights of seresnet50 take se_divisor=8; got se_divisor=1"),
    ],
)
def test_arguments_that_would_make_the_weights_mean_something_else_are_refused(arguments, message, tiny):
    with pytest.raises(InputError, match=message):
        create(tiny("seresnet50"), golden("seresnet50"), **arguments)


def test_the_weights_own_arguments_may_be_said(tiny):
    model = create(tiny("seresnet18"), golden("seresnet18"), stem_pool="padded")
    assert model.get_layer("stem_pool_pad").padding == ((1, 1), (1, 1))


# The hub


class Hub:
    """`huggingface_hub` with one file in it; counts what it is asked."""

    def __init__(self, folder, content, *, named_by_hash, etag=None):
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.etag = self.sha256 if etag is None else etag
        self.file = folder / "snapshots" / "model.safetensors"
        blob = folder / (self.etag if named_by_hash else "copy")
        blob.write_bytes(content)
        self.file.parent.mkdir()
        self.file.symlink_to(blob)
        self.asked = []

    def model_info(self, repository):
        self.asked.append(repository)
        return huggingface_hub.ModelInfo(id=repository, sha=COMMIT)

    def hf_hub_download(self, repository, filename, *, revision):
        self.asked.append((repository, filename, revision))
        return str(self.file)

    def get_hf_file_metadata(self, url):
        self.asked.append(url)
        return huggingface_hub.HfFileMetadata(COMMIT, self.etag, url, None, None)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    def install(name, **arguments):
        made = Hub(tmp_path, golden(name).read_bytes(), **arguments)
        for function in ("model_info", "hf_hub_download", "get_hf_file_metadata"):
            monkeypatch.setattr(huggingface_hub, function, getattr(made, function))
        return made

    return install


def test_weights_of_the_hub_are_those_of_the_commit(hub, tiny):
    made = hub("seresnet50", named_by_hash=True)
    weights = f"timm/seresnet50.ra2_in1k@{COMMIT}"
    model = create(tiny("seresnet50"), weights, classifier_activation=None)
    assert error_of(model(images()), ANSWERS["seresnet50/even"]) < 1e-4
    assert made.asked == [("timm/seresnet50.ra2_in1k", "model.safetensors", COMMIT)]


def test_the_hub_is_asked_for_the_hash_where_the_cache_does_not_tell_it(hub, tiny):
    made = hub("seresnet50", named_by_hash=False)
    create(tiny("seresnet50"), f"timm/seresnet50.ra2_in1k@{COMMIT}")
    assert made.asked[1] == huggingface_hub.hf_hub_url("timm/seresnet50.ra2_in1k", "model.safetensors", revision=COMMIT)


def test_without_a_commit_the_hubs_current_one_is_fetched_and_recorded(hub, tiny, tmp_path):
    made = hub("seresnet50", named_by_hash=True)
    model = create(tiny("seresnet50"), "timm/seresnet50.ra2_in1k")
    repository = "timm/seresnet50.ra2_in1k"
    assert made.asked == [repository, (repository, "model.safetensors", COMMIT)]
    model.save(tmp_path / "model.keras")
    for one in (model, keras.models.load_model(tmp_path / "model.keras")):
        origin = initial_weights_of(one)
        assert (origin["weights"], origin["sha256"]) == (f"{repository}@{COMMIT}", made.sha256)
        assert origin["arguments"] == ARCHITECTURES["seresnet50"].arguments
    record = keras_se.save_record(model, tmp_path / "model.keras")
    assert json.loads(record.read_text())["weights"]["weights"] == f"{repository}@{COMMIT}"


def test_imagenet_is_the_most_accurate_of_a_models_weights(hub, tiny):
    made = hub("seresnet50", named_by_hash=True)
    create(tiny("seresnet50"), "imagenet")
    assert made.asked[0] == "timm/seresnet50.ra2_in1k"  # 81.284 %; a1 81.102, a2 81.106, a3 77.028, legacy 77.644
    having = set(keras_se.list_models(pretrained=True))
    assert all(best_weights(model) in keras_se.list_weights(model) for model in having)
    assert having.isdisjoint(keras_se.list_models(pretrained=False))
    assert having | set(keras_se.list_models(pretrained=False)) == set(keras_se.list_models())


@pytest.mark.parametrize("named_by_hash", [True, False])
def test_another_hash_is_refused(named_by_hash, hub):
    made = hub("seresnet50", named_by_hash=named_by_hash, etag="0" * 64)
    with pytest.raises(InputError, match=f"must have the sha256 {'0' * 64}; got {made.sha256}; remove it"):
        keras_se.create_model("se_resnet50", weights=f"timm/seresnet50.ra2_in1k@{COMMIT}")


def test_the_tables_own_commit_and_hash_need_not_be_said_and_go_before_the_hubs(hub, monkeypatch):
    made = hub("seresnet50", named_by_hash=True)
    row = PUBLISHED["seresnet50.ra2_in1k"]._replace(revision=COMMIT, sha256="1" * 64)
    monkeypatch.setitem(PUBLISHED, "seresnet50.ra2_in1k", row)
    with pytest.raises(InputError, match=f"must have the sha256 {'1' * 64}; got {made.sha256}"):
        keras_se.create_model("se_resnet50", weights="timm/seresnet50.ra2_in1k")
    assert made.asked == [("timm/seresnet50.ra2_in1k", "model.safetensors", COMMIT)]


def test_a_file_of_another_network_in_the_hub_is_refused_with_a_key(hub, tiny):
    tiny("seresnet50")
    hub("mobilenetv3_small_100", named_by_hash=True)
    with pytest.raises(InputError, match=r"no checkpoint of seresnet50 .* it lacks conv1.weight and"):
        keras_se.create_model("se_resnet50", weights=f"timm/seresnet50.ra2_in1k@{COMMIT}")


def test_offline_what_is_not_cached_is_refused_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError) as refusal:
        keras_se.create_model("se_resnet50", weights=f"timm/seresnet50.ra2_in1k@{COMMIT}")
    expected = (
        f"cannot fetch model.safetensors of timm/seresnet50.ra2_in1k@{COMMIT}: it is not in the cache, and the hub is "
        "not reached (is HF_HUB_OFFLINE set?); or pass the path of a copy"
    )
    assert str(refusal.value) == expected


def test_offline_what_is_cached_loads_with_its_hash_checked(monkeypatch, tmp_path, tiny):
    """The cache as huggingface-hub lays it out: a snapshot's file is a link to a blob named by the hash."""
    repository = tmp_path / "models--timm--seresnet50.ra2_in1k"
    content = golden("seresnet50").read_bytes()
    blob = repository / "blobs" / hashlib.sha256(content).hexdigest()
    link = repository / "snapshots" / COMMIT / "model.safetensors"
    for file in (blob, link):
        file.parent.mkdir(parents=True)
    blob.write_bytes(content)
    link.symlink_to(blob)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    weights = f"timm/seresnet50.ra2_in1k@{COMMIT}"
    model = create(tiny("seresnet50"), weights)
    newest = create("se_resnet50", "timm/seresnet50.ra2_in1k")  # the hub cannot say what is current
    assert initial_weights_of(newest) == initial_weights_of(model)
    blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=f"must have the sha256 {blob.name}; got"):
        create("se_resnet50", weights)


def test_offline_without_a_cache_no_commit_is_known(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"of timm/seresnet50.ra2_in1k: no commit of it is in the cache, and the hub"):
        keras_se.create_model("se_resnet50", weights="timm/seresnet50.ra2_in1k")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.EntryNotFoundError("no"), "the commit has no such file"),
        (OSError("disk full\nmore"), "disk full; or"),
    ],
)
def test_what_the_hub_says_becomes_one_line(error, message, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(InputError, match=message) as refusal:
        keras_se.create_model("se_resnet50", weights=f"timm/seresnet50.ra2_in1k@{COMMIT}")
    assert "\n" not in str(refusal.value)


def test_without_huggingface_hub_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"huggingface_hub is not installed; pip install 'keras-se\[hub\]'"):
        keras_se.create_model("se_resnet50", weights=f"timm/seresnet50.ra2_in1k@{COMMIT}")


def test_list_weights_names_what_loads_into_a_model():
    assert keras_se.list_weights("senet154") == ["timm/senet154.gluon_in1k", "timm/legacy_senet154.in1k"]
    assert keras_se.list_weights("se_vgg16") == []
    assert all(architecture_of(name) in ARCHITECTURES for name in PUBLISHED)


# Preprocessing


IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def test_preprocessing_comes_with_the_weights(hub, tiny):
    hub("seresnet50", named_by_hash=True)
    weights = f"timm/seresnet50.a3_in1k@{COMMIT}"
    model = create(tiny("seresnet50"), weights, input_shape=None)
    assert model.input_shape == (None, 160, 160, 3)
    assert preprocessing_of(model) == Preprocessing(160, 160, 0.95, "bicubic", **IMAGENET)
    other = create("se_resnet50", weights, input_shape=(96, 64, 3))
    assert preprocessing_of(other) == Preprocessing(96, 64, 0.95, "bicubic", **IMAGENET)


def test_a_file_without_a_name_brings_what_its_network_is_usually_given(tiny):
    tiny("legacy_seresnet50")
    model = network("legacy_seresnet50")
    assert preprocessing_of(model) == Preprocessing(64, 48, 0.875, "bilinear", **IMAGENET)


def test_preprocessing_stays_with_a_saved_model_through_its_record(tiny, tmp_path):
    tiny("mobilenetv3_small_100")
    model = network("mobilenetv3_small_100")
    path = tmp_path / "model.keras"
    model.save(path)
    assert keras_se.save_record(model, path) == tmp_path / RECORD
    assert preprocessing_of(keras.models.load_model(path), path) == Preprocessing(64, 48, 0.875, "bicubic", **IMAGENET)


@pytest.mark.slow
def test_preprocessing_and_weights_reach_the_exported_manifest(tiny, tmp_path):
    tiny("mobilenetv3_small_100")
    (artifact,) = export(network("mobilenetv3_small_100"), tmp_path, recipes=("float32",))
    expected = Preprocessing(64, 48, 0.875, "bicubic", **IMAGENET)
    assert Preprocessing.from_dict(artifact.manifest["preprocessing"]) == expected
    path = golden("mobilenetv3_small_100")
    assert artifact.manifest["weights"]["weights"] == str(path)
    assert artifact.manifest["weights"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_record_of_another_preprocessing_is_not_overwritten(tiny, tmp_path):
    ours = create(tiny("seresnet18"), None)
    keras_se.save_record(ours, tmp_path / "model.keras")
    keras_se.save_record(ours, tmp_path / "again.keras")
    with pytest.raises(InputError, match="is of another preprocessing; choose another folder"):
        keras_se.save_record(create("se_resnet18", golden("seresnet18")), tmp_path / "other.keras")


# The way back


@pytest.mark.parametrize("name", ROWS)
def test_save_timm_writes_the_very_tensors_under_timms_names(name, tiny, tmp_path):
    tiny(name)
    assert keras_se.save_timm(network(name), tmp_path / "model.safetensors") == name
    wrote, read = load_file(tmp_path / "model.safetensors"), load_file(golden(name))
    assert wrote.keys() == read.keys()
    for key in read:
        if key.endswith("num_batches_tracked"):
            assert wrote[key].dtype == np.int64
        else:
            assert wrote[key].dtype == np.float32
            np.testing.assert_array_equal(wrote[key], read[key])


def test_what_save_timm_wrote_loads_again_with_its_preprocessing(tiny, tmp_path):
    """Its own record tells the ported MobileNetV3 from its twin."""
    path = tmp_path / "model.safetensors"
    model = create(tiny("tf_mobilenetv3_small_100"), None, classes=3)  # as we publish it: Keras's padding and epsilon
    assert keras_se.save_timm(model, path) == "tf_mobilenetv3_small_100"
    again = create("mobilenet_v3_small", path)
    np.testing.assert_array_equal(again(images()), model(images()))
    assert preprocessing_of(again) == preprocessing_of(model) == Preprocessing(64, 48)
    with safe_open(path, framework="numpy") as file:
        assert file.metadata()["format"] == "pt"
    with pytest.raises(
        InputError, match=r"is of mobilenet_v3_small \(tf_mobilenetv3_small_100\); got model 'senet154'"
    ):
        keras_se.create_model("senet154", weights=path)


def test_save_timm_takes_a_frozen_model_without_its_top_and_one_that_was_saved(tiny, tmp_path):
    model = create(tiny("seresnet50"), golden("seresnet50"), include_top=False)
    model.trainable = False
    model.save(tmp_path / "model.keras")
    for one in (model, keras.models.load_model(tmp_path / "model.keras")):
        assert keras_se.save_timm(one, tmp_path / "model.safetensors") == "seresnet50"
        assert "fc.weight" not in load_file(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("se_resnet18", {}, "no network of timm's computes what this se_resnet18 does; make it with stride_in='3x3'"),
        ("se_resnet18", {**ARCHITECTURES["seresnet18"].arguments, "gate": "hard_sigmoid"}, "no network of timm's"),
        ("se_resnet18", {**ARCHITECTURES["seresnet18"].arguments, "se_divisor": 16}, "no network of timm's"),
        ("se_mobilenet", {}, "timm has these of our models: se_resnet18, .*; got 'se_mobilenet'"),
    ],
)
def test_save_timm_refuses_what_timm_cannot_compute(model, arguments, message, tiny, tmp_path):
    if model == "se_resnet18":
        tiny("seresnet18")
    made = keras_se.create_model(model, input_shape=(32, 32, 3), classes=CLASSES, **arguments)
    with pytest.raises(InputError, match=message):
        keras_se.save_timm(made, tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_save_timm_knows_a_model_of_another_name_by_its_layers(tiny, tmp_path):
    for name in ("seresnet18", "legacy_seresnet18"):
        model = create(tiny(name), golden(name), model_name="left")
        assert keras_se.save_timm(model, tmp_path / "model.safetensors") == name


def test_save_timm_writes_safetensors_only(tiny, tmp_path):
    tiny("seresnet18")
    with pytest.raises(InputError, match=r"path must end in .safetensors; got .*model.pth"):
        keras_se.save_timm(network("seresnet18"), tmp_path / "model.pth")


def test_damaged_metadata_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(save(load_file(golden("seresnet50")), {"format": "pt", "preprocessing": "{}"}))
    with pytest.raises(InputError, match="has a damaged preprocessing in its metadata"):
        keras_se.create_model("se_resnet50", weights=path)
