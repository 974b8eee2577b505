"""SE that does nothing: a gate that is 0, one half or 1 for every image and channel."""

import keras
import numpy as np

from keras_se.cloning import is_graph
from keras_se.surgery.probe import GateProbe
from keras_se.surgery.se_blocks import blocks_of

_DEAD = (0.0, 0.5, 1.0)
_WITHIN = 1e-3


def dead_gates(model: keras.Model, images: np.ndarray) -> dict[str, float]:
    """Return the blocks whose gate is one of 0, 0.5 and 1 for all images and channels, with which.

    Args:
        model: a model of any kind; one whose layers are not known has no such blocks.
        images: `(n, height, width, channels)`, as the network sees them; a few are enough.
    """
    blocks = blocks_of(model) if is_graph(model) else []
    if not blocks:
        return {}
    _, _, ranges = GateProbe(model, blocks)(np.asarray(images), training=False)
    values = {path: np.asarray(keras.ops.convert_to_numpy(ends)) for path, ends in ranges.items()}
    return {path: dead for path, gate in values.items() for dead in _DEAD if np.abs(gate - dead).max() <= _WITHIN}
