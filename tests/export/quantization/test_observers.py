"""Rules for activation ranges against NumPy on all the values at once."""

import itertools

import numpy as np
import pytest

from keras_se.errors import InputError
from keras_se.export.quantization.observers import METHODS, Histogram, find_method

RNG = np.random.default_rng(0)
SAMPLES = {
    "normal": RNG.normal(0.5, 2.0, (20, 500)),
    "heavy tails": RNG.standard_t(3, (20, 500)),
    "ReLU": np.maximum(RNG.normal(-0.5, 1.0, (20, 500)), 0),
    "one outlier": np.where(np.arange(10000).reshape(20, 500) == 7777, 1000.0, RNG.random((20, 500))),
    "far from zero": RNG.uniform(100, 101, (20, 500)),
    "growing": RNG.normal(size=(20, 500)) * np.logspace(-30, 3, 20)[:, None],
}


def observed(method, samples):
    observer = METHODS[method].observer()
    for sample in samples:
        observer.add(sample)
    return observer.range()


def squared_error(values, low, high):
    """Return the squared error of 8 bits for that range, zero point nudged to an integer as in LiteRT's kernels."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / 255
    zero = np.round(-128 - low / step)
    stored = np.clip(np.round(values / step) + zero, -128, 127)
    return np.mean((values - (stored - zero) * step) ** 2)


@pytest.mark.parametrize("name", SAMPLES)
def test_min_max_is_that_of_all_values(name):
    assert observed("min_max", SAMPLES[name]) == (SAMPLES[name].min(), SAMPLES[name].max())


@pytest.mark.parametrize("name", SAMPLES)
def test_moving_average_is_its_recurrence(name):
    low, high = SAMPLES[name][0].min(), SAMPLES[name][0].max()
    for sample in SAMPLES[name][1:]:
        low, high = 0.95 * low + 0.05 * sample.min(), 0.95 * high + 0.05 * sample.max()
    assert observed("moving_average", SAMPLES[name]) == pytest.approx((low, high))


@pytest.mark.parametrize("name", SAMPLES)
def test_percentile_is_numpys_quantile_to_a_bin(name):
    values = SAMPLES[name]
    low, high = observed("percentile", values)
    # A histogram knows neither where in its bin a value lies nor what is between two values: one value either way.
    for end, share in ((low, 0.00005), (high, 0.99995)):
        around = [np.quantile(values, np.clip(share + step / values.size, 0, 1)) for step in (-1, 1)]
        bin_width = np.ptp(values) / 2048
        assert around[0] - bin_width <= end <= around[1] + bin_width


@pytest.mark.parametrize("name", SAMPLES)
def test_no_range_of_a_dense_grid_has_less_error_than_mse(name):
    values = SAMPLES[name].ravel()
    error = squared_error(values, *observed("mse", SAMPLES[name]))
    ends = [np.linspace(end / 40, end, 40) if end else [0.0] for end in (min(values.min(), 0), values.max())]
    least = min(squared_error(values, low, high) for low, high in itertools.product(*ends))
    # 10 %: rounding errors are taken to be even within a step, and 10,000 values are a sample.
    assert error <= 1.1 * least


def test_mse_gives_up_an_outlier_only_where_that_pays():
    """Ten thousand values in 0..1 and one of 20: (19)² of clipping against 10,000 steps of 20/255 squared, over 12."""
    values = np.linspace(0, 1, 10000)
    assert 19**2 > 10000 * (20 / 255) ** 2 / 12
    assert observed("mse", [values, np.array([20.0])])[1] > 15
    many = np.tile(values, 1000)
    assert 19**2 < 1000 * 10000 * (20 / 255) ** 2 / 12
    assert observed("mse", [many, np.array([20.0])])[1] < 12


@pytest.mark.parametrize("name", SAMPLES)
def test_every_value_is_counted_in_its_bin(name):
    histogram = Histogram()
    for sample in SAMPLES[name]:
        histogram.add(sample)
    values = SAMPLES[name][SAMPLES[name] != 0]
    edges = histogram._edges()
    assert edges.size <= 4098
    assert histogram._zeros == SAMPLES[name].size - values.size
    expected = np.bincount(np.searchsorted(edges, values, side="right") - 1, minlength=edges.size - 1)
    np.testing.assert_array_equal(histogram._counts, expected)


@pytest.mark.parametrize("method", METHODS)
def test_padding_with_infinity_and_nothing_at_all(method):
    assert observed(method, []) == (0.0, 0.0)
    assert observed(method, [np.array([-np.inf])]) == (0.0, 0.0)
    low, high = observed(method, [np.array([[-np.inf, 1.0], [2.0, np.nan]])])
    assert np.isfinite([low, high]).all()
    assert high <= 2.0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.5, -0.25, 3e38, -3e38, 1e-42, 0.0])
def test_a_constant_has_the_range_of_its_value(method, value):
    """Such is a gate that is always 0.5; the least squares' range has zero in it."""
    value = np.float32(value)
    low, high = observed(method, [np.full(10, value), np.full((1, 1), value), np.zeros(0, "float32")])
    ends = (min(value, 0), max(value, 0)) if method == "mse" else (value, value)
    np.testing.assert_allclose((low, high), ends, rtol=1e-15)  # an average of equal values may be off by one rounding


@pytest.mark.filterwarnings("error")
def test_a_histogram_of_a_constant_and_then_of_others_counts_them_all():
    histogram = Histogram()
    samples = [np.full(10, 0.5), np.array([1e-42, -0.75]), np.full(3, 0.5000001)]
    for sample in samples:
        histogram.add(sample)
    values = np.concatenate(samples)
    np.testing.assert_array_equal(histogram._counts, np.histogram(values, histogram._edges())[0])


def test_an_unknown_method_is_refused():
    with pytest.raises(InputError, match="one of min_max, percentile, mse, moving_average; got 'entropy'"):
        find_method("entropy")
