"""Export of a Keras model: a .tflite file per recipe, and beside each its manifest.

In: a model, recipes, a target, and calibration images. Out: an `Artifact` for each file on disk.
"""

import dataclasses
import functools
import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_se.atomic_files import json_bytes, read_object, writable_folder, write_together
from keras_se.errors import InputError
from keras_se.export.compatibility.arena import check_arena
from keras_se.export.compatibility.checker import check, named
from keras_se.export.conversion.converter import load_model, to_tflite
from keras_se.export.conversion.finite_weights import check_weights
from keras_se.export.conversion.lowering import lower
from keras_se.export.conversion.lowering_config import LoweringConfig
from keras_se.export.conversion.matching import effective_config
from keras_se.export.conversion.model_names import check_names
from keras_se.export.qat.freezing import freeze_ranges, is_quantization_aware, lowering_of_aware
from keras_se.export.qat.strip_fake_quant import strip_fake_quant
from keras_se.export.quantization.bias_correction import correct_biases
from keras_se.export.quantization.calibration import (
    Ranges,
    calibrate,
    calibration_sha256,
    check_calibration,
    magnitudes,
    noise,
)
from keras_se.export.quantization.image_range import check_range, origin_of
from keras_se.export.quantization.observers import find_method
from keras_se.export.quantization.quantizer import MOST_FLOAT16, quantize
from keras_se.export.quantization.recipes import RECIPES, Recipe, find_recipe
from keras_se.export.runtimes.litert import xnnpack_partitions
from keras_se.export.targets.base import Deliverable, QuantizedModel, Target
from keras_se.export.targets.registry import find_target
from keras_se.export.tflite.constants import constants
from keras_se.export.tflite.layer_names import layer_path, layers_by_tensor
from keras_se.export.tflite.model import TFLiteModel
from keras_se.export.tflite.score_calibration import ScoreCalibration
from keras_se.inference import labels_of
from keras_se.layers.image_input import initial_weights_of
from keras_se.preprocessing import Preprocessing, image_shape
from keras_se.progress import track
from keras_se.versions import installed_versions


@dataclass(frozen=True)
class Artifact:
    """A file that was exported."""

    path: Path
    recipe: str
    target: str
    manifest: dict[str, Any]
    """The fields of the JSON file beside it."""


