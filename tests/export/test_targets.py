"""What a device cannot run is refused before anything is made."""

import keras
import pytest

from keras_se.errors import InputError
from keras_se.export import RECIPES, export
from keras_se.export.engines import ENGINES
from keras_se.export.targets import TARGETS, find_target


def test_a_target_refuses_what_its_engine_cannot_run():
    """And TFLite Micro's also what its engine runs slowly: floats."""
    assert TARGETS["tflite_micro"].refuses.keys() > ENGINES["tflm"].refuses
    assert TARGETS["phone_cpu"].refuses.keys() == ENGINES["litert"].refuses == set()


@pytest.mark.parametrize("recipe", TARGETS["tflite_micro"].refuses)
def test_a_refused_pair_is_named_with_its_reason(recipe, tmp_path):
    model = keras.Sequential([keras.Input((4,))])  # no image: converting it would be refused in other words
    line = f"tflite_micro cannot run {recipe}: {TARGETS['tflite_micro'].refuses[recipe]}; leave it out"
    with pytest.raises(InputError, match=f"^{line}$"):
        export(model, tmp_path / "out", recipes=("static_wi8_ai8", recipe), target="tflite_micro")
    assert not (tmp_path / "out").exists()


def test_a_target_takes_every_other_recipe():
    for target in TARGETS.values():
        rest = [recipe for name, recipe in RECIPES.items() if name not in target.refuses]
        assert find_target(target.name, rest) is target
        assert target.usual
        assert set(target.usual) <= {recipe.name for recipe in rest}
