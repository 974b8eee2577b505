"""Pictures that matplotlib draws, which the extra [plot] brings."""

from pathlib import Path
from typing import Any

from keras_se.atomic_files import check_writable, replacing
from keras_se.errors import InputError
from keras_se.optional_packages import import_extra


def new_figure(width: float, height: float) -> Any:
    """Return an empty matplotlib figure of so many inches.

    Raises:
        InputError: matplotlib is not installed.
    """
    return import_extra("matplotlib.figure", "plot").Figure(figsize=(width, height), layout="constrained")


def check_picture(path: Path) -> None:
    """Refuse, before the work whose picture it is to be, a file that cannot become one.

    Raises:
        InputError: matplotlib is not installed or writes no such kind, or nothing can be written in the folder.
    """
    kinds = new_figure(1, 1).canvas.get_supported_filetypes()
    if path.suffix.removeprefix(".") not in kinds:
        raise InputError(f"a picture must be an image file, as plot.png or plot.svg; got {path}")
    check_writable(path.parent)


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure, whole or not at all, as the kind of picture that its name says.

    Raises:
        InputError: as of `check_picture`, or the disk is full.
    """
    check_picture(path)
    try:
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=110)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror})") from None
