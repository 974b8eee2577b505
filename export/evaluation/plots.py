"""A diagnosis as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_se.atomic_files import replacing
from keras_se.errors import InputError
from keras_se.export.evaluation.layer_errors import Diagnosis
from keras_se.optional_packages import import_extra

_COLOURS = {"MEAN": "tab:orange", "LOGISTIC": "tab:red", "MUL": "tab:green"}
"""Colours of the operations of SE that have one meaning; a 1x1 convolution may be any."""


def plot(diagnoses: Sequence[Diagnosis], path: Path | str, *, title: str) -> None:
    """Draw the decibels and the spread of the channels along the graph into an image file, by its suffix.

    Raises:
        InputError: the suffix is not one of an image, or the file cannot be written.
    """
    figures: Any = import_extra("matplotlib.figure", "plot")
    figure = figures.Figure(figsize=(12, 7), layout="constrained")
    decibels, spreads = figure.subplots(2, sharex=True)
    finite = np.array([row.sqnr_db if np.isfinite(row.sqnr_db) else np.nan for row in diagnoses])
    for axes, values in ((decibels, finite), (spreads, np.array([row.spread for row in diagnoses]))):
        axes.plot(values, color="0.8", zorder=1)
        for operation in (*_COLOURS, None):
            chosen = [number for number, row in enumerate(diagnoses) if _kind(row) == operation]
            label = operation or "other"
            axes.scatter(
                chosen, values[chosen], s=18, color=_COLOURS.get(operation or "", "0.35"), label=label, zorder=2
            )
        axes.grid(alpha=0.3)
    decibels.set(ylabel="SQNR against float, dB", title=title)
    decibels.legend(ncols=4)
    spreads.set(ylabel="widest channel / median channel", xlabel="operation, in the order of the graph", yscale="log")
    suffix = Path(path).suffix.removeprefix(".")
    if suffix not in figure.canvas.get_supported_filetypes():
        raise InputError(f"plot must be an image file, as plot.png or plot.svg; got {path}")
    with replacing(path) as temporary:
        figure.savefig(temporary, format=suffix, dpi=120)


def _kind(row: Diagnosis) -> str | None:
    return row.operation if row.operation in _COLOURS else None
