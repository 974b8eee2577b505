"""Pictures that matplotlib draws, which the extra [plot] brings."""

from pathlib import Path
from typing import Any

from keras_se.atomic_files import replacing
from keras_se.errors import InputError
from keras_se.optional_packages import import_extra


def new_figure(width: float, height: float) -> Any:
    """Return an empty matplotlib figure of so many inches.

    Raises:
        InputError: matplotlib is not installed.
    """
    return import_extra("matplotlib.figure", "plot").Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure, whole or not at all, as the kind of picture that its name says.

    Raises:
        InputError: the file cannot be written, or matplotlib writes no such kind.
    """
    try:
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=110)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror})") from None
    except ValueError as error:  # an ending that matplotlib does not write
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is no picture's name ({error})") from None
