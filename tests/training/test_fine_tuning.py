"""Training beside the paper's recipe: frozen backbones, unequal classes, other optimizers, two classes."""

import csv
import dataclasses

import keras
import numpy as np
import pytest

from keras_se.classifier import classifier_of
from keras_se.errors import InputError
from keras_se.preprocessing import Preprocessing
from keras_se.registry import create_model
from keras_se.training import Recipe, evaluate, train
from keras_se.training.data.input_pipeline import balanced_weights, training_batches
from keras_se.training.data.sources import Source, Split
from keras_se.training.network import freeze_backbone
from keras_se.training.optimizer import compile_for
from keras_se.training.preset_choice import unequal_classes


@pytest.fixture(scope="module")
def start(tiny_recipe, tmp_path_factory):
    """A run to fine-tune: the tiny network, and its variables that are not the classifier's."""
    run = train(dataclasses.replace(tiny_recipe, out=str(tmp_path_factory.mktemp("start") / "run")))
    return run.folder


def backbone_of(path):
    """Weights and moving statistics of all layers but the classifier."""
    model = keras.models.load_model(path / "model.keras")
    return [value for layer in model.layers if layer.name != "logits" for value in layer.get_weights()]


def fine_tuned(tiny_recipe, start, folder, **changes):
    recipe = dataclasses.replace(
        tiny_recipe, out=str(folder), model_arguments={"weights": str(start)}, freeze="backbone", seed=8, **changes
    )
    return train(recipe)


def test_a_frozen_backbone_keeps_its_weights_and_its_statistics(tiny_recipe, start, tmp_path):
    """Batch normalisation in inference gathers nothing."""
    run = fine_tuned(tiny_recipe, start, tmp_path / "run", epochs=2, unfreeze_at=1.0)
    for before, after in zip(backbone_of(start), backbone_of(run.folder), strict=True):
        np.testing.assert_array_equal(before, after)
    before, after = (keras.models.load_model(folder / "model.keras") for folder in (start, run.folder))
    assert not np.array_equal(before.get_layer("logits").kernel, after.get_layer("logits").kernel)
    assert all(layer.trainable for layer in run.model.layers)  # what comes next finds no layer frozen


