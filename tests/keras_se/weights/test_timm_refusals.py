"""Files and names that are no weights of the network: each is refused with the key, the file or the rule."""

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save, save_file

import keras_se
from keras_se.errors import InputError
from keras_se.weights.loading import find_weights
from keras_se.weights.timm_mapping import ARCHITECTURES
from timm_networks import ROWS, create, golden, network


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
    for weight, other in zip(with_counts.get_weights(), without.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


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


@pytest.mark.parametrize("offsets", ["[0]", '["0", "4"]', "[0, 3.5]", "[" * 2000 + "]" * 2000])
def test_a_header_of_other_offsets_is_refused(offsets, tmp_path):
    header = f'{{"conv_stem.weight": {{"dtype": "F32", "shape": [1], "data_offsets": {offsets}}}}}'.encode()
    path = tmp_path / "weights.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(InputError, match=r"is not a safetensors file, or cut short \(.*\); fetch it again$"):
        find_weights("mobilenet_v3_small", path, {})


def test_a_flipped_byte_of_the_header_loads_the_very_weights_or_is_refused_with_the_file(tiny, tmp_path):
    """Where it is refused, nothing has been written into the model by then."""
    name = "tf_mobilenetv3_small_100"
    model, _, row = loaded(name, tiny)
    right = model.get_weights()
    zeros = [np.zeros_like(weight) for weight in right]
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


def test_damaged_metadata_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(save(load_file(golden("seresnet50")), {"format": "pt", "preprocessing": "{}"}))
    with pytest.raises(InputError, match="has a damaged preprocessing in its metadata"):
        keras_se.create_model("se_resnet50", weights=path)
