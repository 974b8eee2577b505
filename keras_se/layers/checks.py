"""Checks of the arguments and of the input of the attention layers."""

from typing import Any


def at_least_one(name: str, value: Any) -> int:
    """Return an argument that must be an integer of at least 1.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1; got {name}={value!r}")
    return value


def odd(name: str, value: Any) -> int:
    """Return an argument that must be an odd integer of at least 1, as the size of a centred window is.

    Raises:
        ValueError: it is not.
    """
    if at_least_one(name, value) % 2 == 0:
        raise ValueError(f"{name} must be odd; got {name}={value}")
    return value


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
