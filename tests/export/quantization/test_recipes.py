"""A recipe is its fields: the name follows from them, and so does all that other rooms ask of it."""

import dataclasses

import pytest

from keras_se.export.quantization.recipes import (
    FLOAT32,
    INT16,
    MIXED_PRECISION,
    RECIPES,
    Override,
    SearchedOverride,
)

INT8_EVERYWHERE = RECIPES["static_wi8_ai8"]


def test_the_names_are_the_quantizers_grammar():
    """They are names of litert-quantizer's own recipes, but for the floats and the parts in more bits."""
    from litert_quantizer import recipe

    plain = [name for name, row in RECIPES.items() if row.mode and not row.overrides]
    assert plain == ["dynamic_wi8_afp32", "weight_only_wi8_afp32", "static_wi8_ai8", "static_wi8_ai16"]
    assert all(callable(getattr(recipe, name)) for name in plain)
    assert [name for name in RECIPES if name not in plain] == [
        "float32",
        "float16",
        "static_wi8_ai8_se_ai16",
        "static_wi8_ai8_se_fp32",
        "static_wi8_ai8_first_last_fp32",
    ]


@pytest.mark.parametrize(("activations", "name"), [(INT16, "stem_ai16"), (FLOAT32, "stem_fp32")])
def test_the_name_follows_the_fields(activations, name):
    override = Override("stem", activations, lambda float_file: ())
    recipe = dataclasses.replace(INT8_EVERYWHERE, overrides=(override,))
    assert recipe.name == f"static_wi8_ai8_{name}"
    assert recipe.computes_in_float == (activations == FLOAT32)
    assert (recipe.calibrated, recipe.rounds_weights, recipe.rounds_activations) == (True, True, True)


@pytest.mark.parametrize("activations", [INT16, FLOAT32])
def test_a_searched_file_has_one_name_whatever_its_precision(activations):
    override = SearchedOverride("mixed", activations, lambda float_file: ())
    assert dataclasses.replace(MIXED_PRECISION, overrides=(override,)).name == "static_wi8_ai8_mixed"


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("calibrated", {name for name in RECIPES if name.startswith("static")}),
        ("rounds_weights", {name for name in RECIPES if "wi8" in name}),
        ("rounds_activations", {name for name in RECIPES if "ai8" in name}),
        ("computes_in_float", {name for name in RECIPES if "fp32" in name or "float" in name}),
    ],
)
def test_the_answers_are_those_that_the_names_say(question, names):
    assert {name for name, recipe in RECIPES.items() if getattr(recipe, question)} == names
