"""Findings on a Keras model before any conversion: what a target would refuse or run slowly.

In: a Keras model and a target. Out: a finding for each layer and reason, with what to write instead.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from keras_se.errors import InputError
from keras_se.export.compatibility.arena import check_arena
from keras_se.export.compatibility.layer_ops import becomes, operations_of
from keras_se.export.conversion.converter import load_model
from keras_se.export.conversion.finite_weights import check_weights
from keras_se.export.conversion.known_input import with_input_shape
from keras_se.export.conversion.lowering_config import PLAIN
from keras_se.export.conversion.matching import effective_config, ops_removed_by
from keras_se.export.qat.freezing import is_quantization_aware
from keras_se.export.quantization.recipes import RECIPES, Recipe, find_recipe
from keras_se.export.targets.base import FORMAT_LIMITS, Objection, Target
from keras_se.export.targets.registry import find_target
from keras_se.preprocessing import image_shape


@dataclass(frozen=True)
class Finding:
    """A layer that a target has trouble with."""

    layer: str
    """Its name; within another model, after that model's name and a slash."""
    kind: str
    """Its class."""
    verdict: str
    """ "refused": the target's files could not be made or run; "slow": they run, in slower kernels; "unknown": there
    is no row for the layer, and export tells."""
    recipes: tuple[str, ...]
    """Number formats that it holds for."""
    reason: str
    """Reason in words: what the target does with the layer."""
    instead: str
    """Replacement to write in the model."""


REFUSED, UNKNOWN = "refused", "unknown"


def check(
    model_or_path: keras.Model | Path | str,
    target: str = "phone_cpu",
    *,
    recipes: Sequence[str] | None = None,
    input_shape: Sequence[int] | None = None,
) -> list[Finding]:
    """Find the layers that a target would refuse or run slowly, in the form that export writes them in.

    Nothing is converted, and no tool of the target is needed. A layer without a row in the tables is "unknown". Of
    OpenVINO and of vendors' compilers no limits are known.

    Args:
        model_or_path: a Keras model of one image input, or a `.keras` file.
        target: a name from `keras_se.export.targets.registry.TARGETS`.
        recipes: the number formats; None for those that the command line makes for the target.
        input_shape: as for `keras_se.export.export`.
    Returns:
        One finding for each layer and reason, in the order of the layers; empty where export will be fine.
    Raises:
        InputError: a name is unknown, the target takes no such recipe, the model has another input, or a weight is not
            finite.
    Example:
        >>> image = keras.Input((32, 32, 3))
        >>> model = keras.Model(image, keras.layers.Conv2D(8, 3, activation="selu", name="last")(image))
        >>> [(finding.layer, finding.verdict) for finding in check(model, "edgetpu")]
        [('last', 'refused')]
    """
    if recipes is not None and not recipes:
        raise InputError(f"recipes must name at least one of {', '.join(RECIPES)}; got none")
    chosen = [find_recipe(name) for name in recipes] if recipes is not None else None
    device = find_target(target, chosen or ())
    chosen = [RECIPES[name] for name in device.default_recipes] if chosen is None else chosen
    model = model_or_path if isinstance(model_or_path, keras.Model) else load_model(model_or_path)
    model = with_input_shape(model, input_shape)
    shape = image_shape(model)
    check_weights(model)
    return [
        *_of_the_input(model, shape, device, chosen),
        *_of_the_layers(model, device, chosen),
        *_of_the_device(model, device, chosen),
    ]


def missing_tool(target: str) -> str | None:
    """Name what the target needs and is not installed, with how to install it; None if all is there."""
    device = find_target(target)
    if device.check_tool is None:
        return None
    try:
        device.check_tool(device)
    except InputError as error:
        return str(error)
    return None


def named(findings: Sequence[Finding]) -> str:
    """List what is refused in one line, layers of the same reason together."""
    refused = alike([finding for finding in findings if finding.verdict == REFUSED])
    return "; ".join(f"{first.kind} {places} ({first.reason}): {first.instead}" for first, places in refused)


def alike(findings: Sequence[Finding]) -> list[tuple[Finding, str]]:
    """Return the first of those that differ in their layer alone, and the layers in words."""
    groups: dict[Finding, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(dataclasses.replace(finding, layer=""), []).append(finding)
    return [
        (first, f"{first.layer} and {len(others)} more" if others else first.layer)
        for first, *others in groups.values()
    ]


def _of_the_input(model, shape, device: Target, recipes: Sequence[Recipe]) -> Iterator[Finding]:
    [image] = model.inputs
    image_facts = image.name, "InputLayer", REFUSED, tuple(recipe.name for recipe in recipes)
    if device.channels not in (None, shape[2]):
        reason = f"{device.name} gives networks three channels, red, green and blue; this one takes {shape[2]}"
        yield Finding(*image_facts, reason, "repeat a grey image in an input of three channels")
    for recipe in recipes:
        try:
            check_arena(model, device, [recipe])
        except InputError as error:
            yield Finding(*image_facts[:3], (recipe.name,), str(error), "choose a smaller input")


def _of_the_layers(model: keras.Model, device: Target, recipes: Sequence[Recipe]) -> Iterator[Finding]:
    aware = is_quantization_aware(model)
    lowerings = [(recipe, PLAIN if aware else effective_config(model, device.lowering(recipe))) for recipe in recipes]
    for path, operation in operations_of(model):
        known = becomes(operation)
        what = path, type(operation).__name__
        if known is None:
            reason = "there is no row for it in keras_se.export.compatibility.layer_ops"
            yield Finding(*what, UNKNOWN, tuple(recipe.name for recipe in recipes), reason, "export tells")
            continue
        names_by_verdict: dict[tuple[str, str, str], list[str]] = {}
        for recipe, lowering in lowerings:
            gone = ops_removed_by(operation, lowering)
            for row in known:
                stay = [name for name in row.operations if name not in gone]
                for verdict, reason in _limits(device, recipe, stay):
                    names_by_verdict.setdefault((verdict, reason, row.instead), []).append(recipe.name)
        yield from (
            Finding(*what, verdict, tuple(dict.fromkeys(names)), reason, instead)
            for (verdict, reason, instead), names in names_by_verdict.items()
        )


def _of_the_device(model: keras.Model, device: Target, recipes: Sequence[Recipe]) -> Iterator[Finding]:
    """Yield what only the device's own module knows of a network."""
    if device.object_to is None:
        return
    names: dict[Objection, list[str]] = {}
    operations = list(operations_of(model))
    for recipe in recipes:
        for objection in device.object_to(operations, recipe, device):
            names.setdefault(objection, []).append(recipe.name)
    for (layer, kind, verdict, reason, instead), recipe_names in names.items():
        yield Finding(layer, kind, verdict, tuple(recipe_names), reason, instead)


def _limits(device: Target, recipe: Recipe, operations: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the verdict on some operations, and why: the first limit that one of them meets."""
    for limit in (*FORMAT_LIMITS, *device.limits):
        met = [name for name in operations if name in limit.operations] if limit.holds(recipe) else []
        if met:
            yield limit.verdict, limit.reason.format(", ".join(met))
            return
