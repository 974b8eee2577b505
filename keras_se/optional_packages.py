"""Optional packages, by the extra that installs them."""

import importlib
import importlib.util
from types import ModuleType

from keras_se.errors import MissingExtraError


def import_extra(module: str, extra: str) -> ModuleType:
    """Import a module of an extra and return it.

    Raises:
        MissingExtraError: it is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except MissingExtraError:  # of a module of ours, which has said so itself
        raise
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{error.name} is not installed; pip install 'keras-se[{extra}]'") from None


def is_installed(module: str) -> bool:
    """Return True where the module can be imported; it is not imported."""
    return importlib.util.find_spec(module) is not None
