"""Web pages, by LiteRT.js.

In: a quantized file of one colour image. Out: the file with float32 input and output, and a page that runs it.

Source: `@litertjs/core` 2.5, which takes and gives float32 alone and wants a static batch.
"""

import json
from importlib.resources import files

from keras_se.errors import InputError
from keras_se.export.conversion.lowering_config import ONE_PARTITION
from keras_se.export.targets.base import Deliverable, QuantizedModel, Target, check_labels
from keras_se.export.targets.xnnpack import XNNPACK_LIMITS
from keras_se.export.tflite.io_types import with_float_io

_PLACE = "NETWORK"
_PROBABILITIES = {"SOFTMAX", "LOGISTIC"}
INTERPOLATIONS = ("bilinear", "bicubic", "lanczos3")
"""Resizing methods of the page."""


def package(quantized: QuantizedModel, target: Target) -> Deliverable:
    """Return the file with float32 input and output, and `NAME.RECIPE.html`, which classifies images with it.

    Raises:
        InputError: the network takes another input than one colour image, or one resized as the page cannot, or has
            another number of classes than of labels.
    """
    shape = quantized.file.input_shape
    height, width = quantized.preprocessing.size
    if shape != (1, height, width, 3):
        raise InputError(f"{target.name} takes networks of one image (1, {height}, {width}, 3); got {shape}")
    if quantized.preprocessing.interpolation not in INTERPOLATIONS:
        raise InputError(
            f"{target.name} resizes images by {', '.join(INTERPOLATIONS)}; got "
            f"{quantized.preprocessing.interpolation!r}; give the preprocessing one of these"
        )
    check_labels(quantized, target)
    return Deliverable(with_float_io(quantized.file), files={".html": page(quantized).encode()})


def page(quantized: QuantizedModel) -> str:
    """Return the page, with what it needs to know of the network inside."""
    network = {
        "name": quantized.name,
        "file": f"{quantized.name}.{quantized.recipe.name}.tflite",
        "recipe": quantized.recipe.name,
        "preprocessing": quantized.preprocessing.to_dict(),
        "labels": quantized.labels,
        "logits": quantized.file.output_operation not in _PROBABILITIES,
    }
    template = files("keras_se.export.targets").joinpath("browser.html").read_text(encoding="utf-8")
    # In a script element "</script>" and "<!--" would be read as markup, even within a string.
    return template.replace(_PLACE, json.dumps(network).replace("<", "\\u003c"), 1)


TARGETS = (
    Target(
        "browser",
        "LiteRT.js in a web page",
        integer_config=ONE_PARTITION,
        limits=XNNPACK_LIMITS,
        channels=3,
        xnnpack=True,
        one_image=True,  # as its page classifies them
        package=package,
    ),
)
