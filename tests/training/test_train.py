"""A training run: its loss, its folder, its seed, and what it refuses."""

import dataclasses
import json
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_se.errors import InputError
from keras_se.preprocessing import Preprocessing, bring_preprocessing, preprocessing_of
from keras_se.registry import create_model
from keras_se.training import Recipe, train, trainer
from keras_se.training.data import sharding
from keras_se.training.data.sources import load_source
from keras_se.training.distribution.model import synchronize_batch_norm
from keras_se.training.distribution.strategy import make_devices

FLOAT32 = 1e-6  # relative: some roundings of 6e-8


def weights_of(path):
    return [variable.numpy() for variable in keras.models.load_model(path).variables]


@pytest.fixture(scope="module")
def on_disk():
    """Names of the run's files when its gates were looked at."""
    return set()


@pytest.fixture(scope="module")
def run(tiny_recipe, on_disk):
    def looked_at(model, images):
        on_disk.update(path.name for path in Path(tiny_recipe.out).iterdir())
        return {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "dead_gates", looked_at)
        return train(tiny_recipe)


@pytest.fixture(scope="module")
def record(run):
    return json.loads((run.folder / "run.json").read_text())


def test_the_folder_holds_the_model_the_record_the_history_and_tensorboard_and_nothing_else(run):
    assert {path.name for path in run.folder.iterdir()} == {"model.keras", "run.json", "history.csv", "tensorboard"}
    assert list((run.folder / "tensorboard").rglob("events.out.tfevents.*"))


def test_a_run_is_written_before_its_gates_are_looked_at(run, on_disk):
    assert {"model.keras", "run.json"} <= on_disk


def test_the_saved_model_is_the_run_s_own(run):
    loaded = keras.models.load_model(run.folder / "model.keras")
    images = np.random.default_rng(0).random((4, 32, 32, 3), "float32")
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), run.model.predict(images, verbose=0))
    assert loaded.output_shape == (None, 10)
    np.testing.assert_allclose(loaded.predict(images, verbose=0).sum(1), 1, rtol=FLOAT32)


