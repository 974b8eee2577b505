"""Range that an 8-bit tensor should have, from the values that pass through it: one observer a rule.

In: the values of a tensor, image by image. Out: its least and greatest value to represent.
"""

from typing import NamedTuple, Protocol

import numpy as np

from keras_se.errors import find_named

# A ReLU that no calibration image opens has a range of nothing; the scale that this gives, 1e-12, XNNPACK refuses.
LEAST_RANGE = 1e-3
_BINS = 4096  # after a doubling of their width still 2048, eight for each step of 8 bits
_BITS = 40  # that the greatest value's bin may have in its number, far more than float32's 24
_CANDIDATES = 128  # ends that the search for the least error tries on each side


class Observer(Protocol):
    """Record of a tensor's values that suffices to choose its range."""

    def add(self, values: np.ndarray) -> None:
        """Take in values of any shape, as of one image or one batch; what is not finite is left out."""
        ...

    def range(self) -> tuple[float, float]:
        """Return the least and the greatest value to represent; `(0.0, 0.0)` when none has been seen."""
        ...


class MinMaxObserver:
    """Least and greatest of all values."""

    def __init__(self):
        self._low, self._high = np.inf, -np.inf

    def add(self, values: np.ndarray) -> None:
        values = _finite(values)
        if values.size:
            self._low, self._high = min(self._low, float(values.min())), max(self._high, float(values.max()))

    def range(self) -> tuple[float, float]:
        return (self._low, self._high) if self._low <= self._high else (0.0, 0.0)


class MovingAverageObserver:
    """An average of each call's extremes that keeps 0.95 of itself: the rule of the quantizer's own calibration."""

    _KEPT = 0.95

    def __init__(self):
        self._ends: np.ndarray | None = None

    def add(self, values: np.ndarray) -> None:
        values = _finite(values)
        if values.size:
            ends = np.array([values.min(), values.max()], "float64")
            self._ends = ends if self._ends is None else self._KEPT * self._ends + (1 - self._KEPT) * ends

    def range(self) -> tuple[float, float]:
        return (0.0, 0.0) if self._ends is None else (float(self._ends[0]), float(self._ends[1]))


class Histogram:
    """Counts of values in up to 4,096 bins, whose width, a power of two, doubles as the values spread.

    Bin `i` holds the values in `[i, i + 1) * 2**exponent`. Zeros are counted apart: every quantizer has them exact.
    """

    def __init__(self):
        self._extremes = MinMaxObserver()
        self._exponent = -126  # of the least normal float32
        self._first = 0
        self._counts = np.zeros(0, "int64")
        self._zeros = 0

    def add(self, values: np.ndarray) -> None:
        values = _finite(values).astype("float64", copy=False)
        if not values.size:
            return
        self._extremes.add(values)
        low, high = self._extremes.range()
        # A constant never spreads: without this its bin would have a number that no integer holds.
        exponent = int(np.frexp(max(-low, high))[1]) - _BITS
        for _ in range(exponent - self._exponent):
            self._halve()
        self._exponent = max(self._exponent, exponent)
        while np.floor(np.ldexp(high, -self._exponent)) - np.floor(np.ldexp(low, -self._exponent)) >= _BINS:
            self._exponent += 1
            self._halve()
        first = int(np.floor(np.ldexp(low, -self._exponent)))
        counts = np.zeros(int(np.floor(np.ldexp(high, -self._exponent))) - first + 1, "int64")
        counts[self._first - first :][: self._counts.size] = self._counts
        others = values[values != 0]
        bins = np.floor(np.ldexp(others, -self._exponent)).astype("int64") - first
        self._counts = counts + np.bincount(bins, minlength=counts.size)
        self._first = first
        self._zeros += values.size - others.size

    def _halve(self) -> None:
        if not self._counts.size:
            return
        bins = (np.arange(self._counts.size) + self._first) // 2
        self._first = int(bins[0])
        self._counts = np.add.reduceat(self._counts, np.flatnonzero(np.diff(bins, prepend=self._first - 1)))

    def range(self) -> tuple[float, float]:
        return self._extremes.range()

    def _edges(self) -> np.ndarray:
        return np.ldexp(np.arange(self._counts.size + 1.0) + self._first, self._exponent)


class PercentileObserver(Histogram):
    """Range that leaves out the same share of the values at either end, 0.01 % in all."""

    KEPT = 0.9999

    def range(self) -> tuple[float, float]:
        low, high = super().range()
        if low == high:
            return low, high
        counts, edges = self._counts.astype("float64"), self._edges()
        counts[min(max(-self._first, 0), counts.size - 1)] += self._zeros
        below = np.concatenate([[0.0], np.cumsum(counts)]) / counts.sum()
        shares = (1 - self.KEPT) / 2, (1 + self.KEPT) / 2
        # Along the histogram's sum, from the last bin that is still empty to the first that is full.
        ends = (np.interp(share, below, edges) for share in shares)
        return tuple(float(np.clip(end, low, high)) for end in ends)  # pyright: ignore[reportReturnType]


class MSEObserver(Histogram):
    """Range with zero in it whose 8-bit quantizer has the least expected squared error.

    A value outside the range is off by its distance to the range's end; one that is rounded to zero, by itself; any
    other by up to half a step, evenly: step² / 12.
    """

    _STEPS = 255

    def range(self) -> tuple[float, float]:
        shares = np.arange(1, _CANDIDATES + 1) / _CANDIDATES
        low, high = (np.unique(end * shares) for end in (min(super().range()[0], 0), max(super().range()[1], 0)))
        low = low[:, None]
        edges = self._edges()
        centres = (edges[1:] + edges[:-1]) / 2
        # Sums of 1, x and x² over the bins below each edge.
        sums = [np.concatenate([[0.0], np.cumsum(self._counts * centres**power)]) for power in range(3)]

        def moments(start, stop):
            return [np.interp(stop, edges, total) - np.interp(start, edges, total) for total in sums]

        step = (high - low) / self._STEPS
        near = moments(np.maximum(-step / 2, low), np.minimum(step / 2, high))
        inside = moments(low, high)[0] - near[0]
        clipped = _distance(moments(-np.inf, low), low) + _distance(moments(high, np.inf), high)
        error = step**2 / 12 * inside + near[2] + clipped
        row, column = np.unravel_index(np.argmin(error), error.shape)
        return float(low[row, 0]), float(high[column])


def _distance(moments: list[np.ndarray], end: np.ndarray) -> np.ndarray:
    """Sum of (x - end)² over the values of which these are the sums of 1, x and x²."""
    return moments[2] - 2 * end * moments[1] + end**2 * moments[0]


def _finite(values: np.ndarray) -> np.ndarray:
    """Drop the infinities, which pad a maximum."""
    values = np.ravel(values)
    return values[np.isfinite(values)]


def with_zero(low: float, high: float) -> tuple[float, float]:
    """Return a range that includes zero and is wide enough to be quantized."""
    low = min(low, 0.0)
    return low, max(high, low + LEAST_RANGE, 0.0)


class Method(NamedTuple):
    """A rule for the ranges of activations."""

    name: str
    observer: type[Observer]


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("min_max", MinMaxObserver),
        Method("percentile", PercentileObserver),
        Method("mse", MSEObserver),
        Method("moving_average", MovingAverageObserver),
    )
}


def find_method(name: str) -> Method:
    """Return the calibration method of that name.

    Raises:
        InputError: there is none.
    """
    return find_named("calibration_method", METHODS, name)