class Backbone(keras.callbacks.Callback):
    """Remembers the first kernel at the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.kernels = []

    def on_epoch_end(self, epoch, logs=None):
        kernel = next(variable for variable in self.model.variables if variable.name == "kernel")
        self.kernels.append(kernel.numpy().copy())


def test_from_unfreeze_at_on_all_is_trained(tiny_recipe, start, tmp_path):
    watched = Backbone()
    recipe = dataclasses.replace(
        tiny_recipe, out=str(tmp_path / "run"), model_arguments={"weights": str(start)}, freeze="backbone", epochs=2
    )
    train(recipe, callbacks=[watched])
    first, second = watched.kernels
    kernel = next(
        variable for variable in keras.models.load_model(start / "model.keras").variables if variable.name == "kernel"
    )
    np.testing.assert_array_equal(first, kernel.numpy())
    assert not np.array_equal(first, second)


def test_nothing_is_frozen_that_has_no_weights(tiny_recipe, tmp_path):
    with pytest.raises(InputError, match="a backbone is frozen that has weights to start from"):
        train(dataclasses.replace(tiny_recipe, out=str(tmp_path / "run"), freeze="backbone"))


# Optimizers.


def compiled(tiny_model, **changes):
    keras.utils.set_random_seed(0)
    model = create_model(tiny_model, input_shape=(32, 32, 3), classes=10, classifier_activation=None)
    compile_for(Recipe(label_smoothing=0.1, **changes), model, 10)
    return model


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sgd", keras.optimizers.SGD),
        ("adamw", keras.optimizers.AdamW),
        ("lamb", keras.optimizers.Lamb),
        ("rmsprop", keras.optimizers.RMSprop),
    ],
)
def test_the_recipe_names_the_optimizer(tiny_model, name, kind):
    assert isinstance(compiled(tiny_model, optimizer=name).optimizer, kind)


@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_decoupled_decay_is_of_kernels_alone(tiny_model, name):
    model = compiled(tiny_model, optimizer=name, weight_decay=0.1)
    decayed = {variable.name for variable in model.trainable_variables if model.optimizer._use_weight_decay(variable)}
    assert decayed == {"kernel"}
    assert {variable.name for variable in model.trainable_variables} - decayed == {"gamma", "beta", "bias"}
    assert model.losses == []  # it is not in the loss too


@pytest.mark.slow
def test_another_optimizer_trains_and_resumes_bit_for_bit(tiny_recipe, tmp_path):
    recipe = dataclasses.replace(tiny_recipe, optimizer="adamw", learning_rate=0.01, out=str(tmp_path / "one"))
    first, second = train(recipe), train(dataclasses.replace(recipe, out=str(tmp_path / "two")))
    for weight, other in zip(first.model.get_weights(), second.model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)
    assert np.isfinite(first.history["loss"]).all()


# Unequal classes.


def unequal(counts):
    labels = np.repeat(np.arange(len(counts)), counts).astype("int32")
    return Split(np.zeros((len(labels), 8, 8, 3), "uint8"), labels)


def test_balanced_classes_weigh_alike_and_the_mean_image_weighs_1():
    split = unequal([10, 30, 60])
    weights = balanced_weights(split, 3)
    assert weights * [10, 30, 60] == pytest.approx([100 / 3] * 3)
    assert weights[split.labels].mean() == pytest.approx(1)


def test_each_image_of_a_batch_brings_the_weight_of_its_class():
    split, weights = unequal([3, 5]), np.array([2.0, 0.5], "float32")
    batches = training_batches(
        split, Preprocessing(8, 8), classes=2, batch_size=8, augmentation="none", seed=0, class_weights=weights
    )
    _, targets, brought = next(iter(batches))
    np.testing.assert_array_equal(brought, weights[np.argmax(targets, 1)])


@pytest.mark.slow
def test_balanced_weights_change_what_is_learned(tiny_recipe, tmp_path):
    plain, balanced = (
        train(dataclasses.replace(tiny_recipe, out=str(tmp_path / name), class_weights=name))
        for name in ("none", "balanced")
    )
    assert plain.history["loss"] != balanced.history["loss"]


def test_unequal_classes_are_named_with_the_remedy():
    source = Source(("ant", "bee", "cat"), unequal([50, 9, 40]), unequal([5, 5, 5]))
    line = unequal_classes(source)
    assert "50 images of ant and 9 of bee" in line
    assert "--class-weights balanced" in line
    assert unequal_classes(dataclasses.replace(source, train=unequal([40, 9, 40]))) is None


# Two classes by one output.


@pytest.fixture(scope="module")
def two_digits(digits):
    """Zeros and ones."""

    def keep(split, most):
        chosen = np.flatnonzero(split.labels < 2)[:most]
        return Split(split.images[chosen], split.labels[chosen])

    return Source(("zero", "one"), keep(digits.train, 256), keep(digits.test, 64))


def test_a_binary_run_learns_with_one_output(tiny_recipe, two_digits, tmp_path):
    recipe = dataclasses.replace(tiny_recipe, out=str(tmp_path / "run"), binary=True, epochs=12, learning_rate=0.4)
    run = train(recipe, source=two_digits)
    assert run.model.output_shape == (None, 1)
    assert run.accuracy > 0.9  # zeros and ones are easy
    figures = evaluate(classifier_of(run.folder), two_digits)
    assert figures.top1 == pytest.approx(run.accuracy, abs=1e-6)
    assert figures.classes == ("zero", "one")


def test_binary_is_for_two_classes(tiny_recipe, tmp_path):
    with pytest.raises(InputError, match="binary is for two classes; digits has 10"):
        train(dataclasses.replace(tiny_recipe, out=str(tmp_path / "run"), binary=True))


# The history.


def test_the_history_has_the_rate_and_the_speed_of_each_epoch(start, tiny_recipe):
    with (start / "history.csv").open() as file:
        [row] = csv.DictReader(file)
    assert float(row["seconds"]) > 0
    assert float(row["images_per_second"]) > 0
    # The last of two updates: half way down a cosine.
    assert float(row["learning_rate"]) == pytest.approx(tiny_recipe.peak_learning_rate / 2)


def test_frozen_layers_are_all_but_the_classifiers():
    keras.utils.set_random_seed(0)
    model = create_model("se_vgg16", input_shape=(32, 32, 3), classes=10)
    freeze_backbone(model, True)
    assert {layer.name for layer in model.layers if layer.trainable and layer.weights} == {
        "hidden1",
        "hidden2",
        "logits",
    }