def export(
    model_or_path: keras.Model | Path | str,
    out: Path | str,
    *,
    recipes: Sequence[str] = ("float32", "static_wi8_ai8"),
    target: str = "phone_cpu",
    calibration: np.ndarray | None = None,
    calibration_method: str = "min_max",
    bias_correction: bool = False,
    preprocessing: Preprocessing | None = None,
    score_calibration: ScoreCalibration | None = None,
) -> list[Artifact]:
    """Convert a model once to float and from there to each recipe.

    Writes `NAME.RECIPE.tflite` and `NAME.RECIPE.tflite.json` for each recipe into `out`, when all have been made.
    Each file takes one image; static recipes take and give integers.

    Args:
        model_or_path: a Keras model of one image input of known size, or a `.keras` file. One of `quantize_aware`
            brings its ranges and its form, whatever the target's, needs no calibration, and takes the recipe
            static_wi8_ai8.
        out: the folder; made if it is missing, and files of an earlier export are replaced, no others.
        recipes: names from `keras_se.export.RECIPES`.
        target: the device: a name from `keras_se.export.targets.registry.TARGETS`.
        calibration: float `(n, height, width, channels)`, as the network sees them; needed by static recipes.
        calibration_method: how they give the ranges of the activations: a name from
            `keras_se.export.quantization.observers.METHODS`.
        bias_correction: correct the biases of files with 8-bit weights for the shift that rounding gives each layer's
            mean output on the calibration images.
        preprocessing: how an image becomes an input, which the manifests say and calibration images must fit. By
            default what `keras_se.preprocessing.find_preprocessing` finds.
        score_calibration: how an app makes probabilities of the outputs, by
            `keras_se.export.tflite.score_calibration.fit_scores`; for the target mediapipe.
    Returns:
        An artifact for each recipe, in their order.
    Raises:
        InputError: a name is unknown, the target does not run a recipe or has no place for a score calibration, the
            network lacks the part that a recipe treats apart, the model cannot be read or has another input, the
            calibration images are missing, unfit or of another range than what the network takes, or `out` cannot be
            written or has another's file of the same name.
    Example:
        >>> artifacts = export("run/model.keras", "out", recipes=("float32", "static_wi8_ai8"), calibration=images)
        >>> [artifact.path.name for artifact in artifacts]
        ['se_mobilenet.float32.tflite', 'se_mobilenet.static_wi8_ai8.tflite']
    """
    chosen = [find_recipe(name) for name in recipes]
    if not chosen:
        raise InputError(f"recipes must name at least one of {', '.join(RECIPES)}; got none")
    device = find_target(target, chosen)
    find_method(calibration_method)
    if score_calibration is not None and not device.calibrates_scores:
        raise InputError(f"score_calibration is for the target mediapipe, whose apps apply it; got {target}")
    folder = writable_folder(out)
    model, source = model_and_hash(model_or_path)
    shape = image_shape(model)
    for recipe in chosen:
        check_replaceable(folder, f"{model.name}.{recipe.name}")
    check_arena(model, device, chosen)
    aware = is_quantization_aware(model)
    if aware:
        _check_aware(chosen, bias_correction)
    in_float16 = device.computes_in_float16 and calibration is not None
    calibrated = not aware and (bias_correction or in_float16 or any(recipe.calibrated for recipe in chosen))
    images = check_calibration(calibration, shape) if calibrated else None
    origin = origin_of(preprocessing, model, model_or_path)
    if images is not None:
        check_range(images, origin)
    labels = None if isinstance(model_or_path, keras.Model) else labels_of(model_or_path)

    @functools.cache
    def converted(lowering: LoweringConfig) -> Converted:
        if aware:
            found = Converted(*strip_fake_quant(to_tflite(freeze_ranges(model))))
            magnitudes(found.file, noise(found.file, *origin.preprocessing.input_range))
            return found
        file = to_tflite(lower(model, lowering))
        if images is None:
            return Converted(file, None, magnitudes(file, noise(file, *origin.preprocessing.input_range)))
        ranges = activation_ranges(file, images, origin.preprocessing, calibration_method)
        greatest = {name: float(max(-ends["min"].min(), ends["max"].max())) for name, ends in ranges.items()}
        return Converted(file, ranges, greatest)

    @functools.cache
    def float_file(lowering: LoweringConfig, correcting: bool) -> TFLiteModel:
        file = converted(lowering).file
        return correct_biases(file, images) if correcting and images is not None else file

    made, overflows = [], {}
    for recipe in track(chosen, f"Making {len(chosen)} files", total=len(chosen)):
        lowering = lowering_of_aware(model) if aware else effective_config(model, device.lowering(recipe))
        correcting = bias_correction and recipe.rounds_weights
        file = quantize(float_file(lowering, correcting), recipe, converted(lowering).ranges)
        calibrated_on = (
            calibration_record(images, calibration_method) if recipe.calibrated and images is not None else None
        )
        part = QuantizedModel(file, recipe, model.name, origin.preprocessing, labels, score_calibration)
        further: dict[str, Any] = {
            "lowering": dataclasses.asdict(lowering),
            "bias_correction": correcting,
            "weights": initial_weights_of(model),
            "classes": None if labels is None else list(labels),
        }
        if device.computes_in_float16:
            further["beyond_float16"] = beyond = converted(lowering).beyond_float16
            overflows |= beyond
        try:
            made.append(build_artifact(part, device, source=source, calibration=calibrated_on, **further))
        except InputError as error:
            layers = named(check(model, target, recipes=(recipe.name,)))
            raise InputError(f"{error}; in the Keras model: {layers}" if layers else str(error)) from None
    for one in made:
        stem = f"{one.of.name}.{one.of.recipe.name}"
        check_replaceable(folder, stem, [f"{stem}{suffix}" for suffix in one.product.files])
    if overflows:
        layers = ", ".join(f"{layer} ({greatest:g})" for layer, greatest in overflows.items())
        logging.getLogger("keras_se").warning(
            "%s computes in float16 by default, which holds numbers up to %s; beyond it are those of %s: forbid the "
            "delegate the loss of precision, or train again with batch normalization and weight decay",
            device.name,
            f"{MOST_FLOAT16:,}",
            layers,
        )
    return write_all(made, folder)


class Converted(NamedTuple):
    """A float file and, where a recipe needs them, the ranges of its activations."""

    file: TFLiteModel
    ranges: Ranges | None
    magnitudes: Mapping[str, float] = MappingProxyType({})
    """The greatest number in its activations, by tensor."""

    @property
    def beyond_float16(self) -> dict[str, float]:
        """The greatest number of each layer whose weights or activations float16 does not hold."""
        found: dict[str, float] = {}
        layers = layers_by_tensor(self.file.graph)
        weights = ((name, float(np.abs(values).max(initial=0))) for name, values, _ in constants(self.file))
        for name, greatest in (*weights, *self.magnitudes.items()):
            if greatest > MOST_FLOAT16:
                layer = layers.get(name) or layer_path(name) or name
                found[layer] = max(greatest, found.get(layer, 0.0))
        return found


