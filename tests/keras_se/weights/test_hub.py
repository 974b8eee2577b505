"""Weights of the Hugging Face hub: commits, hashes, the cache, and what is said offline."""

import hashlib
import json

import huggingface_hub
import keras
import pytest
from huggingface_hub import errors

import keras_se
from keras_se.errors import InputError
from keras_se.layers.image_input import initial_weights_of
from keras_se.preprocessing import Preprocessing, preprocessing_of
from keras_se.weights.timm_mapping import ARCHITECTURES, PUBLISHED, best_weights
from timm_networks import ANSWERS, create, error_of, golden, images

COMMIT = "0123456789" * 4


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
        self.requests = []

    def model_info(self, repository):
        self.requests.append(repository)
        return huggingface_hub.ModelInfo(id=repository, sha=COMMIT)

    def hf_hub_download(self, repository, filename, *, revision):
        self.requests.append((repository, filename, revision))
        return str(self.file)

    def get_hf_file_metadata(self, url):
        self.requests.append(url)
        return huggingface_hub.HfFileMetadata(COMMIT, self.etag, url, None, None)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    def install(name, **arguments):
        fake = Hub(tmp_path, golden(name).read_bytes(), **arguments)
        for function in ("model_info", "hf_hub_download", "get_hf_file_metadata"):
            monkeypatch.setattr(huggingface_hub, function, getattr(fake, function))
        return fake

    return install


def test_weights_of_the_hub_are_those_of_the_commit(hub, tiny):
    fake = hub("seresnet50", named_by_hash=True)
    weights = f"timm/seresnet50.ra2_in1k@{COMMIT}"
    model = create(tiny("seresnet50"), weights, classifier_activation=None)
    assert error_of(model(images()), ANSWERS["seresnet50/even"]) < 1e-4
    assert fake.requests == [("timm/seresnet50.ra2_in1k", "model.safetensors", COMMIT)]


def test_the_hub_is_asked_for_the_hash_where_the_cache_does_not_tell_it(hub, tiny):
    fake = hub("seresnet50", named_by_hash=False)
    create(tiny("seresnet50"), f"timm/seresnet50.ra2_in1k@{COMMIT}")
    assert fake.requests[1] == huggingface_hub.hf_hub_url(
        "timm/seresnet50.ra2_in1k", "model.safetensors", revision=COMMIT
    )


def test_without_a_commit_the_hubs_current_one_is_fetched_and_recorded(hub, tiny, tmp_path):
    fake = hub("seresnet50", named_by_hash=True)
    model = create(tiny("seresnet50"), "timm/seresnet50.ra2_in1k")
    repository = "timm/seresnet50.ra2_in1k"
    assert fake.requests == [repository, (repository, "model.safetensors", COMMIT)]
    model.save(tmp_path / "model.keras")
    for saved in (model, keras.models.load_model(tmp_path / "model.keras")):
        origin = initial_weights_of(saved)
        assert (origin["weights"], origin["sha256"]) == (f"{repository}@{COMMIT}", fake.sha256)
        assert origin["arguments"] == ARCHITECTURES["seresnet50"].arguments
    record = keras_se.save_record(model, tmp_path / "model.keras")
    assert json.loads(record.read_text())["weights"]["weights"] == f"{repository}@{COMMIT}"


def test_imagenet_is_the_most_accurate_of_a_models_weights(hub, tiny):
    fake = hub("seresnet50", named_by_hash=True)
    create(tiny("seresnet50"), "imagenet")
    assert fake.requests[0] == "timm/seresnet50.ra2_in1k"  # 81.284 %; a1 81.102, a2 81.106, a3 77.028, legacy 77.644
    having = set(keras_se.list_models(pretrained=True))
    assert all(best_weights(model) in keras_se.list_weights(model) for model in having)
    assert having.isdisjoint(keras_se.list_models(pretrained=False))
    assert having | set(keras_se.list_models(pretrained=False)) == set(keras_se.list_models())


@pytest.mark.parametrize("named_by_hash", [True, False])
def test_another_hash_is_refused(named_by_hash, hub):
    fake = hub("seresnet50", named_by_hash=named_by_hash, etag="0" * 64)
    with pytest.raises(InputError, match=f"must have the sha256 {'0' * 64}; got {fake.sha256}; remove it"):
        keras_se.create_model("se_resnet50", weights=f"timm/seresnet50.ra2_in1k@{COMMIT}")


def test_the_tables_own_commit_and_hash_need_not_be_said_and_go_before_the_hubs(hub, monkeypatch):
    fake = hub("seresnet50", named_by_hash=True)
    row = PUBLISHED["seresnet50.ra2_in1k"]._replace(revision=COMMIT, sha256="1" * 64)
    monkeypatch.setitem(PUBLISHED, "seresnet50.ra2_in1k", row)
    with pytest.raises(InputError, match=f"must have the sha256 {'1' * 64}; got {fake.sha256}"):
        keras_se.create_model("se_resnet50", weights="timm/seresnet50.ra2_in1k")
    assert fake.requests == [("timm/seresnet50.ra2_in1k", "model.safetensors", COMMIT)]


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
    """Huggingface-hub's cache has links in a snapshot's place, to blobs named by the hash."""
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


IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def test_preprocessing_comes_with_the_weights(hub, tiny):
    hub("seresnet50", named_by_hash=True)
    weights = f"timm/seresnet50.a3_in1k@{COMMIT}"
    model = create(tiny("seresnet50"), weights, input_shape=None)
    assert model.input_shape == (None, 160, 160, 3)
    assert preprocessing_of(model) == Preprocessing(160, 160, 0.95, "bicubic", **IMAGENET)
    other = create("se_resnet50", weights, input_shape=(96, 64, 3))
    assert preprocessing_of(other) == Preprocessing(96, 64, 0.95, "bicubic", **IMAGENET)
