"""Export of a Keras model: a .tflite file per recipe, and beside each its manifest.

In: a model, recipes, a target, and calibration images. Out: an `Artifact` for each file on disk.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_se.atomic_files import check_writable
from keras_se.errors import InputError
from keras_se.export.artifacts import Artifact, check_replaceable, write_all
from keras_se.export.pipeline import Pipeline
from keras_se.export.quantization.observers import find_method
from keras_se.export.quantization.quantizer import MOST_FLOAT16
from keras_se.export.quantization.recipes import RECIPES, find_recipe
from keras_se.export.targets.base import Target
from keras_se.export.targets.registry import TARGETS, find_target
from keras_se.export.tflite.batches import with_batch
from keras_se.export.tflite.score_calibration import ScoreCalibration
from keras_se.preprocessing import Preprocessing
from keras_se.progress import track


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
    input_shape: Sequence[int] | None = None,
    io: str | None = None,
    batch: int = 1,
) -> list[Artifact]:
    """Convert a model once to float and from there to each recipe.

    Writes `NAME.RECIPE.tflite` and `NAME.RECIPE.tflite.json` for each recipe into `out`, when all have been made.
    Static recipes take and give integers.

    Args:
        model_or_path: a Keras model of one image input and one output, or a `.keras` file. One of `quantize_aware`
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
        input_shape: height, width and channels of an image, for a model that takes any size, or of a class of its own,
            which has no input layer.
        io: "uint8", for the target edgetpu: files take and give what int8 ones do, and 128 more. By default the
            target's own types.
        batch: images that a file takes at a time; some targets take one.
    Returns:
        An artifact for each recipe, in their order.
    Raises:
        InputError: a name is unknown, the target does not run a recipe or has no place for a score calibration, an
            input and output of that type or a batch, the network takes no batch or lacks the part that a recipe treats
            apart, the model cannot be read or has another input, the calibration images are missing, unfit or of
            another range than what the network takes, or `out` cannot be written or has another's file of the same
            name.
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
    if io is not None and io not in device.io:
        able = [f"{name} ({', '.join(other.io)})" for name, other in TARGETS.items() if other.io]
        raise InputError(f"io is for the target {' or '.join(able)}; got {io!r} for {target}")
    if batch < 1:
        raise InputError(f"batch must be at least 1; got {batch}")
    device.check_batch(batch)
    folder = check_writable(out)
    pipeline = Pipeline.open(
        model_or_path,
        device,
        chosen,
        calibration=calibration,
        method=calibration_method,
        preprocessing=preprocessing,
        input_shape=input_shape,
        bias_correction=bias_correction,
    )
    for recipe in chosen:
        check_replaceable(folder, f"{pipeline.model.name}.{recipe.name}")
    artifacts, overflows = [], {}
    for recipe in track(chosen, f"Making {len(chosen)} files", total=len(chosen)):
        correcting = bias_correction and recipe.rounds_weights
        file = with_batch(pipeline.quantized(recipe, bias_correction=correcting), batch)
        further: dict[str, Any] = {}
        if device.computes_in_float16:
            beyond = pipeline.converted(pipeline.lowering(recipe)).beyond_float16
            further, overflows = {"beyond_float16": beyond}, overflows | beyond
        artifacts.append(
            pipeline.artifact(file, recipe, bias_correction=correcting, scores=score_calibration, io=io, **further)
        )
    if overflows:
        _warn(device, overflows)
    return write_all(artifacts, folder)


def _warn(target: Target, overflows: dict[str, float]) -> None:
    """Name the layers with numbers that float16 does not hold."""
    layers = ", ".join(f"{layer} ({greatest:g})" for layer, greatest in overflows.items())
    logging.getLogger("keras_se").warning(
        "%s computes in float16 by default, which holds numbers up to %s; beyond it are those of %s: forbid the "
        "delegate the loss of precision, or train again with batch normalization and weight decay",
        target.name,
        f"{MOST_FLOAT16:,}",
        layers,
    )
