"""Latency of a file on this machine: alone, by its operations, and over another file.

In: contents of files, in a child process. Out: milliseconds, and ratios of runs in turn.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from keras_se.errors import InputError
from keras_se.export.evaluation.memory import peak_bytes, resident_bytes
from keras_se.export.evaluation.profile import operations
from keras_se.export.runtimes.tflite_micro import micro_interpreter
from keras_se.export.tflite.model import TFLiteModel
from keras_se.optional_packages import import_extra
from keras_se.progress import track

_SLOT_SECONDS = 0.005
"""A file runs for at least this long when it is its turn: the first run finds the caches full of the other's data."""

_SESSIONS = 5
"""Number of times that both files are opened: where their memory happens to lie makes one a few per cent faster, for as
long as it is open."""

_WARM_UP = 3
"""First runs, not counted: they unpack weights and fill caches."""

Run = Callable[[], Any]
"""One inference."""

Open = Callable[[bytes, int, int | None], Run]
"""Function of content, threads and batch that returns inference on random input."""


class Ratio(NamedTuple):
    """Latency of one file over that of another, of runs in turn."""

    ratio: float
    """Ratio of the medians of their runs in a round: the median round's. The machine's speed changes between rounds, so
    that the medians over all of them may be of different moments."""
    q1: float
    """Lower quartile of the rounds' ratios."""
    q3: float
    """Upper quartile of the rounds' ratios."""
    candidate_ms: float
    """Median over all rounds."""
    reference_ms: float
    """Median over all rounds."""
    rounds: int


def _in_turn(opened: Sequence[Callable[[], Run]], rounds: int) -> Iterator[list[float]]:
    """Yield the seconds that a run of each takes, round by round."""
    for session, numbers in enumerate(np.array_split(np.arange(rounds), min(rounds, _SESSIONS))):
        order = (0, 1) if session % 2 else (1, 0)
        runs = {which: opened[which]() for which in order}
        repeats = {which: _repeats(runs[which]) for which in order}
        for number in numbers:
            seconds = {
                which: float(np.median(_timed(runs[which], repeats[which])))
                for which in (order if number % 2 else order[::-1])
            }
            yield [seconds[0], seconds[1]]


def measure(content: bytes, engine: str, threads: int, batch: int | None, runs: int) -> dict[str, Any]:
    """Latency and memory of a file, as fields of `Bench`; to be run in a child process."""
    before = resident_bytes()
    run = OPEN[engine](content, threads, batch)
    _timed(run, _WARM_UP)
    milliseconds = 1e3 * np.array([*track(_each(run, runs), "Running", total=runs)])
    q1, median, q3 = np.quantile(milliseconds, (0.25, 0.5, 0.75)).tolist()
    peak = peak_bytes()
    return {
        "median_ms": median,
        "q1_ms": q1,
        "q3_ms": q3,
        "batch": TFLiteModel(content).input_shape[0] if batch is None else batch,
        "peak_memory_bytes": None if before is None or peak is None else peak - before,
    }


def measure_operations(content: bytes, engine: str, threads: int, batch: int | None, runs: int) -> dict[str, Any]:
    """Under "operations" each operation's latency; to be run in a child process."""
    del runs  # an operation is too short for any number but that which fills its slots
    if batch is not None:
        raise InputError("an operation runs on the file's own batch; leave out --batch or --profile")
    rows = []
    for part in track(operations(content), "Running operations"):
        run = OPEN[engine](part.content, threads, None)
        repeats = _repeats(run)
        median = 1e3 * float(np.median([np.median(_timed(run, repeats)) for _ in range(3)]))
        rows.append({"operation": part.name, "layer": part.layer, "tensor": part.tensor, "median_ms": median})
    total = sum(row["median_ms"] for row in rows)
    return {"operations": [{**row, "share": row["median_ms"] / total} for row in rows]}


def measure_ratio(
    content: bytes, reference: bytes, engine: str, threads: int, batch: int | None, runs: int
) -> dict[str, Any]:
    """Return the fields of `Ratio`; to be run in a child process.

    Whatever else the machine does in a round, it does to both; and each comes first in every other round. Both are
    opened anew a few times.
    """
    opened = [partial(OPEN[engine], file, threads, batch) for file in (content, reference)]
    seconds = np.array([*track(_in_turn(opened, runs), "Running in turn", total=runs)])
    q1, ratio, q3 = np.quantile(seconds[:, 0] / seconds[:, 1], (0.25, 0.5, 0.75)).tolist()
    candidate_ms, reference_ms = (1e3 * np.median(seconds, axis=0)).tolist()
    return Ratio(ratio, q1, q3, candidate_ms, reference_ms, runs)._asdict()


def _repeats(run: Run) -> int:
    _timed(run, _WARM_UP)
    return max(1, round(_SLOT_SECONDS / min(_timed(run, 3))))


def _timed(run: Run, repeats: int) -> list[float]:
    return list(_each(run, repeats))


def _each(run: Run, repeats: int) -> Iterator[float]:
    """Yield the seconds of each run."""
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        yield time.perf_counter() - start


def _litert(content: bytes, threads: int, batch: int | None, resolver: str) -> Run:
    litert = import_extra("ai_edge_litert.interpreter", "edge")
    interpreter = litert.Interpreter(
        model_content=content, num_threads=threads, experimental_op_resolver_type=litert.OpResolverType[resolver]
    )
    if batch is not None:
        for taken in interpreter.get_input_details():
            interpreter.resize_tensor_input(taken["index"], (batch, *taken["shape"][1:]))
    try:
        interpreter.allocate_tensors()
        for taken in interpreter.get_input_details():
            interpreter.set_tensor(taken["index"], _random(taken["shape"], taken["dtype"]))
        interpreter.invoke()
    except RuntimeError as error:
        raise RuntimeError(f"{error}" if batch is None else f"no batch of {batch}: {error}") from None
    batches = {int(output["shape"][0]) for output in interpreter.get_output_details()}
    if batch is not None and batches != {batch}:
        raise RuntimeError(f"no batch of {batch}: it gives {sorted(batches)}")
    return interpreter.invoke


def _tflm(content: bytes, threads: int, batch: int | None) -> Run:
    del threads
    interpreter = micro_interpreter(content)
    for number in range(TFLiteModel(content).io_counts[0]):
        taken = interpreter.get_input_details(number)
        if batch not in (None, taken["shape"][0]):
            raise RuntimeError(f"it takes the file's own batch of {taken['shape'][0]}; got a batch of {batch}")
        interpreter.set_input(_random(taken["shape"], taken["dtype"]), number)
    return interpreter.invoke


OPEN: dict[str, Open] = {
    "litert": lambda *arguments: _litert(*arguments, resolver="AUTO"),
    "litert_reference": lambda *arguments: _litert(*arguments, resolver="BUILTIN_REF"),
    "tflm": _tflm,
}


def _random(shape: Any, dtype: Any) -> np.ndarray:
    rng = np.random.default_rng(0)
    if np.issubdtype(dtype, np.floating):
        return rng.random(shape).astype(dtype)
    if dtype == np.bool_:
        return rng.random(shape) < 0.5
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
