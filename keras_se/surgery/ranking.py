"""SE blocks of a model beside each other: how their gates vary, and what each is worth.

In: a model with SE, labelled images. Out: figures of each block.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_se.surgery.accuracy import check_labels, right
from keras_se.surgery.excitation import find_blocks
from keras_se.surgery.graphs import check_images
from keras_se.surgery.probe import GateProbe
from keras_se.surgery.se_blocks import Block


@dataclass(frozen=True)
class BlockFigures:
    """Figures of one SE block."""

    name: str
    channels: int
    mean: float
    """Of the gate, over images and channels."""
    spread: float
    """Standard deviation of a channel's gate over the images, in the mean over the channels."""
    between_classes: float
    """The same of a class's mean gate over the classes."""
    accuracy_lost: float
    """By holding the gate at its mean: what `remove(keep_mean=images)` of this block alone costs on these images."""

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True, eq=False)
class Ranking:
    """Blocks of a model in the order in which they run, and their gates."""

    accuracy: float
    blocks: list[BlockFigures]
    gates: dict[str, np.ndarray]
    places: list[Block]

    def most_worth(self) -> list[BlockFigures]:
        """Return the blocks by what holding their gate costs, and then by how much it varies, the most first."""
        return sorted(self.blocks, key=lambda block: (-block.accuracy_lost, -block.spread))


def rank_blocks(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> Ranking:
    """Measure each SE block of a classifier on labelled images.

    Args:
        images: `(n, height, width, channels)`, as the network sees them.
        labels: int `(n,)`.
    Raises:
        InputError: the model has no SE, or the images or labels do not fit.
    """
    blocks = find_blocks(model, "excite")
    images = check_images(model, images, "excite")
    check_labels(labels, images)
    gates = GateProbe(model, blocks).gates(images)
    probe = GateProbe(model, blocks, {path: gate.mean(0) for path, gate in gates.items()})
    accuracy = right(probe.outputs(images), labels)
    figures = [
        BlockFigures(
            name=block.path,
            channels=block.channels,
            mean=float(gates[block.path].mean()),
            spread=float(gates[block.path].std(0).mean()),
            between_classes=float(class_means(gates[block.path], labels).std(0).mean()),
            accuracy_lost=accuracy - right(probe.outputs(images, block.path), labels),
        )
        for block in blocks
    ]
    return Ranking(accuracy, figures, gates, blocks)


def class_means(gate: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the mean gate `(classes, channels)` of each class that has images."""
    return np.stack([gate[labels == label].mean(0) for label in np.unique(labels)])
