"""Command `keras-se bench`: .tflite files in, their latency and memory on this machine out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import Positional

from keras_se.cli.command import left_out
from keras_se.cli.elsewhere import Elsewhere
from keras_se.cli.tables import Rows, bench_rows
from keras_se.errors import InputError


@dataclass(frozen=True)
class Bench(Elsewhere):
    """Measure .tflite files on this machine: latency, peak memory, XNNPACK's partitions, TFLite Micro's arena."""

    example: ClassVar[str] = "keras-se bench files/*.tflite --threads 1 4"

    files: Positional[tuple[Path, ...]]
    """Paths of .tflite files."""
    engines: tuple[str, ...] = ("litert", "litert_reference")
    """litert (XNNPACK), litert_reference, tflm (on one thread, whatever --threads says)."""
    threads: tuple[int, ...] = (1,)
    """Numbers of threads, each measured."""
    batch: Annotated[int | None, left_out("as many as the file says", metavar="INT")] = None
    """Images in one run."""
    runs: int = 50
    """Timed runs of each file."""
    against: Annotated[Path | None, left_out("none", metavar="PATH")] = None
    """A file to run in turn with each of the others: the ratio of medians, and the quartiles of the rounds' ratios."""
    profile: bool = False
    """Each operation's latency, as a file of its own, and its Keras layer."""
    most: int = 20
    """Operations to show of a file, those that take longest; with --json all, in the order of the graph."""

    def run_there(self) -> Rows:
        from keras_se.export import benchmark

        if self.most < 1:
            raise InputError(f"most must be at least 1; got {self.most}")
        measurements = benchmark(
            self.files,
            engines=self.engines,
            threads=self.threads,
            batch=self.batch,
            runs=self.runs,
            profile=self.profile,
            against=self.against,
        )
        return bench_rows(measurements, self.most)
