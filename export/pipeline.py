"""Path of a model to its files: lower, convert, calibrate, quantize, package for the target.

In: a model or its file, a target, and calibration images. Out: its float file in each form, quantized files of it, and
artifacts that are not yet on disk. Plain export, the search for a mixed precision, and quantization-aware models share
it.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_se.errors import InputError
from keras_se.export.artifacts import BuiltArtifact, build_artifact
from keras_se.export.compatibility.arena import check_arena
from keras_se.export.compatibility.checker import check, named
from keras_se.export.conversion.converter import load_model, to_tflite
from keras_se.export.conversion.finite_weights import check_weights
from keras_se.export.conversion.known_input import with_input_shape
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
from keras_se.export.quantization.quantizer import MOST_FLOAT16, quantize
from keras_se.export.quantization.recipes import RECIPES, Recipe
from keras_se.export.targets.base import QuantizedModel, Target
from keras_se.export.tflite.constants import constants
from keras_se.export.tflite.layer_names import layer_path, layers_by_tensor
from keras_se.export.tflite.model import TFLiteModel
from keras_se.export.tflite.score_calibration import ScoreCalibration
from keras_se.inference import labels_of
from keras_se.layers.image_input import initial_weights_of
from keras_se.preprocessing import Origin, Preprocessing, image_shape


class Converted(NamedTuple):
    """A float file and, where a recipe needs them, the ranges of its activations."""

    file: TFLiteModel
    ranges: Ranges | None
    magnitudes: Mapping[str, float] = MappingProxyType({})
    """Greatest number in its activations, by tensor."""

    @property
    def beyond_float16(self) -> dict[str, float]:
        """Greatest number of each layer whose weights or activations float16 does not hold."""
        by_layer: dict[str, float] = {}
        layers = layers_by_tensor(self.file.graph)
        weights = ((name, float(np.abs(values).max(initial=0))) for name, values, _ in constants(self.file))
        for name, greatest in (*weights, *self.magnitudes.items()):
            if greatest > MOST_FLOAT16:
                layer = layers.get(name) or layer_path(name) or name
                by_layer[layer] = max(greatest, by_layer.get(layer, 0.0))
        return by_layer


@dataclass(frozen=True)
class Pipeline:
    """A model on its way to files of one target."""

    model: keras.Model
    sha256: str | None
    """Hash of the model's file; None for a model in memory."""
    target: Target
    origin: Origin
    """Preprocessing, and what says so."""
    labels: tuple[str, ...] | None
    images: np.ndarray | None
    """Calibration images; None where nothing is calibrated."""
    method: str
    """Method by which the images give ranges: a name from `keras_se.export.quantization.observers.METHODS`."""
    _converted: dict[LoweringConfig, "Converted"] = field(default_factory=dict, repr=False)
    _corrected: dict[LoweringConfig, TFLiteModel] = field(default_factory=dict, repr=False)

    @classmethod
    def open(
        cls,
        model_or_path: keras.Model | Path | str,
        target: Target,
        recipes: Sequence[Recipe],
        *,
        calibration: np.ndarray | None,
        method: str,
        preprocessing: Preprocessing | None,
        input_shape: Sequence[int] | None = None,
        bias_correction: bool = False,
    ) -> "Pipeline":
        """Read a model and check it, and the images, for what the recipes need.

        Raises:
            InputError: the model cannot be read, has a weight that is no number, takes more memory than the target has
                or is quantization-aware and the recipes are not for that; or the images are missing, unfit or of
                another range than the network's.
        """
        model, sha256 = model_and_hash(model_or_path, input_shape)
        shape = image_shape(model)
        check_arena(model, target, recipes)
        aware = is_quantization_aware(model)
        if aware:
            _check_aware(recipes, bias_correction)
        in_float16 = target.computes_in_float16 and calibration is not None
        calibrated = not aware and (bias_correction or in_float16 or any(recipe.calibrated for recipe in recipes))
        images = check_calibration(calibration, shape) if calibrated else None
        origin = origin_of(preprocessing, model, model_or_path)
        if images is not None:
            check_range(images, origin)
        labels = None if isinstance(model_or_path, keras.Model) else labels_of(model_or_path)
        return cls(model, sha256, target, origin, labels, images, method)

    @property
    def aware(self) -> bool:
        """True for a model of `quantize_aware`."""
        return is_quantization_aware(self.model)

    def lowering(self, recipe: Recipe) -> LoweringConfig:
        """Return the form that the network is written in for a recipe."""
        if self.aware:
            return lowering_of_aware(self.model)
        return effective_config(self.model, self.target.lowering(recipe))

    def converted(self, lowering: LoweringConfig) -> "Converted":
        """Convert the model in a form, once, and calibrate it where there are images."""
        if lowering not in self._converted:
            self._converted[lowering] = self._convert(lowering)
        return self._converted[lowering]

    def _convert(self, lowering: LoweringConfig) -> "Converted":
        input_range = self.origin.preprocessing.input_range
        if self.aware:
            stripped = Converted(*strip_fake_quant(to_tflite(freeze_ranges(self.model))))
            magnitudes(stripped.file, noise(stripped.file, *input_range))  # runs it once, before it is written
            return stripped
        file = to_tflite(lower(self.model, lowering))
        if self.images is None:
            return Converted(file, None, magnitudes(file, noise(file, *input_range)))
        ranges = activation_ranges(file, self.images, self.origin.preprocessing, self.method)
        greatest = {name: float(max(-ends["min"].min(), ends["max"].max())) for name, ends in ranges.items()}
        return Converted(file, ranges, greatest)

    def corrected(self, lowering: LoweringConfig) -> TFLiteModel:
        """Return the float file of a form with biases that undo the rounding of its weights."""
        file = self.converted(lowering).file
        if self.images is None:
            return file
        if lowering not in self._corrected:
            self._corrected[lowering] = correct_biases(file, self.images)
        return self._corrected[lowering]

    def quantized(self, recipe: Recipe, *, bias_correction: bool = False) -> TFLiteModel:
        """Return the file of a recipe, before it is packaged."""
        lowering = self.lowering(recipe)
        converted = self.converted(lowering)
        return quantize(self.corrected(lowering) if bias_correction else converted.file, recipe, converted.ranges)

    def artifact(
        self,
        file: TFLiteModel,
        recipe: Recipe,
        *,
        bias_correction: bool = False,
        scores: ScoreCalibration | None = None,
        io: str | None = None,
        **further: Any,
    ) -> BuiltArtifact:
        """Package a quantized file for the target, with its manifest; `further` are fields of that.

        Raises:
            InputError: the target refuses the file, or its tool is missing; with the layers that are the cause.
        """
        calibrated = self.images is not None and recipe.calibrated
        fields = {
            "lowering": dataclasses.asdict(self.lowering(recipe)),
            "bias_correction": bias_correction,
            "weights": initial_weights_of(self.model),
            "classes": None if self.labels is None else list(self.labels),
            **further,
        }
        content = QuantizedModel(file, recipe, self.model.name, self.origin.preprocessing, self.labels, scores, io)
        record = calibration_record(self.images, self.method) if calibrated and self.images is not None else None
        try:
            return build_artifact(content, self.target, source=self.sha256, calibration=record, **fields)
        except InputError as error:
            known = recipe.name if recipe.name in RECIPES else "static_wi8_ai8"  # which a search starts from
            layers = named(check(self.model, self.target.name, recipes=(known,)))
            raise InputError(f"{error}; in the Keras model: {layers}" if layers else str(error)) from None


def model_and_hash(model_or_path, input_shape: Sequence[int] | None = None) -> tuple[keras.Model, str | None]:
    """Return the model, after its weights were found finite, and the sha256 of its file where it is one."""
    if isinstance(model_or_path, keras.Model):
        check_names(model_or_path)
        check_weights(model_or_path)
        return with_input_shape(model_or_path, input_shape), None
    model = with_input_shape(load_model(model_or_path), input_shape)
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