class BuiltArtifact(NamedTuple):
    """A file as its target takes it, not yet on disk."""

    of: QuantizedModel
    target: str
    product: Deliverable
    manifest: dict[str, Any]


def build_artifact(content: QuantizedModel, target: Target, *, source, calibration, **further) -> BuiltArtifact:
    """Package a quantized file for its target and write its manifest; `further` are fields of that.

    Raises:
        InputError: the target's tool is missing, or it refuses the file.
    """
    product = target.package_for_target(content)
    manifest = {
        "model": content.name,
        "model_sha256": source,
        "recipe": content.recipe.name,
        "target": target.name,
        "preprocessing": content.preprocessing.to_dict(),
        "input_range": content.preprocessing.input_range,
        "calibration": calibration,
        "bytes": len(product.file.content),
        "sha256": hashlib.sha256(product.file.content).hexdigest(),
        "operations": product.file.operation_counts,
        "dtypes": product.file.dtype_counts,
        "xnnpack_partitions": xnnpack_partitions(content.file) if target.xnnpack else None,
        "versions": installed_versions(),
        **further,
        **product.manifest,
    }
    return BuiltArtifact(content, target.name, product, manifest)


def write(made: BuiltArtifact, folder: Path) -> Artifact:
    """`NAME.RECIPE.tflite`, its manifest, and what else the target has, into the folder.

    Raises:
        InputError: a file of such a name is not one that `write` has written.
    """
    return write_all([made], folder)[0]


def write_all(made: Sequence[BuiltArtifact], folder: Path) -> list[Artifact]:
    """`write` for several files, of which a full disk or Ctrl-C leaves none.

    Raises:
        InputError: as of `write`.
    """
    contents: dict[Path, bytes] = {}
    artifacts = []
    for one in made:
        stem = f"{one.of.name}.{one.of.recipe.name}"
        further = sorted(f"{stem}{suffix}" for suffix in one.product.files)
        check_replaceable(folder, stem, further)
        path = folder / f"{stem}.tflite"
        manifest = {**one.manifest, "files": further}
        contents[_manifest(path)] = json_bytes(manifest)  # first: what a killed process has written is listed
        contents |= {folder / f"{stem}{suffix}": content for suffix, content in one.product.files.items()}
        contents[path] = one.product.file.content
        artifacts.append(Artifact(path, one.of.recipe.name, one.target, manifest))
    write_together(contents)
    return artifacts


def check_replaceable(folder: Path, stem: str, further: Sequence[str] = ()) -> None:
    """Refuse to replace files that no export has written: those that no manifest of ours stands beside or lists.

    Raises:
        InputError: there is one.
    """
    path = folder / f"{stem}.tflite"
    listed = _listed(path)
    for name in (_manifest(path).name, path.name, *further):
        place = folder / name
        if os.path.lexists(place) and not (name in listed and place.is_file()):
            raise InputError(
                f"{place} is in the way, and no manifest says that an export wrote it; choose another folder with "
                "--out, or move it away"
            )


def _listed(path: Path) -> set[str]:
    """Return the names of the files that the manifest beside a .tflite file lists, its own among them."""
    try:
        fields = read_object(_manifest(path))
    except ValueError:
        return set()
    if not {"model", "recipe", "target", "sha256"} <= fields.keys():
        return set()
    further = fields.get("files", [])
    names = further if isinstance(further, list) else []
    return {path.name, _manifest(path).name, *(name for name in names if isinstance(name, str))}


def _manifest(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def model_and_hash(model_or_path) -> tuple[keras.Model, str | None]:
    """Return the model, after its weights were found finite, and the sha256 of its file where it is one."""
    if isinstance(model_or_path, keras.Model):
        check_names(model_or_path)
        check_weights(model_or_path)
        return model_or_path, None
    model = load_model(model_or_path)
    check_weights(model)
    return model, hashlib.sha256(Path(model_or_path).read_bytes()).hexdigest()


def activation_ranges(float_file, images, preprocessing: Preprocessing, method: str) -> Ranges:
    """Return the ranges of the float file's activations; the input's is that of the preprocessing."""
    return calibrate(float_file, images, preprocessing.input_range, method=method)


def calibration_record(images: np.ndarray, method: str) -> dict[str, Any]:
    """Return the manifest's fields of the calibration."""
    return {"images": len(images), "sha256": calibration_sha256(images), "method": method}


def _check_aware(recipes: Sequence[Recipe], bias_correction: bool) -> None:
    others = [recipe.name for recipe in recipes if recipe.name != "static_wi8_ai8"]
    if others:
        raise InputError(f"a quantization-aware model takes the recipe static_wi8_ai8 alone; got {', '.join(others)}")
    if bias_correction:
        raise InputError("a quantization-aware model has learned its biases; leave out bias_correction")
