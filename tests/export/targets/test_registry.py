"""Recipes that a device cannot run are refused before anything is made."""

import keras
import numpy as np
import pytest

from keras_se.errors import InputError
from keras_se.export import RECIPES, export
from keras_se.export.runtimes.registry import ENGINES
from keras_se.export.targets.registry import TARGETS, find_target


def test_a_target_refuses_what_its_engine_cannot_run():
    """And TFLite Micro's also what its engine runs slowly: floats."""
    assert TARGETS["tflite_micro"].unsupported_recipes.keys() > ENGINES["tflm"].unsupported_recipes
    assert TARGETS["phone_cpu"].unsupported_recipes.keys() == ENGINES["litert"].unsupported_recipes == set()


@pytest.mark.parametrize("recipe", TARGETS["tflite_micro"].unsupported_recipes)
def test_a_refused_pair_is_named_with_its_reason(recipe, tmp_path):
    model = keras.Sequential([keras.Input((4,))])  # no image: converting it would be refused in other words
    line = f"tflite_micro cannot run {recipe}: {TARGETS['tflite_micro'].unsupported_recipes[recipe]}; leave it out"
    with pytest.raises(InputError, match=f"^{line}$"):
        export(model, tmp_path / "out", recipes=("static_wi8_ai8", recipe), target="tflite_micro")
    assert not (tmp_path / "out").exists()


def test_a_target_takes_every_other_recipe():
    for target in TARGETS.values():
        rest = [recipe for name, recipe in RECIPES.items() if name not in target.unsupported_recipes]
        assert find_target(target.name, rest) is target
        assert target.default_recipes
        assert set(target.default_recipes) <= {recipe.name for recipe in rest}


def test_what_xnnpack_refuses_is_made_for_targets_that_do_not_have_it(monkeypatch, tmp_path):
    def refuse(content):
        raise InputError("XNNPACK cannot prepare the file")

    monkeypatch.setattr("keras_se.export.artifacts.xnnpack_partitions", refuse)
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs)))
    images = np.zeros((2, 8, 8, 3), "float32")
    arguments = {"recipes": ["static_wi8_ai8"], "calibration": images}
    [artifact] = export(model, tmp_path, target="openvino", **arguments)
    assert artifact.manifest["xnnpack_partitions"] is None
    with pytest.raises(InputError, match=r"^XNNPACK cannot prepare"):
        export(model, tmp_path, target="phone_cpu", **arguments)
