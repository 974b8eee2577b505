"""Optional packages, by the extra that installs them."""

import importlib
from types import ModuleType

from keras_se.errors import InputError


def import_extra(module: str, extra: str) -> ModuleType:
    """The module, imported.

    Raises:
        InputError: it is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed; pip install 'keras-se[{extra}]'") from None
