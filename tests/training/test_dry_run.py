"""A dry run's plan."""

import dataclasses

import numpy as np
import pytest

from keras_se.registry import create_model
from keras_se.training.dry_run import plan


def test_a_plan_counts_what_a_run_would_do_and_leaves_nothing(tiny_recipe, few_digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = dataclasses.replace(tiny_recipe, out="run", epochs=3)
    planned = plan(recipe, few_digits)
    model = create_model(recipe.model, input_shape=(32, 32, 3), classes=10)
    assert planned.parameters == sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert (planned.steps, planned.epochs, planned.test_images) == (2, 3, 64)
    assert sum(planned.classes.values()) == 128
    assert planned.learning_rates[0] == pytest.approx(recipe.peak_learning_rate)
    assert planned.seconds == pytest.approx(6 * planned.seconds_per_step)
    assert list(tmp_path.iterdir()) == []
