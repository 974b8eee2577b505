"""What a command found: as a table for people and as a document for machines."""

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
    """What `--json` prints."""
    columns: tuple[str, ...]
    cells: list[tuple[str, ...]]
    notes: tuple[str, ...] = ()
    """Lines below the table."""
    status: int = 0
    """The command's exit status: 1 when a verdict failed."""

    def show(self, console: Console) -> None:
        if not self.columns:
            return
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for column in self.columns:
            table.add_column(column, no_wrap=True)
        for row in self.cells:
            table.add_row(*row)
        console.print(table)
        for note in self.notes:
            console.print(note, soft_wrap=True, highlight=False)

    def markdown(self) -> str:
        lines = [self.columns, ["---"] * len(self.columns), *self.cells]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def parity_rows(parities: Sequence[Any]) -> Rows:
    """Parities (`keras_se.export.Parity`), with the bounds they are held to and the ones that do not hold."""
    bounds = dict.fromkeys(f"{_held(row)}: {row.tolerance}" for row in parities)
    failed = [row for row in parities if row.failures]
    named = [f"FAILED {Path(row.file).name} on {row.engine}: {'; '.join(row.failures)}" for row in failed]
    return Rows(
        document=[row.to_dict() for row in parities],
        columns=("file", "engine", "against", "max error", "dB", "agree", "right", ""),
        cells=[_cells(row) for row in parities],
        notes=(*bounds, *named),
        status=1 if failed else 0,
    )


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


def _held(row: Any) -> str:
    return f"{row.recipe} against {_short(row.reference)}" + ("" if row.reference == "keras" else f" on {row.engine}")


def _short(engine: str) -> str:
    return _ENGINES.get(engine, engine)
