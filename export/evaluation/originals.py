"""Float files that candidates were made from: converted from the model, and compared with the candidate.

In: a model or its float file, and candidates. Out: for each candidate how well it keeps its constants and operations,
and the noise that is predicted for it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_se.export.conversion.converter import to_tflite
from keras_se.export.conversion.lowering import lower
from keras_se.export.conversion.lowering_config import LOWERINGS, LoweringConfig
from keras_se.export.conversion.matching import effective_config
from keras_se.export.evaluation.noise_prediction import with_roundings
from keras_se.export.evaluation.verdict import Figures, figures_of, weight_failures
from keras_se.export.manifest import form_of_manifest, lowering_of
from keras_se.export.qat.freezing import freeze_ranges, is_quantization_aware
from keras_se.export.qat.strip_fake_quant import strip_fake_quant
from keras_se.export.quantization.calibration import calibrate
from keras_se.export.quantization.recipes import Recipe
from keras_se.export.runtimes.base import Outputs
from keras_se.export.runtimes.registry import run_file
from keras_se.export.tflite.constants import WeightError, other_operation, weight_error
from keras_se.export.tflite.model import TFLiteModel


class Candidate(NamedTuple):
    """A .tflite file that is compared."""

    path: Path
    file: TFLiteModel
    recipe: Recipe
    """Read off its types."""


class Original(NamedTuple):
    """Float file that a candidate is held to, and how well the candidate keeps to it."""

    file: TFLiteModel
    weights: WeightError
    failures: tuple[str, ...]


class Originals:
    """Float files of a model, made when a candidate needs one, and what their arithmetic can do with roundings."""

    def __init__(
        self,
        model: keras.Model | None,
        images: np.ndarray,
        outputs: Outputs | None,
        float_file: Path | str | None = None,
    ):
        self.outputs: Any = outputs
        self._model, self._images = model, images
        self._given = None if float_file is None else (lowering_of(float_file), TFLiteModel.load(float_file))
        self._converted: dict[LoweringConfig, TFLiteModel] = {}
        self._originals: dict[Path, Original | None] = {}
        self._predicted: dict[Path, Figures | None] = {}
        self.notes = () if model is None else _precision(model)

    def of(self, candidate: Candidate) -> Original | None:
        """Return the one that the candidate was made from; None where none is at hand, or no constant has its name."""
        if candidate.path not in self._originals:
            self._originals[candidate.path] = self._sought(candidate)
        return self._originals[candidate.path]

    def _sought(self, candidate: Candidate) -> Original | None:
        lowering, best = form_of_manifest(candidate.path), None
        for file in self._float_files(lowering):
            original = _held(file, candidate.file)
            if not original.failures:
                return original
            if best is None or original.weights.compared > best.weights.compared:
                best = original
        foreign = lowering is None and self._given is None
        return None if best is None or (foreign and best.weights.compared == 0) else best

    def _float_files(self, lowering: LoweringConfig | None) -> Iterator[TFLiteModel]:
        """Float files of the form; of any, where it is not known: a wrong constant is wrong in each."""
        if self._given is not None and lowering in (None, self._given[0]):
            yield self._given[1]
            if lowering is not None:
                return
        if self._model is not None:
            lowerings = LOWERINGS if lowering is None else (lowering,)
            for effective in dict.fromkeys(effective_config(self._model, lowering) for lowering in lowerings):
                yield self._own(effective)

    def _own(self, lowering: LoweringConfig) -> TFLiteModel:
        model: Any = self._model
        if lowering not in self._converted:
            if is_quantization_aware(model):
                self._converted[lowering] = strip_fake_quant(to_tflite(freeze_ranges(model)))[0]
            else:
                self._converted[lowering] = to_tflite(lower(model, lowering))
        return self._converted[lowering]

    def predicted(self, candidate: Candidate) -> Figures | None:
        """Measure the float network with the candidate's roundings against the model; None where that is not known."""
        if candidate.path not in self._predicted:
            original = self.of(candidate)
            if original is None or original.failures or self.outputs is None:
                self._predicted[candidate.path] = None
            else:
                self._predicted[candidate.path] = self._rounded(candidate, original.file.without_softmax)
        return self._predicted[candidate.path]

    def _rounded(self, candidate: Candidate, float_file: TFLiteModel) -> Figures:
        rounded = with_roundings(float_file, candidate.file, calibrate(float_file, self._images))
        label = f"{candidate.path}, its roundings in float"
        return figures_of(self.outputs, run_file("litert", rounded, self._images, label))


def _held(float_file: TFLiteModel, candidate: TFLiteModel) -> Original:
    weights = weight_error(float_file, candidate)
    failures = weight_failures(weights)
    if weights.compared and (other := other_operation(float_file, candidate)):
        failures += (other,)
    return Original(float_file, weights, failures)


def _precision(model: keras.Model) -> tuple[str, ...]:
    names = sorted({layer.compute_dtype for layer in model._flatten_layers(include_self=False)} - {"float32"})
    return (f"the model, of {', '.join(names)}, computes in float32 here, as its files do",) if names else ()
