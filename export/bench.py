"""What a file costs on this machine: latency, alone or over another file's, and memory."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_se.errors import InputError
from keras_se.export import flatbuffer, isolated
from keras_se.export.engines import ENGINES, find_engine, micro_interpreter
from keras_se.export.memory import peak_bytes, resident_bytes
from keras_se.export.profile import operations
from keras_se.export.recognition import recipe_of
from keras_se.extras import import_extra
from keras_se.progress import track

_SLOT_SECONDS = 0.005
"""A file runs for at least this long when it is its turn: the first run finds the caches full of the other's data."""

_SESSIONS = 5
"""How often both are opened anew: where their memory happens to lie makes one a few per cent faster all the while."""

_WARM_UP = 3
"""The first runs unpack weights and fill caches."""

Open = Callable[[bytes, int, int | None], Callable[[], Any]]
"""From content, threads and batch to one inference on random input."""


class Ratio(NamedTuple):
    """The latency of one file over that of another, of runs in turn."""

    ratio: float
    """Of the medians of their runs in a round: the median round's. The machine's speed changes between rounds, so that
    the medians over all of them may be of different moments."""
    q1: float
    """The lower quartile of the rounds' ratios."""
    q3: float
    """The upper one."""
    candidate_ms: float
    """Median over all rounds."""
    reference_ms: float
    """Median over all rounds."""
    rounds: int


