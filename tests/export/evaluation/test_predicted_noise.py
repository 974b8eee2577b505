"""Bounds of a verdict on a network of which eight bits leave little: they follow from the noise that is predicted."""

import functools

import numpy as np
import pytest
from coloured_images import coloured, fitted, network

from keras_se.export import RECIPES, compare
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.conversion.lowering import lower
from keras_se.export.conversion.lowering_config import PLAIN
from keras_se.export.evaluation.verdict import PREDICTED_NOISE
from keras_se.export.pipeline import activation_ranges
from keras_se.export.quantization.quantizer import quantize
from keras_se.preprocessing import Preprocessing

UNEVEN_RIGHT, UNEVEN_LOST = 15, 40
"""Ranges of one channel in those of the others: int8 is at 19 and 5 dB, of 0.99 and 0.81 of the classes."""


@functools.cache
def uneven(factor):
    """A network with a channel of so many times the others' range, which the next layer ignores, and its float file."""
    model = network("none")
    stem, pointwise = model.get_layer("stem"), model.get_layer("pointwise")
    kernel, bias = stem.get_weights()
    kernel[..., 0], bias[0] = factor * np.abs(kernel[..., 0]), 0
    stem.set_weights([kernel, bias])
    kernel, bias = pointwise.get_weights()
    kernel[:, :, 0] = 0
    pointwise.set_weights([kernel, bias])
    se = model.get_layer("se")
    se.set_weights([0 * weight for weight in se.get_weights()])  # gates of a half
    fitted(model.get_layer("logits"), model, *coloured(300, seed=1))
    return model, to_tflite(lower(model, PLAIN))


def int8_of(factor, calibration, folder):
    """Return the uneven network, its float file and its int8 one."""
    model, content = uneven(factor)
    ranges = activation_ranges(content, calibration, Preprocessing(8, 8), "min_max")
    files = folder / "float32.tflite", folder / "int8.tflite"
    for file, model_file in zip(files, (content, quantize(content, RECIPES["static_wi8_ai8"], ranges)), strict=True):
        file.write_bytes(model_file.content)
    return model, *files


@pytest.mark.parametrize(("factor", "verdict"), [(UNEVEN_RIGHT, "pass"), (UNEVEN_LOST, "fail")])
def test_the_bounds_follow_from_what_eight_bits_can_do_for_the_network(factor, verdict, tmp_path):
    """Below 20 dB a file that loses next to nothing passes, and one that loses its classes fails."""
    model, float32, int8 = int8_of(factor, coloured(60, seed=3)[0], tmp_path)
    images, labels = coloured(200, seed=2)
    for known_labels in (labels, None):
        row = compare(model, int8, images, labels=known_labels, float_file=float32)
        assert row.sqnr_db < RECIPES["static_wi8_ai8"].tolerance.sqnr_db
        assert row.verdict == verdict, row
        assert f"{PREDICTED_NOISE} times the noise" in row.tolerance
        assert all("accuracy" in failure or "agreement" in failure for failure in row.failures)


def test_ranges_that_clip_are_no_excuse(tmp_path):
    """The prediction takes the ranges of the images, not the file's: here of images a fifth as bright."""
    model, float32, int8 = int8_of(UNEVEN_RIGHT, coloured(60, seed=3)[0] / 5, tmp_path)
    images, labels = coloured(100, seed=2)
    row = compare(model, int8, images, labels=labels, float_file=float32)
    assert any("SQNR" in failure for failure in row.failures)
