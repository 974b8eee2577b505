"""Command `keras-se report`: a folder with a run and its files in, one self-contained HTML page out."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar

import jinja2
from tyro.conf import Positional

from keras_se.atomic_files import json_bytes, writable_folder, write_together
from keras_se.cli.command import Command, left_out
from keras_se.cli.report_facts import Facts, find_files
from keras_se.cli.report_figures import collect_facts
from keras_se.cli.tables import Rows
from keras_se.errors import InputError

PAGE, DOCUMENT = "report.html", "report.json"
_MARK = "<!-- keras-se report -->"


@dataclass(frozen=True)
class Report(Command):
    """Write one HTML page for a run and its files: accuracy, latency and size, parity, layers, manifests, commands."""

    example: ClassVar[str] = "keras-se report . --data photos/"

    folder: Positional[Path]
    """A folder with a run, exported files, or both; they may be in folders of it."""
    data: Annotated[str | None, left_out("what the run was trained on", metavar="SOURCE")] = None
    """Where the images come from, as in `train`."""
    images: int = 200
    """Test images that files are compared on."""

    def run(self) -> Rows:
        if self.images < 1:
            raise InputError(f"images must be at least 1; got {self.images}")
        reported = find_files(self.folder)
        check_page(self.folder)
        facts = collect_facts(reported, data=self.data, images=self.images)
        page = write_report(facts, self.folder)
        return Rows(
            document={"report": str(page), **asdict(facts)},
            columns=("file", "accuracy", "ms", "KiB"),
            cells=[
                (
                    file["name"],
                    "" if file["accuracy"] is None else f"{file['accuracy']:.4f}",
                    "" if file["milliseconds"] is None else f"{file['milliseconds']:.3f}",
                    f"{file['bytes'] / 1024:.0f}",
                )
                for file in facts.files
            ],
            notes=(f"the report is {page}",),
        )


def check_page(folder: Path) -> None:
    """Refuse to replace a page that no report has written.

    Raises:
        InputError: it is there, or the folder cannot be written.
    """
    writable_folder(folder)
    page = folder / PAGE
    if page.is_symlink() or (page.exists() and not (page.is_file() and _MARK.encode() in page.read_bytes()[:400])):
        raise InputError(f"{page} is not a report of keras-se; move it away")


def write_report(facts: Facts, folder: Path) -> Path:
    """Write the page, and the facts beside it as JSON, from which `keras-se card` makes a model card.

    Raises:
        InputError: the folder cannot be written.
    """
    page = folder / PAGE
    write_together({folder / DOCUMENT: json_bytes(asdict(facts)), page: render(facts).encode()})
    return page


def render(facts: Facts) -> str:
    """Return the page; it loads nothing from elsewhere."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["number"] = _number
    environment.filters["json"] = lambda document: json.dumps(document, indent=2)
    template = environment.from_string(resources.files("keras_se.cli").joinpath("report.html").read_text())
    engines = list(dict.fromkeys(row["engine"] for row in facts.parity))
    return template.render(
        mark=_MARK,
        facts=facts,
        engines=engines,
        bounds=sorted({f"{row['recipe']} against {row['reference']}: {row['tolerance']}" for row in facts.parity}),
        matrix=_matrix(facts.parity, engines),
        curves=_curves(facts.history),
        dots=_dots(facts.files),
        longest=max((row["milliseconds"] or 0 for row in facts.layers), default=0),
    )


def _matrix(parity: Sequence[Mapping[str, Any]], engines: Sequence[str]) -> list[tuple[str, list[Any]]]:
    """Return a cell for each file and engine: whether all verdicts passed, and the decibels against Keras."""
    rows = []
    for file in dict.fromkeys(row["file"] for row in parity):
        cells = []
        for engine in engines:
            here = [row for row in parity if (row["file"], row["engine"]) == (file, engine)]
            against = next((row for row in here if row["reference"] == "keras"), None)
            cells.append(
                None
                if not here
                else {
                    "passed": all(row["verdict"] == "pass" for row in here),
                    "decibels": None if against is None else against["sqnr_db"],
                    "agreement": None if against is None else against["top1_agreement"],
                    "failures": "; ".join(reason for row in here for reason in row["failures"]),
                }
            )
        rows.append((file, cells))
    return rows


WIDTH, HEIGHT = 640, 300  # of a drawing, in its own units
_LEFT, _BELOW, _ABOVE, _RIGHT = 56, 40, 16, 24


def _curves(history: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """Draw loss and accuracy by epoch as lines."""
    drawings = []
    for name in ("loss", "accuracy"):
        columns = [column for column in (name, f"val_{name}") if history and column in history[0]]
        values = [row[column] for row in history for column in columns]
        if not values or not all(map(math.isfinite, values)):
            continue
        low, high = min(values), max(values)
        lines = []
        for column in columns:
            last = max(1, len(history) - 1)
            places = [(_x(number, 0, last), _y(row[column], low, high)) for number, row in enumerate(history)]
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            lines.append({"name": "test" if column.startswith("val_") else "training", "points": points})
        ticks = [(_y(value, low, high), f"{value:.3g}") for value in (low, (low + high) / 2, high)]
        drawings.append({"name": name, "lines": lines, "ticks": ticks, "epochs": len(history)})
    return drawings


def _dots(files: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Draw the files as discs: latency to the right, accuracy upwards, size as the area."""
    drawn = [file for file in files if file["accuracy"] is not None and file["milliseconds"]]
    if len(drawn) < 2:
        return None
    times = [math.log10(file["milliseconds"]) for file in drawn]
    rights = [file["accuracy"] for file in drawn]
    first, last = min(times) - 0.15, max(times) + 0.15
    low, high = min(rights) - 0.01, min(1.0, max(rights) + 0.01)
    largest = max(file["bytes"] for file in drawn)
    discs: list[dict[str, Any]] = []
    for file, time, right in zip(drawn, times, rights, strict=True):
        x, y = _x(time, first, last), _y(right, low, high)
        radius = 4 + 14 * math.sqrt(file["bytes"] / largest)
        discs.append({"x": x, "y": y, "r": radius, "name": file["recipe"], "number": len(discs) + 1, "file": file})
    across = [(_x(time, first, last), f"{10**time:.3g}") for time in (first, (first + last) / 2, last)]
    upwards = [(_y(value, low, high), f"{value:.3f}") for value in (low, (low + high) / 2, high)]
    return {"discs": sorted(discs, key=lambda disc: -disc["r"]), "across": across, "upwards": upwards}


def _x(value: float, low: float, high: float) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * (value - low) / ((high - low) or 1)


def _y(value: float, low: float, high: float) -> float:
    return HEIGHT - _BELOW - (HEIGHT - _BELOW - _ABOVE) * (value - low) / ((high - low) or 1)


def _number(value: Any, form: str = ".4g") -> str:
    """Return a figure as text; a dash where there is none, or none that is a number."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return format(value, form)
