"""Recipes: the paper's figures, what is refused, and the learning rate of every update."""

import dataclasses
import math

import pytest

from keras_se.errors import InputError
from keras_se.registry import find, list_models
from keras_se.training import PRESETS, Recipe
from keras_se.training.data.input_pipeline import AUGMENTATIONS
from keras_se.training.optimizer import schedule

STEPS = 10  # updates an epoch
FLOAT32 = 1e-6  # the schedules compute in float32: relative 6e-8, and a cosine near zero


def rate(recipe, update):
    return float(schedule(recipe, STEPS)(update))


def test_paper_resnet_is_section_5_of_the_paper():
    """Hu et al., arXiv 1709.01507, section 5: lr 0.6 at a batch of 1024, a tenth every 30 epochs of 100."""
    recipe = PRESETS["paper_resnet"]
    assert recipe.batch_size == 1024
    assert recipe.peak_learning_rate == pytest.approx(0.6)
    assert (recipe.epochs, recipe.schedule, recipe.step_epochs, recipe.momentum) == (100, "step", 30, 0.9)
    assert (recipe.image_size, recipe.crop) == (224, 224 / 256)
    assert recipe.augmentation == "resized_crop_flip"


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(0, 0.6), (29, 0.6), (30, 0.06), (59, 0.06), (60, 0.006), (89, 0.006), (90, 0.0006), (99, 0.0006)],
)
def test_paper_resnet_divides_its_rate_by_ten_every_thirty_epochs(epoch, expected):
    recipe = PRESETS["paper_resnet"]
    first, last = epoch * STEPS, epoch * STEPS + STEPS - 1
    assert rate(recipe, first) == pytest.approx(expected)
    assert rate(recipe, last) == pytest.approx(expected)


def test_paper_mobile_has_the_published_figures():
    """Batch 256, lr 0.1, weight decay 4e-5, about 400 epochs: arXiv 1709.01507, section 5.1; arXiv 1707.01083."""
    recipe = PRESETS["paper_mobile"]
    assert (recipe.batch_size, recipe.peak_learning_rate) == (256, pytest.approx(0.1))
    assert (recipe.weight_decay, recipe.epochs, recipe.momentum) == (4e-5, 400, 0.9)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_names_a_model_and_an_augmentation_that_exist(name):
    assert PRESETS[name].model in list_models()
    assert PRESETS[name].augmentation in AUGMENTATIONS


@pytest.mark.parametrize(("batch_size", "peak"), [(32, 0.0125), (256, 0.1), (512, 0.2), (4096, 1.6)])
def test_the_peak_follows_the_global_batch_linearly(batch_size, peak):
    """0.1 for 256 images of the global batch."""
    assert Recipe(learning_rate=0.1, batch_size=batch_size).peak_learning_rate == pytest.approx(peak)


def test_a_recipe_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS["digits"].epochs = 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1; got epochs=0"),
        ({"batch_size": -8}, "batch_size must be at least 1; got batch_size=-8"),
        ({"image_size": 0}, "image_size must be at least 1; got image_size=0"),
        ({"step_epochs": 0}, "step_epochs must be at least 1; got step_epochs=0"),
        ({"seed": -1}, "seed must be at least 0; got seed=-1"),
        ({"learning_rate": -0.1}, "learning_rate must not be negative; got learning_rate=-0.1"),
        ({"warmup_epochs": -1}, "warmup_epochs must not be negative; got warmup_epochs=-1"),
        ({"weight_decay": -1e-4}, "weight_decay must not be negative; got weight_decay=-0.0001"),
        ({"momentum": 1.0}, "momentum must be in [0, 1); got momentum=1.0"),
        ({"label_smoothing": 1.5}, "label_smoothing must be in [0, 1); got label_smoothing=1.5"),
        ({"schedule": "step", "warmup_epochs": 5}, "warm-up goes with the cosine schedule; got step and 5 epochs"),
        ({"epochs": 5, "warmup_epochs": 5}, "warm-up must be shorter than the run; got 5 of 5 epochs"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_rule_and_the_value(arguments, message):
    with pytest.raises(InputError) as refused:
        Recipe(**arguments)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("argument", "allowed"), [("augmentation", tuple(AUGMENTATIONS)), ("schedule", ("cosine", "step"))]
)
def test_an_unknown_choice_is_refused_with_what_is_allowed(argument, allowed):
    with pytest.raises(InputError) as refused:
        Recipe(**{argument: "sideways"})
    assert all(name in str(refused.value) for name in (argument, "sideways", *allowed))


