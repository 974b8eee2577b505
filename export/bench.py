"""What a file costs on this machine."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from keras_se.extras import import_extra

_SLOT_SECONDS = 0.005
"""A file runs for at least this long when it is its turn: the first run finds the caches full of the other's data."""


class Ratio(NamedTuple):
    """The latency of one file over that of another, of runs in turn."""

    ratio: float
    """Of the medians."""
    q1: float
    """The lower quartile of the rounds' own ratios."""
    q3: float
    """The upper one."""
    candidate_ms: float
    """Median."""
    reference_ms: float
    """Median."""
    rounds: int


def latency_ratio(candidate: bytes, reference: bytes, *, threads: int = 1, rounds: int = 50) -> Ratio:
    """How long one .tflite file takes over another, on LiteRT with XNNPACK and random input.

    Whatever else the machine does in a round, it does to both; and each comes first in every other round.

    Args:
        candidate: the file's content.
        reference: that of the file that it is compared with.
        threads: of each.
        rounds: how often each has its turn.
    """
    runs = [_litert(content, threads) for content in (candidate, reference)]
    repeats = [_repeats(run) for run in runs]
    seconds = np.empty((rounds, 2))
    for number in range(rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            seconds[number, which] = np.median(_timed(runs[which], repeats[which]))
    medians = np.median(seconds, axis=0)
    q1, q3 = np.quantile(seconds[:, 0] / seconds[:, 1], (0.25, 0.75))
    return Ratio(float(medians[0] / medians[1]), float(q1), float(q3), *(1e3 * medians).tolist(), rounds)


def _repeats(run: Callable[[], None]) -> int:
    _timed(run, 3)  # the first runs unpack weights and fill caches
    return max(1, round(_SLOT_SECONDS / min(_timed(run, 3))))


def _timed(run: Callable[[], None], repeats: int) -> list[float]:
    """The seconds of each run."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def _litert(content: bytes, threads: int) -> Callable[[], None]:
    """One inference of the file, on random input."""
    interpreter = import_extra("ai_edge_litert.interpreter", "edge").Interpreter(
        model_content=content, num_threads=threads
    )
    interpreter.allocate_tensors()
    for taken in interpreter.get_input_details():
        interpreter.set_tensor(taken["index"], _random(taken["shape"], taken["dtype"]))
    return interpreter.invoke


def _random(shape: Any, dtype: Any) -> np.ndarray:
    rng = np.random.default_rng(0)
    if np.issubdtype(dtype, np.floating):
        return rng.random(shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
