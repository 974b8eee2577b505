"""A diagnosis as a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_se.export.evaluation.layer_errors import Diagnosis
from keras_se.pictures import new_figure, save_figure

_COLOURS = {"MEAN": "tab:orange", "LOGISTIC": "tab:red", "MUL": "tab:green"}
"""Colours of the operations of SE that have one meaning; a 1x1 convolution may be any."""


def plot(diagnoses: Sequence[Diagnosis], path: Path, *, title: str) -> None:
    """Draw the decibels and the spread of the channels along the graph into an image file, by its suffix.

    Raises:
        InputError: as of `save_figure`.
    """
    figure = new_figure(12, 7)
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
    save_figure(figure, path)


def _kind(row: Diagnosis) -> str | None:
    return row.operation if row.operation in _COLOURS else None
