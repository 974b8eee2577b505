"""Facts of a symbolic tensor that a rewriter needs for the layers behind it, as one record.

A rewriter writes into the record of a tensor when it makes the tensor, and reads it when a later layer takes it.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Tensor = Any  # keras.KerasTensor; Keras's layers are not typed


class Convolved(NamedTuple):
    """A layer of `CONVOLUTIONS` and its input."""

    layer: Any
    source: Tensor


class Padded(NamedTuple):
    """A map before its padding, and the padding by side."""

    source: Tensor
    padding: tuple


class Joined(NamedTuple):
    """A concatenation and its inputs."""

    layer: Any
    parts: list[Tensor]


class Gated(NamedTuple):
    """A map before SE's rescaling, the gate that rescales it, and that gate's mean by channel, where it is known."""

    source: Tensor
    gate: Tensor
    mean: np.ndarray | None


@dataclass
class TensorFacts:
    """All that lowering knows of a tensor beside its shape."""

    convolved: Convolved | None = None
    """Convolution that gives it, while nothing has been applied to its output."""
    pending_scale: float = 1.0
    """Factor that the weights of a later layer multiply it by."""
    scaled: Tensor | None = None
    """Product of the tensor and its pending scale, once it was made."""
    padded: Padded | None = None
    """Padding that gives it."""
    joined: Joined | None = None
    """Concatenation that gives it."""
    gated: Gated | None = None
    """Rescaling of SE that gives it, which a later convolution may do in its place."""
    gated_after_downsampling: Gated | None = None
    """Rescaling of SE, done behind a later convolution, that gives it."""
