"""Models that cannot give the ranges of an int8 file are refused, not quantized by chance."""

import keras
import pytest

from keras_se.export.conversion.converter import to_tflite
from keras_se.export.qat.fake_quant import FakeQuantize
from keras_se.export.qat.strip_fake_quant import strip_fake_quant


def float_file(*last):
    """An input and a convolution with a range each, and what follows."""
    first = [keras.Input((4, 4, 3)), FakeQuantize(0.0, 1.0), keras.layers.Conv2D(2, 3), FakeQuantize(-1.0, 1.0)]
    return to_tflite(keras.Sequential([*first, *last]))


def test_a_tensor_with_two_ranges_is_refused():
    with pytest.raises(ValueError, match=r"must belong to one operation; got two in a row at .*fake_quantize"):
        strip_fake_quant(float_file(FakeQuantize(-2.0, 1.0)))


def test_an_activation_without_a_range_is_named():
    with pytest.raises(ValueError, match=r"every activation must have a range; got none for .*/bare_1/.*, of CONV_2D"):
        strip_fake_quant(float_file(keras.layers.Conv2D(2, 1, name="bare"), keras.layers.Conv2D(2, 1)))


def test_a_range_for_each_is_taken():
    _, ranges = strip_fake_quant(float_file(keras.layers.MaxPooling2D(2)))
    ends = [(float(ends_of["min"].item()), float(ends_of["max"].item())) for ends_of in ranges.values()]
    # 256 values with zero among them: the range moves by half a step of 2 / 255.
    assert sorted(ends) == [pytest.approx((-1.0, 1.0), abs=1.01 / 255)] * 2 + [pytest.approx((0.0, 1.0))]
