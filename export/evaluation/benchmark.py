"""Cost of a file on this machine.

In: .tflite files. Out: for each latency, alone or over another file's, and memory.
"""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from keras_se.errors import InputError
from keras_se.export.evaluation.latency import OPEN, Ratio
from keras_se.export.quantization.recipe_detection import recipe_of
from keras_se.export.runtimes.registry import ENGINES, check_engine
from keras_se.export.sandbox import runner
from keras_se.export.sandbox.remote import machine, machine_name
from keras_se.export.tflite.model import TFLiteModel

_CHILD = "keras_se.export.evaluation.latency"


@dataclass(frozen=True)
class Bench:
    """Cost of a file on an engine."""

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
    """Greatest growth of the process from before the file was opened; None where /proc is not."""
    bytes: int
    """Size of the file."""
    partitions: int | None
    """Delegate partitions of XNNPACK; None if it does not take the file."""
    arena_bytes: int | None
    """Bytes that TFLite Micro uses of its arena, which must be somewhat larger; None if it does not run the file."""
    profile: list[dict[str, Any]] | None = None
    """Each operation alone: operation, layer, tensor, median_ms, share (of the sum)."""
    machine: str | None = None
    """Processor that it ran on, with its versions, where that is not this machine's."""
    against: str | None = None
    ratio: dict[str, float] | None = None
    """Fields of `Ratio`."""

    def to_dict(self) -> dict[str, Any]:
        """Every field; profile and ratio only where they were asked for."""
        fields = asdict(self)
        return {name: value for name, value in fields.items() if value is not None or name not in _ON_REQUEST}


_ON_REQUEST = ("profile", "machine", "against", "ratio")


def benchmark(
    files: Sequence[Path | str],
    *,
    engines: Sequence[str] = ("litert", "litert_reference"),
    threads: Sequence[int] = (1,),
    batch: int | None = None,
    runs: int = 50,
    profile: bool = False,
    against: Path | str | None = None,
) -> list[Bench]:
    """Measure what each file costs on each engine, each time in a process of its own.

    Args:
        files: paths of `.tflite` files.
        engines: "litert" (XNNPACK), "litert_reference", "tflm". TFLite Micro runs on one thread, whatever is asked for.
        threads: numbers of threads.
        batch: images in one run; by default as many as the file says.
        runs: how often each is timed, and how many rounds the files have in turn.
        profile: with each operation's latency.
        against: a file that runs in turn with each of the others.
    Returns:
        A row for each file, engine and number of threads, with times in milliseconds and memory in bytes.
    Raises:
        InputError: a number is below 1, an engine is unknown or cannot run a file, or a file cannot be read or takes
            no such batch.
    Example:
        >>> [row] = benchmark(["files/se_mobilenet.static_wi8_ai8.tflite"], engines=["litert"], runs=5)
        >>> row.q1_ms <= row.median_ms <= row.q3_ms
        True
    """
    if not files:
        raise InputError("bench needs at least one .tflite file; got none")
    _check_numbers(threads, batch, runs)
    if not engines:
        raise InputError(f"engines must name at least one of {', '.join(OPEN)}; got none")
    for name in engines:
        _check_engine(name)
    loaded = {file: _loaded(file, engines) for file in (*files, *([] if against is None else [against]))}
    figures = {file: _figures(file, loaded[file]) for file in dict.fromkeys(files)}
    return [
        _bench(file, loaded, figures[file], engine, count, batch, runs, profile, against)
        for file in figures
        for engine in dict.fromkeys(engines)
        for count in ((1,) if engine == "tflm" else dict.fromkeys(threads))
    ]


def latency_ratio(
    candidate: bytes,
    reference: bytes,
    *,
    threads: int = 1,
    rounds: int = 50,
    engine: str = "litert",
    batch: int | None = None,
) -> Ratio:
    """Return how long one .tflite file takes over another, on random input, in a process of their own.

    Args:
        candidate: the file's content.
        reference: that of the file that it is compared with.
        threads: of each.
        rounds: how often each has its turn.
        engine: "litert" (XNNPACK), "litert_reference" or "tflm".
        batch: images in one run; by default as many as the file says.
    Raises:
        InputError: the engine cannot run a file.
    """
    _check_engine(engine)
    settings = {"engine": engine, "threads": threads, "batch": batch, "runs": rounds}
    contents = {"content": candidate, "reference": reference}
    return Ratio(
        **runner.call(f"{_CHILD}:measure_ratio", by=engine, file="the files", alone=True, **contents, **settings)
    )


def _check_numbers(threads: Sequence[int], batch: int | None, runs: int) -> None:
    if not threads:
        raise InputError("threads must be at least one number; got none")
    there = machine()
    processors, where = (os.cpu_count() or 1, "this machine") if there is None else (there.processors, there.processor)
    if max(threads) > processors:
        raise InputError(f"threads must be at most the {processors} processors of {where}; got {max(threads)}")
    for name, value in [*(("threads", count) for count in threads), ("batch", batch), ("runs", runs)]:
        if value is not None and value < 1:
            raise InputError(f"{name} must be at least 1; got {value}")


def _check_engine(name: str) -> None:
    check_engine(name)
    if name not in OPEN:
        raise InputError(f"bench runs {', '.join(OPEN)}; got {name!r}")


def _loaded(path: Path | str, engines: Sequence[str]) -> TFLiteModel:
    file = TFLiteModel.load(path)
    recipe = recipe_of(file).name
    for name in engines:
        if recipe in ENGINES[name].unsupported_recipes:
            raise InputError(f"engine {name} cannot run {recipe} files; got {path}")
    return file


def _bench(file, loaded, figures, engine, threads, batch, runs, profile, against) -> Bench:
    settings = {"engine": engine, "threads": threads, "batch": batch, "runs": runs}
    name = loaded[file].described(file)

    def child(function: str, where: str = name, **arguments) -> dict[str, Any]:
        return runner.call(
            f"{_CHILD}:{function}",
            by=engine,
            file=where,
            alone=True,
            anywhere=True,
            content=loaded[file].content,
            **arguments,
        )

    measured = child("measure", **settings)
    parts = child("measure_operations", **settings)["operations"] if profile else None
    ratio = None
    if against is not None:
        ratio = child("measure_ratio", f"{name} or {against}", reference=loaded[against].content, **settings)
    return Bench(
        file=str(file),
        engine=engine,
        threads=threads,
        runs=runs,
        profile=parts,
        machine=machine_name() or None,
        against=None if against is None else str(against),
        ratio=ratio,
        **figures,
        **measured,
    )


def _figures(path: Path | str, file: TFLiteModel) -> dict[str, int | None]:
    """Return the figures that do not depend on how the file runs; None where an engine does not take it."""
    figures: dict[str, int | None] = {"bytes": len(file.content), "partitions": None, "arena_bytes": None}
    for function, anywhere in (("runtimes.litert:partitions", True), ("evaluation.memory:arena_bytes", False)):
        with contextlib.suppress(InputError):
            figures |= runner.call(
                f"keras_se.export.{function}", by="bench", file=path, anywhere=anywhere, content=file.content
            )
    return figures
