"""Checks of the input of the attention layers beside SE."""

from typing import Any


def channels_of(layer: Any, shape: tuple[int | None, ...]) -> int:
    """Return the channels of a feature map `(batch, height, width, channels)`.

    Raises:
        ValueError: it has another rank, or an unknown number of channels.
    """
    if len(shape) != 4 or shape[-1] is None:
        raise ValueError(
            f"{type(layer).__name__} takes (batch, height, width, channels), with a known number of channels; got the "
            f"shape {tuple(shape)}"
        )
    return shape[-1]
