"""Checks of the arguments of SE and of the layers beside it."""

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
