"""SE whose gate does not vary, folded away.

In: a model with SE, and images. Out: a model without the blocks that are constants, and what that changes.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_se.errors import InputError
from keras_se.surgery.constant_gates import hold_gates
from keras_se.surgery.excitation import find_blocks
from keras_se.surgery.graphs import check_images
from keras_se.surgery.probe import BATCH, GateProbe

_ROUNDING = 1e-6
"""Spread of a gate that is constant but for float32."""


@dataclass(frozen=True, eq=False)
class Folding:
    """A model some of whose SE was folded away; `fold_constant` returns one."""

    model: keras.Model
    """New model, not compiled."""
    spreads: dict[str, float]
    """How far a gate is from its mean over images and positions, at most, by the block's name."""
    folded: tuple[str, ...]
    """Names of the blocks that are gone."""
    output_change: float
    """How far an output is from what it was, at most, over the images."""
    parameters_saved: int
    """Parameters that are gone; an image took a multiplication with each."""

    def to_dict(self) -> dict[str, object]:
        """Return the figures as JSON holds them."""
        names = ("spreads", "folded", "output_change", "parameters_saved")
        return {name: getattr(self, name) for name in names}


def fold_constant(model: keras.Model, images: np.ndarray, *, tolerance: float = 0.0) -> Folding:
    """Fold SE blocks whose gate does not vary into the layers beside them.

    A gate's mean over the images is multiplied into the convolution, dense layer or batch normalisation before the
    block, else into the convolutions behind it; where neither is, a `Rescaling` of the block's name stays. Of a
    constant gate that changes nothing but roundings.

    Args:
        model: a built functional or sequential model with SE, as `excitations` finds it; it stays as it is.
        images: `(n, height, width, channels)`, as the network sees them.
        tolerance: how far a gate may be from its mean, for any image, channel and position.
    Returns:
        The new model, the spread of every block, and what was folded.
    Raises:
        InputError: the model has no SE, the images do not fit, or the tolerance is below 0.
    Example:
        >>> plain = keras.applications.MobileNetV2((32, 32, 3), weights=None, classes=10)
        >>> model = keras_se.insert(plain, after="residual", identity=True)
        >>> folding = keras_se.fold_constant(model, images)
        >>> len(folding.folded), folding.parameters_saved == model.count_params() - plain.count_params()
        (10, True)
    """
    if not tolerance >= 0:
        raise InputError(f"tolerance must be at least 0; got tolerance={tolerance}")
    blocks = find_blocks(model, "fold_constant")
    images = check_images(model, images, "fold_constant")
    gates, ranges = GateProbe(model, blocks).gates_and_ranges(images)
    means = {path: gate.mean(0, dtype="float64") for path, gate in gates.items()}
    spreads = {path: float(np.abs(ends - means[path]).max()) for path, ends in ranges.items()}
    constant = [block for block in blocks if spreads[block.path] <= max(tolerance, _ROUNDING)]
    new = hold_gates(model, constant, means)
    outputs = [_flat_outputs(network, images) for network in (model, new)]
    return Folding(
        model=new,
        spreads=spreads,
        folded=tuple(block.path for block in constant),
        output_change=max(float(np.abs(old - now).max()) for old, now in zip(*outputs, strict=True)),
        parameters_saved=model.count_params() - new.count_params(),
    )


def _flat_outputs(model: Any, images: np.ndarray) -> list[np.ndarray]:
    outputs = model.predict(images, batch_size=BATCH, verbose=0)
    return [np.asarray(output, "float64") for output in keras.tree.flatten(outputs)]