WARM = Recipe(epochs=10, warmup_epochs=2, learning_rate=0.1, batch_size=512)  # 20 of 100 updates; the peak is 0.2


@pytest.mark.parametrize("update", [0, 1, 10, 15, 20])
def test_warm_up_rises_linearly_from_zero_to_the_peak(update):
    assert rate(WARM, update) == pytest.approx(0.2 * update / 20, abs=FLOAT32)


@pytest.mark.parametrize("update", [20, 21, 40, 60, 80, 99, 100])
def test_after_warm_up_the_rate_is_half_a_cosine_down_to_zero(update):
    """Loshchilov and Hutter, arXiv 1608.03983, equation 5, without restarts, over the 80 updates that are left."""
    assert rate(WARM, update) == pytest.approx(0.2 * (1 + math.cos(math.pi * (update - 20) / 80)) / 2, abs=FLOAT32)


def test_without_warm_up_the_cosine_starts_at_the_peak():
    recipe = Recipe(epochs=10, learning_rate=0.1)
    assert [rate(recipe, update) for update in (0, 50, 100)] == pytest.approx([0.1, 0.05, 0.0], abs=FLOAT32)


def test_the_rate_stays_at_zero_after_the_last_update():
    assert rate(WARM, 1000) == pytest.approx(0.0, abs=FLOAT32)


def test_a_step_schedule_shorter_than_its_first_step_keeps_the_peak():
    recipe = Recipe(schedule="step", epochs=5, step_epochs=30, learning_rate=0.1)
    assert [rate(recipe, update) for update in (0, 25, 49)] == pytest.approx([0.1] * 3)


# Other epochs, two phases, and the optimizers.


def test_another_number_of_epochs_scales_the_warm_up_and_the_steps():
    assert PRESETS["paper_mobile"].with_epochs(40).warmup_epochs == pytest.approx(5 * 40 / 400)
    assert PRESETS["paper_resnet"].with_epochs(10).step_epochs == 3
    for recipe in PRESETS.values():
        assert recipe.with_epochs(1).epochs == 1  # each preset can be tried for one epoch


FROZEN = Recipe(epochs=10, warmup_epochs=1, learning_rate=0.1, freeze="backbone", unfreeze_at=0.4, unfrozen_rate=0.1)


@pytest.mark.parametrize("update", [10, 20, 30, 39])
def test_the_classifier_alone_is_trained_by_a_cosine_of_its_own(update):
    """10 updates of warm-up of the 40 before all is trained."""
    expected = 0.1 * (1 + math.cos(math.pi * (update - 10) / 30)) / 2
    assert rate(FROZEN, update) == pytest.approx(expected, abs=FLOAT32)


@pytest.mark.parametrize("update", [50, 70, 99])
def test_then_all_is_trained_at_a_tenth_of_the_rate(update):
    """One epoch of warm-up, then 50 updates of a cosine."""
    expected = 0.01 * (1 + math.cos(math.pi * (update - 50) / 50)) / 2
    assert rate(FROZEN, update) == pytest.approx(expected, abs=FLOAT32)
    assert rate(FROZEN, 45) == pytest.approx(0.005, abs=FLOAT32)


def test_what_is_never_unfrozen_has_one_cosine():
    recipe = dataclasses.replace(FROZEN, unfreeze_at=1.0)
    assert recipe.frozen_epochs == 10
    assert rate(recipe, 99) == pytest.approx(0.1 * (1 + math.cos(math.pi * 89 / 90)) / 2, abs=FLOAT32)


def test_warm_up_ends_before_all_is_trained():
    with pytest.raises(InputError, match=r"warm-up must be shorter than the epochs before unfreeze_at; got 4 of 4"):
        dataclasses.replace(FROZEN, warmup_epochs=4)


def test_a_name_that_is_nearly_one_gets_a_question():
    for name in ("seresnet50", "SEResNet50", "se_resnet_50"):
        with pytest.raises(InputError, match=r"did you mean se_resnet50\?$"):
            find(name)
    with pytest.raises(InputError) as refused:
        find("vision_transformer")
    assert "did you mean" not in str(refused.value)