def test_the_saved_model_does_not_synchronize_its_batch_normalisation(run):
    loaded = keras.models.load_model(run.folder / "model.keras")
    normalisations = [layer for layer in loaded.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert normalisations
    assert not any(layer.synchronized for layer in normalisations)


def test_the_record_repeats_the_recipe(record, tiny_recipe):
    assert Recipe(**record["recipe"]) == tiny_recipe


def test_the_record_has_the_versions_that_ran(record):
    assert record["versions"]["python"] == platform.python_version()
    for package in ("keras", "tensorflow", "numpy", "keras-se"):
        assert record["versions"][package] == metadata.version(package)


def test_the_record_has_the_preprocessing_that_every_later_step_reads(record, run):
    assert record["preprocessing"] == {
        "height": 32,
        "width": 32,
        "crop": 1.0,
        "interpolation": "bilinear",
        "mean": [0.0, 0.0, 0.0],
        "std": [1.0, 1.0, 1.0],
    }
    assert preprocessing_of(run.model, run.folder / "model.keras").input_range == (0.0, 1.0)


def test_weights_to_start_from_bring_their_preprocessing(tiny_recipe, tmp_path, monkeypatch):
    """The network is trained with it, and it is in the record."""
    brought = Preprocessing(32, 32, 0.9, "bicubic", mean=(0.5, 0.4, 0.25), std=(0.25, 0.2, 0.125))
    build, seen = trainer.build_model, []

    def with_weights(recipe, source):
        model = build(recipe, source)
        return bring_preprocessing(model, brought)

    batches = sharding.training_batches
    monkeypatch.setattr(trainer, "build_model", with_weights)
    monkeypatch.setattr(
        sharding, "training_batches", lambda *args, **named: seen.append(args[1]) or batches(*args, **named)
    )
    run = train(dataclasses.replace(tiny_recipe, out=str(tmp_path / "run")))
    assert preprocessing_of(run.model, run.folder / "model.keras") == brought
    assert seen == [brought]


def test_the_record_names_the_classes_and_counts_the_images(record, run):
    assert record["classes"] == list("0123456789")
    assert record["images"] == {
        "train": 128,
        "test": 64,
        "left_out_as_corrupt": [],
        "left_out_as_no_images": {},
    }
    statistics = sum(variable.numpy().size for variable in run.model.non_trainable_variables)
    assert record["parameters"] == run.model.count_params() - statistics


def test_the_history_has_a_row_an_epoch_with_loss_and_accuracy(run):
    head, *rows = (run.folder / "history.csv").read_text().splitlines()
    columns = head.split(",")
    assert {"epoch", "loss", "accuracy", "val_loss", "val_accuracy"} <= set(columns)
    assert len(rows) == 1
    written = [float(row.split(",")[columns.index("val_accuracy")]) for row in rows]
    assert written == pytest.approx(run.history["val_accuracy"])


def test_the_accuracy_of_the_run_is_that_of_the_saved_model(run, record, few_digits):
    """It is the share of the test digits that the loaded model, alone, gets right."""
    images = np.stack([keras.ops.image.resize(image, (32, 32), antialias=True) for image in few_digits.test.images])
    chosen = keras.models.load_model(run.folder / "model.keras").predict(images / 255, verbose=0).argmax(1)
    accuracy = np.mean(chosen == few_digits.test.labels)
    # Keras resizes with the same kernel; one digit of 64 may sit on the edge of two classes.
    assert run.accuracy == pytest.approx(accuracy, abs=1 / 64 + FLOAT32)
    assert record["test_accuracy"] == run.accuracy


class Answers(keras.callbacks.Callback):
    """Before each evaluation, make the network give the next class for every image; `weights` are the first ones."""

    def __init__(self, classes):
        super().__init__()
        self.left = list(classes)
        self.weights = None

    def on_test_begin(self, logs=None):
        kernel, bias = self.model.layers[-1].get_weights()
        self.model.layers[-1].set_weights([0 * kernel, np.eye(len(bias))[self.left.pop(0)]])
        if self.weights is None:
            self.weights = [variable.numpy() for variable in self.model.variables]


def test_the_weights_of_the_best_epoch_are_saved(tiny_recipe, few_digits, tmp_path, monkeypatch):
    counts = np.bincount(few_digits.test.labels)
    callbacks, answers = trainer._callbacks, Answers([counts.argmax(), counts.argmin()])
    monkeypatch.setattr(trainer, "_callbacks", lambda callback: [answers, *callbacks(callback)])
    run = train(dataclasses.replace(tiny_recipe, out=str(tmp_path / "run"), epochs=2))
    best, last = counts.max() / counts.sum(), counts.min() / counts.sum()
    assert best > last  # else this test says nothing
    assert run.history["val_accuracy"] == pytest.approx([best, last])
    assert run.accuracy == pytest.approx(best)
    for expected, weight in zip(answers.weights, weights_of(run.folder / "model.keras"), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_the_same_seed_gives_the_same_weights_bit_for_bit(run, tiny_recipe, tmp_path):
    again = train(dataclasses.replace(tiny_recipe, out=str(tmp_path / "again")))
    weights, others = (weights_of(folder / "model.keras") for folder in (run.folder, again.folder))
    for weight, other in zip(weights, others, strict=True):
        np.testing.assert_array_equal(weight, other)
    assert run.history == again.history


def test_a_folder_that_holds_a_run_is_refused_unless_it_is_to_be_replaced(run, tiny_recipe, tmp_path):
    folder = shutil.copytree(run.folder, tmp_path / "copy")
    other = dataclasses.replace(tiny_recipe, out=str(folder), seed=5)
    before = weights_of(folder / "model.keras")
    with pytest.raises(InputError, match=r"holds a run already.*--overwrite") as refused:
        train(other)
    assert str(folder) in str(refused.value)
    assert all(map(np.array_equal, before, weights_of(folder / "model.keras")))

    train(other, overwrite=True)
    assert json.loads((folder / "run.json").read_text())["recipe"]["seed"] == 5
    assert len(list((folder / "tensorboard" / "train").iterdir())) == 1
    assert len((folder / "history.csv").read_text().splitlines()) == 2
    # Another seed, other weights.
    assert not all(map(np.array_equal, before, weights_of(folder / "model.keras")))


@pytest.mark.parametrize(
    "wrong", [{"model": "se_resnet51"}, {"batch_size": 1798}, {"strategy": "tpu"}, {"data": "nowhere"}]
)
def test_a_run_is_not_lost_to_arguments_that_are_wrong(tiny_recipe, wrong, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "load_source", load_source)
    names = {"model.keras", "run.json", "history.csv"}
    for name in names:
        (tmp_path / name).write_text("an earlier run")
    with pytest.raises(InputError):
        train(dataclasses.replace(tiny_recipe, out=str(tmp_path), **wrong), overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == names


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"model": "se_resnet51"}, "model se_resnet51 cannot be built: model must be one of"),
        ({"model_arguments": {"r": 0}}, "r must be an integer of at least 1; got r=0"),
        ({"model_arguments": {"width": 2}}, "width"),
        ({"model_arguments": {"placement": "post"}}, "placement must be one of standard, pre, 3x3, none"),
        ({"batch_size": 129}, "batch_size must be at most the 128 training images; got 129"),
        ({"crop": 0.0}, "crop must be above 0 and at most 1; got crop=0.0"),
        ({"batch_size": 64, "micro_batches": 3}, "batch_size must divide by the 1 devices times the 3 micro-batches; "),
        ({"strategy": "multi_worker"}, "multi_worker needs a cluster: set TF_CONFIG, start it with srun, or try it"),
        ({"strategy": "tpu"}, "this machine is attached to no TPU"),
        ({"strategy": "horovod"}, "strategy must be one of auto, none, mirrored, multi_worker, tpu; got 'horovod'"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_the_rule_and_the_value(tiny_recipe, wrong, message, tmp_path):
    with pytest.raises(InputError) as refused:
        train(dataclasses.replace(tiny_recipe, out=str(tmp_path / "run"), **wrong))
    assert message in str(refused.value)


def test_a_run_that_diverges_says_so_and_leaves_no_files(tiny_recipe, tmp_path):
    """The second update's loss is not finite."""
    with pytest.raises(InputError, match="learning_rate"):
        train(dataclasses.replace(tiny_recipe, out=str(tmp_path / "run"), learning_rate=1e30))
    assert not list((tmp_path / "run").iterdir())


def test_a_folder_below_a_file_cannot_be_written(tiny_recipe, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write in .*file/run"):
        train(dataclasses.replace(tiny_recipe, out=str(tmp_path / "file" / "run")))


@pytest.mark.parametrize("name", ["auto", "none"])
def test_one_device_is_no_strategy(name):
    assert make_devices(name).replicas == 1


def test_every_batch_normalisation_is_switched(tiny_model):
    model = create_model(tiny_model, input_shape=(32, 32, 3), classes=10)
    normalisations = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for switched in (True, False):
        synchronize_batch_norm(model, switched)
        assert [layer.synchronized for layer in normalisations] == [switched] * len(normalisations)


def test_without_tensorboard_its_folder_is_left_out_and_the_extra_is_named(tiny_recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    run = train(dataclasses.replace(tiny_recipe, out=str(tmp_path / "run")))
    assert {path.name for path in run.folder.iterdir()} == {"model.keras", "run.json", "history.csv"}
    [line] = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert line == f"keras-se: {run.folder / 'tensorboard'} is left out; it needs pip install 'keras-se[tensorboard]'"
