"""Errors that the command line turns into one line and an exit status of its own."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class InputError(ValueError):
    """An argument or an input file is wrong; the message names it and the remedy. Exit status 2.

    Example:
        >>> try:
        ...     keras_se.create_model("se_resnet18", weights="missing.keras")
        ... except keras_se.InputError as error:
        ...     print(str(error).partition(";")[0])
        weights must be a file, the folder of a run, imagenet or timm/NAME
    """


class MissingExtraError(InputError, ModuleNotFoundError):
    """An optional package is not installed; the message names the extra.

    An ImportError too, and of the kind that `pytest.importorskip` takes for a reason to skip.
    """


class ClusterError(RuntimeError):
    """Another of the processes that train together was lost; start them all again to resume. Exit status 3.

    Example:
        >>> issubclass(keras_se.ClusterError, RuntimeError)
        True
    """


def find_named(kind: str, choices: Mapping[str, T], name: str) -> T:
    """Return what a table has under a name.

    Args:
        kind: the argument that the name was given for.
    Raises:
        InputError: the table has no such name; the message lists those that it has.
    """
    if name not in choices:
        raise InputError(f"{kind} must be one of {', '.join(choices)}; got {name!r}{did_you_mean(name, choices)}")
    return choices[name]


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return a question that proposes the nearest names to an unknown one; empty if none is near.

    Example:
        >>> did_you_mean("SEResNet50", ["se_resnet18", "se_resnet50"])
        ': did you mean se_resnet50?'
    """
    plain = {re.sub(r"[\W_]", "", choice).lower(): choice for choice in choices}
    near = difflib.get_close_matches(re.sub(r"[\W_]", "", name).lower(), plain, n=1, cutoff=0.75)
    return f": did you mean {plain[near[0]]}?" if near else ""


def reason_of(error: Exception) -> str:
    """Return the line of a library's error that says why; Keras begins some with a count and the name of an object."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].startswith("A total of"):
        del lines[0]
    return lines[0][:200] if lines else type(error).__name__