def latency_ratio(
    candidate: bytes,
    reference: bytes,
    *,
    threads: int = 1,
    rounds: int = 50,
    engine: str = "litert",
    batch: int | None = None,
) -> Ratio:
    """How long one .tflite file takes over another, on random input.

    Whatever else the machine does in a round, it does to both; and each comes first in every other round. Both are
    opened anew a few times.

    Args:
        candidate: the file's content.
        reference: that of the file that it is compared with.
        threads: of each.
        rounds: how often each has its turn.
        engine: "litert" (XNNPACK), "litert_reference" or "tflm".
        batch: images in one run; by default as many as the file says.
    """
    contents, seconds = (candidate, reference), np.empty((rounds, 2))
    length = -(-rounds // _SESSIONS)
    for number in track(range(rounds), "Running in turn", total=rounds):
        order = (0, 1) if number % 2 else (1, 0)
        if number % length == 0:
            opened = (0, 1) if number // length % 2 else (1, 0)
            runs = {which: _OPEN[engine](contents[which], threads, batch) for which in opened}
            repeats = {which: _repeats(runs[which]) for which in opened}
        for which in order:
            seconds[number, which] = np.median(_timed(runs[which], repeats[which]))
    q1, ratio, q3 = np.quantile(seconds[:, 0] / seconds[:, 1], (0.25, 0.5, 0.75)).tolist()
    return Ratio(ratio, q1, q3, *(1e3 * np.median(seconds, axis=0)).tolist(), rounds)


@dataclass(frozen=True)
class Bench:
    """What a file costs on an engine."""

    file: str
    engine: str
    threads: int
    batch: int
    """Images in one run."""
    runs: int
    median_ms: float
    q1_ms: float
    q3_ms: float
    peak_memory_bytes: int | None
    """What the process grew by at most from before the file was opened; None where /proc is not."""
    bytes: int
    """Of the file."""
    partitions: int | None
    """Into how many pieces XNNPACK cuts the graph; None if it does not take it."""
    arena_bytes: int | None
    """What TFLite Micro uses of its arena, which must be somewhat larger; None if it does not run the file."""
    profile: list[dict[str, Any]] | None = None
    """Each operation alone: operation, layer, tensor, median_ms, share (of the sum)."""
    against: str | None = None
    ratio: dict[str, float] | None = None
    """The fields of `Ratio`."""

    def to_dict(self) -> dict[str, Any]:
        """Every field; profile and ratio only where they were asked for."""
        fields = asdict(self)
        return {name: value for name, value in fields.items() if value is not None or name not in _ON_REQUEST}


_ON_REQUEST = ("profile", "against", "ratio")


def bench(
    files: Sequence[Path | str],
    *,
    engines: Sequence[str] = ("litert", "litert_reference"),
    threads: Sequence[int] = (1,),
    batch: int | None = None,
    runs: int = 50,
    profile: bool = False,
    against: Path | str | None = None,
) -> list[Bench]:
    """Run each file on each engine, each time in a process of its own.

    Args:
        engines: "litert" (XNNPACK), "litert_reference", "tflm". TFLite Micro runs on one thread, whatever is asked for.
        threads: numbers of threads.
        batch: images in one run; by default as many as the file says.
        runs: how often each is timed, and how many rounds the files have in turn.
        profile: with each operation's latency.
        against: a file that runs in turn with each of the others.
    Raises:
        InputError: a number is below 1, an engine is unknown or cannot run a file, or a file cannot be read or takes
            no such batch.
    """
    if not files:
        raise InputError("bench needs at least one .tflite file; got none")
    _check_numbers(threads, batch, runs)
    for name in engines:
        _check_engine(name)
    contents = {file: _content(file, engines) for file in (*files, *([] if against is None else [against]))}
    return [
        _bench(file, contents, engine, count, batch, runs, profile, against)
        for file in dict.fromkeys(files)
        for engine in dict.fromkeys(engines)
        for count in ((1,) if engine == "tflm" else dict.fromkeys(threads))
    ]


def _check_numbers(threads: Sequence[int], batch: int | None, runs: int) -> None:
    if not threads:
        raise InputError("threads must be at least one number; got none")
    for name, value in [*(("threads", one) for one in threads), ("batch", batch), ("runs", runs)]:
        if value is not None and value < 1:
            raise InputError(f"{name} must be at least 1; got {value}")


def _check_engine(name: str) -> None:
    find_engine(name)
    if name not in _OPEN:
        raise InputError(f"bench runs {', '.join(_OPEN)}; got {name!r}")


def _content(file: Path | str, engines: Sequence[str]) -> bytes:
    content = flatbuffer.load(file)
    recipe = recipe_of(content).name
    for name in engines:
        if recipe in ENGINES[name].refuses:
            raise InputError(f"engine {name} cannot run {recipe} files; got {file}")
    return content


def _bench(file, contents, engine, threads, batch, runs, profile, against) -> Bench:
    content = contents[file]
    asked = {"engine": engine, "threads": threads, "batch": batch, "runs": runs}

    def child(function: str, where: Path | str = file, **arguments) -> dict[str, Any]:
        return isolated.call(function, by=engine, file=where, content=content, **arguments)

    measured = child(f"{__name__}:measure", **asked)
    parts = child(f"{__name__}:measure_operations", **asked)["operations"] if profile else None
    ratio = None
    if against is not None:
        both = f"{file} or {against}"
        ratio = child(f"{__name__}:measure_ratio", both, reference=contents[against], **asked)
    return Bench(
        file=str(file),
        engine=engine,
        threads=threads,
        runs=runs,
        bytes=len(content),
        partitions=_figure("engines:partitions", file, content),
        arena_bytes=_figure("memory:arena_bytes", file, content),
        profile=parts,
        against=None if against is None else str(against),
        ratio=ratio,
        **measured,
    )


def _figure(function: str, file: Path | str, content: bytes) -> int | None:
    """What a function of that one name gives, or None for a file that its engine does not take."""
    try:
        [value] = isolated.call(f"{__package__}.{function}", by="bench", file=file, content=content).values()
    except InputError:
        return None
    return value


def measure(content: bytes, engine: str, threads: int, batch: int | None, runs: int) -> dict[str, Any]:
    """Latency and memory of a file, as fields of `Bench`; to be run in a child process."""
    before = resident_bytes()
    run = _OPEN[engine](content, threads, batch)
    _timed(run, _WARM_UP)
    milliseconds = 1e3 * np.array([*track(_each(run, runs), "Running", total=runs)])
    q1, median, q3 = np.quantile(milliseconds, (0.25, 0.5, 0.75)).tolist()
    peak = peak_bytes()
    return {
        "median_ms": median,
        "q1_ms": q1,
        "q3_ms": q3,
        "batch": flatbuffer.input_shape(content)[0] if batch is None else batch,
        "peak_memory_bytes": None if before is None or peak is None else peak - before,
    }


def measure_operations(content: bytes, engine: str, threads: int, batch: int | None, runs: int) -> dict[str, Any]:
    """Under "operations" each operation's latency; to be run in a child process."""
    del runs  # an operation is too short for any number but that which fills its slots
    if batch is not None:
        raise InputError("an operation runs on the file's own batch; leave out --batch or --profile")
    found = []
    for part in track(operations(content), "Running operations"):
        run = _OPEN[engine](part.content, threads, None)
        repeats = _repeats(run)
        median = 1e3 * float(np.median([np.median(_timed(run, repeats)) for _ in range(3)]))
        found.append({"operation": part.name, "layer": part.layer, "tensor": part.tensor, "median_ms": median})
    total = sum(one["median_ms"] for one in found)
    return {"operations": [{**one, "share": one["median_ms"] / total} for one in found]}


def measure_ratio(
    content: bytes, reference: bytes, engine: str, threads: int, batch: int | None, runs: int
) -> dict[str, Any]:
    """`latency_ratio`, as a dictionary; to be run in a child process."""
    found = latency_ratio(content, reference, threads=threads, rounds=runs, engine=engine, batch=batch)
    return found._asdict()


def _repeats(run: Callable[[], Any]) -> int:
    _timed(run, _WARM_UP)
    return max(1, round(_SLOT_SECONDS / min(_timed(run, 3))))


def _timed(run: Callable[[], Any], repeats: int) -> list[float]:
    return list(_each(run, repeats))


def _each(run: Callable[[], Any], repeats: int):
    """The seconds of each run."""
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        yield time.perf_counter() - start


def _litert(content: bytes, threads: int, batch: int | None, resolver: str) -> Callable[[], Any]:
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
    given = {int(one["shape"][0]) for one in interpreter.get_output_details()}
    if batch is not None and given != {batch}:
        raise InputError(f"the file takes no batch of {batch}: it gives {given}; leave out --batch")
    return interpreter.invoke


def _tflm(content: bytes, threads: int, batch: int | None) -> Callable[[], Any]:
    del threads
    interpreter = micro_interpreter(content)
    for number in range(flatbuffer.ends(content)[0]):
        taken = interpreter.get_input_details(number)
        if batch not in (None, taken["shape"][0]):
            raise InputError(f"tflm runs the file's own batch of {taken['shape'][0]}; got a batch of {batch}")
        interpreter.set_input(_random(taken["shape"], taken["dtype"]), number)
    return interpreter.invoke


_OPEN: dict[str, Open] = {
    "litert": lambda *asked: _litert(*asked, resolver="AUTO"),
    "litert_reference": lambda *asked: _litert(*asked, resolver="BUILTIN_REF"),
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
