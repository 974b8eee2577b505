"""A float .tflite file to a quantized one."""

import contextlib
import io
import warnings
from collections.abc import Iterator

from keras_se.errors import InputError
from keras_se.export.calibration import Ranges
from keras_se.export.flatbuffer import inlined
from keras_se.export.recipes import Recipe
from keras_se.extras import import_extra


def quantize(float_file: bytes, recipe: Recipe, ranges: Ranges | None = None) -> bytes:
    """The float file in the recipe's number format, self-contained.

    Args:
        ranges: of `calibrate`, for a static recipe.
    Raises:
        InputError: the network lacks the part that the recipe treats apart.
    """
    if recipe.rules is None:
        return inlined(float_file)
    try:
        rules = recipe.rules(float_file)
    except InputError as error:
        raise InputError(f"{recipe.name} does not fit: {error}") from None
    quantizer = import_extra("litert_quantizer.quantizer", "edge").Quantizer(float_file, rules)
    with _quietly():
        result = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return inlined(bytes(result.quantized_model))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the quantizer's bars, which start anew at each file, and its warnings."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
