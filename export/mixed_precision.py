"""Export of the file of a search for the operations that need more than 8 bits.

In: a model, calibration images, and images with labels. Out: the file on disk, and the record of the search.
"""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from keras_se.atomic_files import check_writable
from keras_se.errors import InputError
from keras_se.export.artifacts import Artifact, check_replaceable, write
from keras_se.export.pipeline import Pipeline
from keras_se.export.precision_search import Search, check_search, search
from keras_se.export.quantization.image_range import check_accuracy, check_range
from keras_se.export.quantization.observers import find_method
from keras_se.export.quantization.recipes import MIXED_PRECISION, RECIPES
from keras_se.export.targets.registry import find_target
from keras_se.preprocessing import Preprocessing


def export_mixed_precision(
    model_or_path: keras.Model | Path | str,
    out: Path | str,
    *,
    calibration: np.ndarray,
    images: np.ndarray,
    labels: np.ndarray,
    max_drop: float = 0.5,
    higher_precision: str | None = None,
    target: str = "phone_cpu",
    calibration_method: str = "min_max",
    preprocessing: Preprocessing | None = None,
    input_shape: Sequence[int] | None = None,
) -> tuple[Artifact, Search]:
    """Convert a model, search, and write `NAME.static_wi8_ai8_mixed.tflite` with its manifest into `out`.

    The file is written also when the bound was not reached; `Search.reached` and the manifest tell.

    Args:
        higher_precision: format of the operations that are not int8; None for the target's own choice.
        model_or_path, out, calibration, target, calibration_method, preprocessing, input_shape: as for `export`.
        images, labels, max_drop: as for `search`.
    Returns:
        The file, and how the search came to it.
    Raises:
        InputError: as for `export` and `search`.
    Example:
        >>> half = len(images) // 2
        >>> artifact, result = export_mixed_precision(
        ...     "run/model.keras", "mixed", calibration=images[:half], images=images[half:], labels=labels[half:],
        ...     max_drop=2,
        ... )
        >>> artifact.path.name, result.reached
        ('se_mobilenet.static_wi8_ai8_mixed.tflite', True)
    Source: Agresti and Min 2005, for the interval of the loss (`keras_se.export.evaluation.paired_interval`).
    """
    device = find_target(target, [RECIPES["static_wi8_ai8"]])
    higher_precision = higher_precision or device.higher_precision
    find_method(calibration_method)
    check_search(max_drop, higher_precision, images, labels)
    folder = check_writable(out)
    int8 = RECIPES["static_wi8_ai8"]
    pipeline = Pipeline.open(
        model_or_path,
        device,
        [int8],
        calibration=calibration,
        method=calibration_method,
        preprocessing=preprocessing,
        input_shape=input_shape,
    )
    if pipeline.aware:
        raise InputError("a search starts from a float model; a quantization-aware one is exported as static_wi8_ai8")
    check_replaceable(folder, f"{pipeline.model.name}.{MIXED_PRECISION.name}")
    check_range(images, pipeline.origin, what="images")
    check_accuracy(pipeline.model, images, labels, pipeline.origin)
    float_file, ranges, _ = pipeline.converted(pipeline.lowering(int8))
    assert ranges is not None  # of the images, which the recipe needs
    result = search(float_file, ranges, images, labels, max_drop=max_drop, higher_precision=higher_precision)
    record = {**result.to_dict(), "images": len(images)}
    return write(pipeline.artifact(result.file, MIXED_PRECISION, search=record), folder), result
