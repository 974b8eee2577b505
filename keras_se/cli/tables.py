"""Result of a command, as a table for people and as a document for machines."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

_ENGINES = {"litert_reference": "reference"}  # the table of parities is to fit into 80 columns


@dataclass(frozen=True)
class Rows:
    """A result that is a table."""

    document: Any
    """Document that `--json` prints."""
    columns: tuple[str, ...]
    cells: list[tuple[str, ...]]
    notes: tuple[str, ...] = ()
    """Lines below the table."""
    status: int = 0
    """Exit status of the command: 1 when a verdict failed."""

    def show(self, console: Console) -> None:
        if self.cells:
            self._show_table(console)
        for note in self.notes:
            console.print(note, soft_wrap=True, highlight=False)

    def _show_table(self, console: Console) -> None:
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for place, column in enumerate(self.columns):
            table.add_column(column, no_wrap=place == 0 or len(self.columns) > 2)  # of two, the right may be a sentence
        for row in self.cells:
            table.add_row(*row)
        console.print(table)

    def markdown(self) -> str:
        lines = [self.columns, ["---"] * len(self.columns), *self.cells]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def parity_rows(parities: Sequence[Any]) -> Rows:
    """Return parities (`keras_se.export.Parity`) as rows, with their bounds and the ones that do not hold."""
    from keras_se.export.evaluation.paired_interval import METHOD

    bounds = dict.fromkeys(f"{_held(row)}: {row.tolerance}" for row in parities)
    failed = [row for row in parities if row.failures]
    named = [f"FAILED {Path(row.file).name} on {row.engine}: {'; '.join(row.failures)}" for row in failed]
    return Rows(
        document=[row.to_dict() for row in parities],
        columns=("file", "engine", "against", "max error", "dB", "agree", "right", ""),
        cells=[_cells(row) for row in parities],
        notes=(
            *bounds,
            *dict.fromkeys(row.note for row in parities if row.note),
            *named,
            *_losses(parities, METHOD),
        ),
        status=1 if failed else 0,
    )


def bench_rows(measurements: Sequence[Any], most: int) -> Rows:
    """Return measurements (`keras_se.export.evaluation.benchmark.Bench`) as rows, MB being the peak of memory.

    Below them: files, ratios, operations.
    """
    notes = [*dict.fromkeys(map(_file_note, measurements)), *(_ratio_note(row) for row in measurements if row.ratio)]
    return Rows(
        document=[row.to_dict() for row in measurements],
        columns=("file", "engine", "threads", "ms", "quartiles", "MB"),
        cells=[_bench_cells(row) for row in measurements],
        notes=(*notes, *(line for row in measurements for line in _longest(row, most))),
    )


def _bench_cells(row: Any) -> tuple[str, ...]:
    return (
        Path(row.file).stem,
        _short(row.engine),
        str(row.threads),
        f"{row.median_ms:.3f}",
        f"{row.q1_ms:.3f}–{row.q3_ms:.3f}",
        "" if row.peak_memory_bytes is None else f"{row.peak_memory_bytes / 1e6:.1f}",
    )


def _file_note(row: Any) -> str:
    partitions = "XNNPACK does not take it" if row.partitions is None else f"XNNPACK partitions: {row.partitions}"
    arena = "TFLite Micro does not run it" if row.arena_bytes is None else f"arena {row.arena_bytes:,} bytes"
    return f"{Path(row.file).name}: {row.bytes:,} bytes, batch {row.batch}, {partitions}, {arena}"


def _ratio_note(row: Any) -> str:
    ratio = row.ratio
    return (
        f"{_run(row)}: {ratio['ratio']:.3f} times {Path(row.against).name} "
        f"(quartiles {ratio['q1']:.3f} to {ratio['q3']:.3f}, {ratio['rounds']} rounds in turn)"
    )


def _longest(row: Any, most: int) -> list[str]:
    if row.profile is None:
        return []
    total = sum(operation["median_ms"] for operation in row.profile)
    longest = sorted(row.profile, key=lambda operation: -operation["median_ms"])[:most]
    head = f"{_run(row)}: its {len(row.profile)} operations one by one {total:.3f} ms, the whole {row.median_ms:.3f}"
    lines = [
        f"{operation['share']:6.1%} {operation['median_ms']:8.4f} ms  {operation['operation']}  {operation['layer']}"
        for operation in longest
    ]
    return [head, *lines]


def _run(row: Any) -> str:
    return f"{Path(row.file).name} on {row.engine}, threads {row.threads}"


def _cells(row: Any) -> tuple[str, ...]:
    return (
        row.recipe,
        _short(row.engine),
        _short(row.reference),
        f"{row.max_abs:.2g}" if row.max_lsb is None else f"{row.max_lsb:.0f} LSB",
        f"{row.sqnr_db:.1f}",
        f"{row.top1_agreement:.3f}",
        "" if row.accuracy is None else f"{row.accuracy:.4f}",
        row.verdict,
    )


def _losses(parities: Sequence[Any], method: str) -> list[str]:
    """Return a line for each loss against Keras, with its interval: for a column of the table it is too wide."""
    engines: dict[str, list[str]] = {}
    for row in parities:
        if row.loss is not None and row.reference == "keras":
            engines.setdefault(f"{row.recipe} loses {row.loss} points", []).append(_short(row.engine))
    lines = [f"{lost} on {', '.join(names)}" for lost, names in engines.items()]
    return [*lines, f"interval: {method}"] if lines else []


def _held(row: Any) -> str:
    return f"{row.recipe} against {_short(row.reference)}" + ("" if row.reference == "keras" else f" on {row.engine}")


def _short(engine: str) -> str:
    return _ENGINES.get(engine, engine)
