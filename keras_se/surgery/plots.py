"""Gates of SE as pictures: by class, as in figure 6 of arXiv 1709.01507, and by depth."""

from pathlib import Path

import numpy as np

from keras_se.pictures import new_figure, save_figure
from keras_se.surgery.ranking import Ranking

_PANELS, _CLASSES = 6, 4


def plot_by_class(ranking: Ranking, labels: np.ndarray, classes: tuple[str, ...], path: Path) -> None:
    """Draw the mean gate of each channel, of some classes and of all images, in blocks from the first to the last.

    Raises:
        InputError: the file cannot be written.
    """
    count = min(_PANELS, len(ranking.blocks))
    chosen = [ranking.blocks[place] for place in np.linspace(0, len(ranking.blocks) - 1, count).round().astype(int)]
    shown = np.unique(labels)[:_CLASSES]
    figure = new_figure(12, 3.2 * -(-count // 2))
    for axes, block in zip(figure.subplots(-(-count // 2), min(2, count), squeeze=False).flat, chosen, strict=False):
        gate = ranking.gates[block.name]
        for label in shown:
            axes.plot(gate[labels == label].mean(0), linewidth=0.8, label=classes[label][:18])
        axes.plot(gate.mean(0), color="black", linewidth=1.2, label="all")
        axes.set(title=block.name, xlabel="channel", ylabel="mean gate")
        axes.grid(alpha=0.3)
    if count % 2 and count > 1:
        figure.axes[-1].set_visible(False)
    figure.axes[0].legend(fontsize=8, ncols=len(shown) + 1)
    save_figure(figure, path)


def plot_by_depth(ranking: Ranking, path: Path) -> None:
    """Draw each block's mean gate with the spread of its channels, how it varies, and what it is worth.

    Raises:
        InputError: the file cannot be written.
    """
    places, blocks = np.arange(len(ranking.blocks)), ranking.blocks
    figure = new_figure(max(7, 0.45 * len(blocks) + 3), 9)
    mean, varies, worth = figure.subplots(3, sharex=True)
    channels = [ranking.gates[block.name].mean(0).std() for block in blocks]
    mean.errorbar(places, [block.mean for block in blocks], channels, marker="o", capsize=3, color="0.3")
    mean.set(ylabel="mean gate,\nand deviation of channels")
    varies.plot(places, [block.spread for block in blocks], marker="o", label="over images")
    varies.plot(places, [block.between_classes for block in blocks], marker="s", label="of classes' means")
    varies.set(ylabel="standard deviation of a gate", ylim=(0, None))
    varies.legend()
    worth.bar(places, [100 * block.accuracy_lost for block in blocks], color="tab:orange")
    worth.set(ylabel="points of accuracy lost\nwith the gate at its mean")
    worth.set_xticks(places, [block.name for block in blocks], rotation=90, fontsize=7)
    for axes in (mean, varies, worth):
        axes.grid(alpha=0.3)
    save_figure(figure, path)
